"""The data of a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from mae_core.build import sample_shape
from mae_core.config import Config
from mae_core.interfaces import Dataset, Draws, Sample, as_sample
from mae_core.registry import build_component
from mae_registry import ConfigError


@dataclass(frozen=True)
class Source:
    """What a step takes its batch from: one modality's data, or that of several whose samples of one number belong together."""

    datasets: Mapping[str, Dataset]

    def __len__(self) -> int:
        return len(self._first)

    @property
    def num_views(self) -> int:
        """Samples that one load gives."""
        return self._first.num_views

    @property
    def draws(self) -> Draws | None:
        """How samples are drawn; None: an epoch takes every sample once."""
        return self._first.draws

    @property
    def _first(self) -> Dataset:
        return next(iter(self.datasets.values()))

    def load(self, index: int, *, seed: int) -> dict[str, Sample]:
        """Samples by modality, each from equal random numbers, so that paired ones are cropped alike.

        The first axis of every tensor, extras included, is the views.
        """
        loaded = {name: as_sample(dataset.load(index, random=Random(seed))) for name, dataset in self.datasets.items()}
        return loaded if self.num_views > 1 else {name: _one_view(sample) for name, sample in loaded.items()}

    def describe(self, index: int) -> str:
        """The first modality's name of the sample."""
        return self._first.describe(index)


def _one_view(sample: Sample) -> Sample:
    return Sample(sample.x.unsqueeze(0), {name: tensor.unsqueeze(0) for name, tensor in sample.extras.items()})


def build_datasets(config: Config) -> dict[str, Dataset]:
    """Each modality's data, in the order of the model's modalities. Raises ConfigError where one has none."""
    modalities, data = config["model"]["modalities"], config.get("data", {})
    if missing := [name for name in modalities if name not in data]:
        raise ConfigError(f"the model has the modality {missing[0]!r}, but there is no data.{missing[0]} to train it on")
    return {name: build_component("datasets", data[name], sample_shape(config, name)) for name in modalities}


def make_sources(config: Config, datasets: Mapping[str, Dataset]) -> dict[str, Source]:
    """One for each modality; one for all together where the recipe masks them together (`model.masker`)."""
    if "masker" not in config["model"]:
        return {name: Source({name: dataset}) for name, dataset in datasets.items()}
    sizes = {name: len(dataset) for name, dataset in datasets.items()}
    if len(set(sizes.values())) > 1 or any(dataset.num_views > 1 for dataset in datasets.values()):
        found = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ConfigError(
            f"model.masker pairs the data, so each modality needs equally many samples, with one view each; found {found}"
        )
    for index in range(min(sizes.values())):
        names = {name: dataset.describe(index) for name, dataset in datasets.items()}
        if len({Path(described).stem for described in names.values()}) > 1:
            found = ", ".join(f"{described} of {name}" for name, described in names.items())
            raise ConfigError(
                f"model.masker pairs the data by the names of their files without endings, but number {index} is {found}"
            )
    return {"+".join(datasets): Source(datasets)}
