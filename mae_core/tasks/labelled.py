"""The labelled data of a recipe: what is trained on, and what is held out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mae_core.config import Config
from mae_core.data.checks import check_data
from mae_core.interfaces import Dataset, Labels
from mae_core.training.sources import build_changed_dataset, build_datasets
from mae_registry import ConfigError, MaeError


@dataclass(frozen=True)
class LabelledData:
    """Data that say of what class each sample is."""

    datasets: Mapping[str, Dataset]
    """What is trained on, by modality."""
    labels: Labels
    entry: str
    """The modality whose samples have them."""
    held_out: Dataset | None
    notes: list[str]
    """What a person should know, a line each."""

    @property
    def training(self) -> Dataset:
        """The dataset of `entry`."""
        return self.datasets[self.entry]


def open_labelled_data(config: Config, validation: Mapping[str, Any] | None) -> LabelledData:
    """The data of a recipe, and the held-out data, whose section differs by the keys of `validation`.

    Raises ConfigError where samples have no labels, or labels that do not fit each other.
    """
    datasets = build_datasets(config)
    labels = {entry: dataset.labels for entry, dataset in datasets.items() if dataset.labels is not None}
    _require_labels(config, datasets, labels)
    entry, found = next(iter(labels.items()))
    if validation is None:
        return LabelledData(datasets, found, entry, None, [])
    if len(datasets) > 1:
        raise ConfigError("task.validation: data of several modalities cannot be measured on; set it to null")
    held_out = build_changed_dataset(config, entry, validation, key="task.validation")
    try:
        notes = check_data(datasets[entry], held_out)
    except MaeError as error:
        raise ConfigError(f"data.{entry} and task.validation: {error}") from error
    return LabelledData(datasets, found, entry, held_out, [f"note    {note}" for note in notes])


def _require_labels(config: Config, datasets: Mapping[str, Dataset], labels: Mapping[str, Labels]) -> None:
    are_joined = "masker" in config["model"]
    missing = [entry for entry in datasets if entry not in labels]
    if missing and (len(missing) == len(datasets) or not are_joined):
        raise ConfigError(
            f"the samples of data.{missing[0]} have no labels, which task classify needs; set data.{missing[0]}.labels to "
            "folders or to the path of a CSV file, if the dataset has this key, or use a dataset with labels"
        )
    names = {entry: found.names for entry, found in labels.items()}
    if len(set(names.values())) > 1:
        raise ConfigError(f"the modalities have different classes: {', '.join(f'data.{entry}' for entry in names)}")
    entry, classes = next(iter(names.items()))
    if len(classes) < 2:
        raise ConfigError(f"all samples of data.{entry} are of one class, {', '.join(classes)}; there must be two or more")
