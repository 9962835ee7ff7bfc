"""The data of a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from mae_core.build import sample_shape
from mae_core.config import Config, load_config
from mae_core.interfaces import Dataset, Draws, Sample, as_sample, with_views
from mae_core.masking.sampling import derive_seed
from mae_core.registry import build_component
from mae_registry import ConfigError


@dataclass(frozen=True)
class Source:
    """What a step takes its batch from: one modality's data, or that of several whose samples of one number belong together."""

    datasets: Mapping[str, Dataset]
    indices: Tensor | None = None
    """(samples,) int64: which of the datasets' samples these are; None: all of them."""

    def __len__(self) -> int:
        return len(self._first) if self.indices is None else len(self.indices)

    @property
    def num_views(self) -> int:
        """Samples that one load gives."""
        return self._first.num_views

    @property
    def draws(self) -> Draws | None:
        """How samples are drawn; None: an epoch takes every sample once."""
        draws = self._first.draws
        if draws is None or self.indices is None:
            return draws
        weights = draws.weights[self.indices]
        return Draws(min(draws.number, int((weights > 0).sum())), weights)

    @property
    def num_rows(self) -> int:
        """Samples that an epoch trains on, all views counted."""
        return (len(self) if self.draws is None else self.draws.number) * self.num_views

    @property
    def _first(self) -> Dataset:
        return next(iter(self.datasets.values()))

    def load(self, index: int, *, seed: int) -> dict[str, Sample]:
        """Samples by modality, each from equal random numbers, so that paired ones are cropped alike.

        The first axis of every tensor, extras included, is the views.
        """
        number = self._number(index)
        loaded = {name: as_sample(dataset.load(number, random=Random(seed))) for name, dataset in self.datasets.items()}
        return loaded if self.num_views > 1 else {name: with_views(sample) for name, sample in loaded.items()}

    def describe(self, index: int) -> str:
        """The first modality's name of the sample."""
        return self._first.describe(self._number(index))

    def split(self, share: float, *, seed: int) -> tuple["Source", "Source"]:
        """All samples but a share of them, and that share, chosen at random by a seed."""
        number = round(share * len(self))
        numbers = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        parts = (part.sort().values for part in (numbers[number:], numbers[:number]))
        kept, held_out = (replace(self, indices=part if self.indices is None else self.indices[part]) for part in parts)
        return kept, held_out

    def _number(self, index: int) -> int:
        return index if self.indices is None else int(self.indices[index])


def build_datasets(config: Config) -> dict[str, Dataset]:
    """Each modality's data, in the order of the model's modalities. Raises ConfigError where one has none."""
    modalities, data = config["model"]["modalities"], config.get("data", {})
    if missing := [name for name in modalities if name not in data]:
        raise ConfigError(f"the model has the modality {missing[0]!r}, but there is no data.{missing[0]} to train it on")
    return {name: build_component("datasets", data[name], sample_shape(config, name)) for name in modalities}


def build_changed_dataset(config: Config, entry: str, changes: Mapping[str, Any], *, key: str) -> Dataset:
    """The dataset that the section data.`entry` describes with these keys instead of its own.

    With the `name` of another dataset, nothing of that section is kept. Raises ConfigError, with the `key` of the changes, for
    what no section of a dataset may say.
    """
    recipe = config.to_dict()
    own = recipe.get("data", {}).get(entry, {})
    kept = own if changes.get("name", own.get("name")) == own.get("name") else {}
    try:
        section = load_config({**recipe, "data": {entry: {**kept, **changes}}})["data"][entry]
        return build_component("datasets", section, sample_shape(config, entry))
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error


def split_sources(
    sources: Mapping[str, Source], share: float, *, seed: int, key: str
) -> tuple[dict[str, Source], dict[str, Source]]:
    """What is left of each source to train on, and the share of it that is never trained on, chosen at random by a seed.

    Raises ConfigError, with the `key` of the share, where one of them has no sample.
    """
    for name, source in sources.items():
        if not 0 < round(share * len(source)) < len(source):
            raise ConfigError(f"{key}={share:g}: this share of the {len(source)} samples of {name} is none of them, or all")
    parts = {name: source.split(share, seed=derive_seed(seed, "held out", name)) for name, source in sources.items()}
    return {name: kept for name, (kept, _) in parts.items()}, {name: held_out for name, (_, held_out) in parts.items()}


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
