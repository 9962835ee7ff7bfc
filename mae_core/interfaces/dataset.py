"""Datasets and modalities: all that the core knows of files."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from torch import Tensor

from mae_core.interfaces.sample import Extras, Sample, as_sample
from mae_registry import MaeError


class BadSample(MaeError):
    """A sample that cannot be read (truncated, empty, of another kind). Training replaces, counts and lists it."""


LABEL = "label"
"""The extra that holds a sample's label: the number of its class, or 0 and 1 for each class."""


@dataclass(frozen=True)
class Labels:
    """What the samples of a dataset are of."""

    names: tuple[str, ...]
    """The names of the classes, sorted. A label is an index into them."""
    targets: Tensor
    """(samples,) int64; where a sample may have several labels, (samples, classes) float32 of 0 and 1."""


class Dataset(ABC):
    """Numbered samples. Built as `dataset(sample_shape, **recipe)`, `sample_shape` being the tokenizer's.

    `load` must depend on its arguments alone (no global generator, no state), so that a run does not depend on the number of
    workers and resumes exactly. Datasets are pickled to worker processes.
    """

    num_views: int = 1
    """Samples that one `load` gives, several crops of one decoded file. The batch size counts loads, as published."""
    labels: Labels | None = None
    """None: the samples have no labels. Otherwise `load` and `read` give each sample its own, as the extra `LABEL`."""

    @abstractmethod
    def __len__(self) -> int:
        """Loads in an epoch."""

    @abstractmethod
    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """One augmented sample, un-normalised (e.g. uint8), of `sample_shape`; with several views (num_views, *sample_shape).

        With extras (a label, time stamps) a `Sample`, whose extras have the views as their first axis too. Raises BadSample.
        """

    def read(self, index: int) -> Tensor | Sample:
        """One sample of `sample_shape`, un-augmented as far as that goes: what statistics are measured on. Raises BadSample."""
        sample = as_sample(self.load(index, random=Random(0)))
        if self.num_views == 1:
            return sample
        return Sample(sample.x[0], {name: extra[0] for name, extra in sample.extras.items()})

    @abstractmethod
    def describe(self, index: int) -> str:
        """What a person would call it: the path of its file."""

    @abstractmethod
    def previews(self, count: int) -> Sequence["Preview"]:
        """Up to `count` un-augmented samples for pictures, the same ones every time; held-out ones first, if any."""


@dataclass(frozen=True)
class Preview:
    """A sample for a picture. `sample` as from `Dataset.load`; `note` says what a reader should know ("held out")."""

    title: str
    sample: Tensor
    note: str = ""
    extras: Extras = field(default_factory=dict)
    """The sample's, without a batch axis."""


@dataclass(frozen=True)
class Reconstruction:
    """One sample through the model, all tensors of `sample_shape`, all but `raw` in the range of `Tokenizer.denormalize`."""

    title: str
    note: str
    sample: Tensor
    hidden: Tensor
    """True where the encoder saw nothing; broadcastable to `sample`."""
    prediction: Tensor
    """The model's own output everywhere, visible patches included: nothing pasted."""
    raw: Tensor | None
    """For targets normalised by the true patches' statistics: the prediction before these are put back, around 0."""
    mask_ratio: float
    """Share of patches hidden."""
    loss: float


@dataclass(frozen=True)
class Modality:
    """What a plugin says of its modality. Functions are import strings ("package.module:function"), resolved on use.

    `read(path, tokenizer) -> Tensor | Sample`: one file as `Dataset.load` would give it, un-augmented. Raises BadSample.
    `picture(reconstructions, path)`: writes a PNG, one row (or group of rows) a reconstruction, every column labelled;
    `mae_core.pictures.panels.panels` gives the columns.
    `measure(samples) -> dict`: `mae statistics`; parameters of the tokenizer that fit these samples, e.g. their
    mean: numbers, or lists of one a channel.
    """

    name: str
    defaults: Mapping[str, Mapping[str, Any]]
    """Per part (tokenizer, positions, masker, decoder, target): a section with its `name`."""
    read: str
    picture: str
    measure: str | None = None
    file_suffixes: Sequence[str] = field(default=())
    """The suffixes of files that `read` accepts, in lower case and with the dot."""
