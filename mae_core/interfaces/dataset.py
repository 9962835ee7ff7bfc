"""Datasets and modalities: all that the core knows of files."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from torch import Tensor

from mae_core.interfaces.sample import Extras, Sample, as_sample, first_view, with_views
from mae_registry import MaeError


class BadSample(MaeError):
    """A sample that cannot be read (truncated, empty, of another kind). Training replaces, counts and lists it."""


LABEL = "label"
"""The extra of a labelled sample that holds its target: a row of `Labels.targets`."""


@dataclass(frozen=True)
class Labels:
    """Which classes there are, and which of them each sample belongs to."""

    names: tuple[str, ...]
    """Of the classes, sorted. A label is an index into them."""
    targets: Tensor
    """(samples,) int64; where a sample may have several labels, (samples, classes) float32 of 0 and 1."""

    @property
    def several(self) -> bool:
        """Whether a sample may have more than one label."""
        return self.targets.ndim == 2

    def counts(self) -> Tensor:
        """(classes,) int64: the number of samples of each class."""
        if self.several:
            return self.targets.sum(dim=0, dtype=torch.float64).long()
        return torch.bincount(self.targets, minlength=len(self.names))

    def balancing_weights(self) -> Tensor:
        """(samples,) float64: 1 over the number of samples of the class, summed over the classes of a sample (Audio-MAE)."""
        weights = 1 / self.counts().clamp(min=1).double()
        return self.targets.double() @ weights if self.several else weights[self.targets]


@dataclass(frozen=True)
class Draws:
    """An epoch of samples that are drawn by weight, none of them twice, in place of a pass over all of them."""

    number: int
    """Samples in an epoch."""
    weights: Tensor
    """(samples,) float64: how likely each is to be drawn; for a training, at least `number` of them above 0."""


class Dataset(ABC):
    """Numbered samples. Built as `dataset(sample_shape, **recipe)`, `sample_shape` being the tokenizer's.

    `load` must depend on its arguments alone (no global generator, no state), so that a run does not depend on the number of
    workers and resumes exactly. Datasets are pickled to worker processes.
    """

    num_views: int = 1
    """Samples that one `load` gives, several crops of one decoded file. The batch size counts loads, as published."""
    num_test_views: int = 1
    """Parts of a sample that it is measured on, several clips or crops of one file: what `read_views` gives."""
    labels: Labels | None = None
    """The label of every sample, if they have any; `load` and `read` then give it with the sample (`labelled`)."""

    draws: Draws | None = None
    """How samples are drawn for training; None: an epoch takes every sample once."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of samples."""

    @abstractmethod
    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """One augmented sample, un-normalised (e.g. uint8), of `sample_shape`; with several views (num_views, *sample_shape).

        With extras (its label, time stamps) a `Sample`, whose extras have the views as their first axis too. Raises BadSample.
        """

    def read(self, index: int) -> Tensor | Sample:
        """One sample of `sample_shape`, un-augmented as far as that goes: what statistics are measured on. Raises BadSample."""
        sample = as_sample(self.load(index, random=Random(0)))
        return sample if self.num_views == 1 else first_view(sample)

    def read_views(self, index: int) -> Sample:
        """What a sample is measured on, un-augmented: (num_test_views, *sample_shape), the extras with views as first axis too.

        A model's scores of the views are averaged, as probabilities. Raises BadSample.
        """
        assert self.num_test_views == 1, f"{type(self).__name__} must say what its test views are"
        return with_views(as_sample(self.read(index)))

    def labelled(self, x: Tensor, index: int, *, num_views: int | None = None) -> Tensor | Sample:
        """What `load` or `read` returns of sample `index`: `x`, with its label where samples have labels.

        `num_views`: the length of the first axis of `x`, where that is the views; the label is repeated for each.
        """
        if self.labels is None:
            return x
        target = self.labels.targets[index]
        return Sample(x, {LABEL: target if num_views is None else target.expand(num_views, *target.shape)})

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
class KnownData:
    """A labelled data set that is told by the name of a file or folder that it comes as."""

    title: str
    """What people call it: "CIFAR-10"."""
    marker: str
    """The file or folder that the dataset's `root` contains."""
    train: Mapping[str, Any]
    """The section of its dataset, but for `root`, for the training samples."""
    held_out: Mapping[str, Any]
    """The keys of that section that differ for the held-out samples."""


@dataclass(frozen=True)
class Modality:
    """What a plugin says of its modality. Functions are import strings ("package.module:function"), resolved on use.

    `read(path, tokenizer) -> Tensor | Sample`: one file as `Dataset.load` would give it, un-augmented. Raises BadSample.
    `picture(reconstructions, path) -> Sequence[Path]`: writes a PNG, one row (or group of rows) a reconstruction, every column
    labelled, and what else belongs to it beside it, and returns every path that it wrote; `mae_core.pictures.panels.panels`
    gives the columns.
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
    labelled_folder: str | None = None
    """Name of its dataset of labelled files, which takes the options of `mae_core.data.folders.FileFolder`."""
    known_data: Sequence[KnownData] = field(default=())
    """Published data sets in files of their own."""
    shrink: str | None = None
    """`shrink(file, shorter_side=..., quality=...) -> (bytes, suffix)`: a file (`mae_core.data.files.File`) encoded again, with
    at most so many values along its shorter side, at a quality of 1 to 100; and the suffix of its new form. A file that is
    small enough stays as it is. Raises BadSample. None: files are stored in shards as they are."""
    show: str | None = None
    """`show(sample, path)`: writes a small PNG of one sample, (sample_shape) in the range of `Tokenizer.denormalize`."""
    recipes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names of recipes for what is done after pre-training, "finetune" and "probe", one for each size of encoder."""
