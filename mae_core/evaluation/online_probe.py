"""Seeing an encoder learn: what its features are worth, measured on a few labelled samples in the middle of pre-training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, Literal

import torch
from pydantic import ConfigDict
from torch import Tensor

from mae_core.config import Config
from mae_core.data.checks import check_classes
from mae_core.data.splits import hold_out
from mae_core.evaluation.features import Features, Readout, encode_dataset, require_targets
from mae_core.evaluation.knn import USUAL_K, classify, require_one_label, top_accuracy
from mae_core.evaluation.linear_heads import Standardizer, train_heads
from mae_core.evaluation.reading import read_batches
from mae_core.interfaces import BadSample, Dataset, Devices, Labels, Preview, Sample, as_sample
from mae_core.interfaces.numbers import Positive
from mae_core.model.backbone import Backbone
from mae_core.training.sources import build_changed_dataset
from mae_registry import ConfigError, did_you_mean

BUDGET = 0.01
"""Samples that all probes of a run encode, as a share of the samples that it trains on, unless the recipe says how many.

To encode a whole sample takes about as long as to train on one, of which the encoder sees a quarter and which goes forwards and
backwards; with an encoder that sees a tenth, and a small decoder, up to three times as long. So this is 1 to 3% of the run.
"""
MAX_SAMPLES = 4_000
MIN_PER_CLASS = 10
HELD_OUT_SHARE = 0.25
READOUT = Readout("mean")
RATE, NUM_STEPS = 0.01, 500
"""Of the linear head: small and short enough to need neither weight decay nor a choice."""
MAX_KEPT = 2**30
"""Bytes of samples that stay in memory from one probe to the next. More than that are read again every time."""


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """The labelled samples of an online probe."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    data: Mapping[str, Any]
    """Keys of the section data.MODALITY that differ for them; with the `name` of another dataset, a section of its own."""
    held_out: Mapping[str, Any] | None = None
    """Keys that differ from `data` for the samples that are classified. null: a quarter of each class is held out."""
    num_samples: Positive | Literal["auto"] = "auto"
    """Samples that each probe encodes, three quarters of them to learn from. auto: at most 4,000, and so few that all probes of
    a run together take 1 to 3% of its time."""
    modality: str | None = None
    """null: the model's first one."""


class OnlineProbe:
    """k-NN and a linear head over the features of the same few samples, each time it is asked."""

    def __init__(self, config: Config, settings: ProbeSettings, *, num_trained: int) -> None:
        """`num_trained`: the samples that the run trains on, each counted in every epoch.

        Raises ConfigError where the labelled data are not there, or not enough.
        """
        entries = list(config["model"]["modalities"])
        self.entry = entries[0] if settings.modality is None else settings.modality
        if self.entry not in entries:
            raise ConfigError(
                f"task.probe.modality: the model has no modality {self.entry!r}.{did_you_mean(self.entry, entries)}"
            )
        self._num_workers = config["train"]["num_workers"]
        (train, rows), (held_out, held_out_rows) = _open(config, self.entry, settings)
        self.num_classes = len(_labels(train).names)
        number = settings.num_samples
        if number == "auto":
            number = _affordable(num_trained, config["train"]["num_validations"], self.num_classes)
        num_held_out = max(1, round(HELD_OUT_SHARE * number))
        self._train = _Few(train, _choose(rows, number - num_held_out))
        self._held_out = _Few(held_out, _choose(held_out_rows, num_held_out))

    def measure(self, backbone: Backbone, devices: Devices) -> dict[str, float]:
        """The shares of the held-out samples that are classified rightly. Neither weights nor global generators are touched.

        The devices share the encoding; what little remains is done by each of them, with the features of all samples.
        """
        train, held_out = (self._encode(backbone, few, devices) for few in (self._train, self._held_out))
        bank, queries = train.vectors[READOUT], held_out.vectors[READOUT]
        labels, expected = require_targets(train), require_targets(held_out)
        votes = classify(bank, labels, queries, expected, num_classes=self.num_classes, ks=[USUAL_K])
        standardize, device = Standardizer.of(bank), next(backbone.parameters()).device
        heads = train_heads(
            standardize(bank).to(device),
            labels.to(device),
            num_classes=self.num_classes,
            rates=[RATE],
            decays=[0.0],
            num_steps=NUM_STEPS,
        )
        scores = heads(standardize(queries).to(device))[:, 0].cpu()
        return {
            "val/knn_accuracy": votes.accuracy(votes.k),
            "val/linear_accuracy": top_accuracy(scores, expected),
        }

    def _encode(self, backbone: Backbone, few: "_Few", devices: Devices) -> Features:
        num_workers = 0 if few.keep(self.entry, self._num_workers, devices) else self._num_workers
        return encode_dataset(backbone, few, entry=self.entry, readouts=[READOUT], num_workers=num_workers, devices=devices)


class _Few(Dataset):
    """Some samples of a dataset, which stay in memory where they are small."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self._dataset, self._indices = dataset, indices
        labels = _labels(dataset)
        self.labels = Labels(labels.names, labels.targets[list(indices)])
        self._kept: dict[int, Sample] | None = None
        self._reasons: dict[str, str] = {}
        """Of samples that could not be kept, by their descriptions."""
        self._is_small = True

    def __len__(self) -> int:
        return len(self._indices)

    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """As the dataset does."""
        return self._dataset.load(self._indices[index], random=random)

    def read(self, index: int) -> Tensor | Sample:
        """As the dataset does."""
        if self._kept is None:
            return self._dataset.read(self._indices[index])
        if index not in self._kept:
            raise BadSample(self._reasons[self.describe(index)])
        return self._kept[index]

    def describe(self, index: int) -> str:
        """As the dataset does."""
        return self._dataset.describe(self._indices[index])

    def previews(self, count: int) -> Sequence[Preview]:
        """None: the pictures of a run show what it trains on."""
        return []

    def keep(self, entry: str, num_workers: int | Literal["auto"], devices: Devices) -> bool:
        """Read this device's samples once and for all, unless they are too large. Returns whether they are in memory."""
        self._is_small = self._is_small and (self._kept is not None or self._num_bytes() <= MAX_KEPT)
        if self._kept is not None or not self._is_small:
            return self._is_small
        kept: dict[int, Sample] = {}
        device = torch.device("cpu")
        batches = read_batches(
            self,
            range(len(self)),
            entry=entry,
            num_workers=num_workers,
            device=device,
            devices=devices,
        )
        with batches as read:
            for batch in read:
                self._reasons |= dict(batch.skipped)
                samples = batch.loaded.to(device)
                for row, index in enumerate(batch.indices):
                    extras = {name: extra[row] for name, extra in samples[entry].extras.items()}
                    kept[index] = Sample(samples[entry].x[row], extras)
        self._kept = kept
        return True

    def _num_bytes(self) -> int:
        """Of all samples, as far as the first one that can be read tells."""
        for index in range(len(self)):
            try:
                x = as_sample(self.read(index)).x
            except BadSample:
                continue
            return x.numel() * x.element_size() * len(self)
        return 0


def _open(config: Config, entry: str, settings: ProbeSettings) -> tuple[tuple[Dataset, Tensor], tuple[Dataset, Tensor]]:
    """The samples to learn from and those to classify: their datasets, and which of the datasets' samples they may be."""
    train = build_changed_dataset(config, entry, settings.data, key="task.probe.data")
    if settings.held_out is None:
        apart = hold_out(_labels(train), share=HELD_OUT_SHARE, seed=0)
        return (train, (~apart).nonzero()[:, 0]), (train, apart.nonzero()[:, 0])
    changes = {**settings.data, **settings.held_out}
    held_out = build_changed_dataset(config, entry, changes, key="task.probe.held_out")
    check_classes(train, held_out)
    return (train, torch.arange(len(train))), (held_out, torch.arange(len(held_out)))


def _labels(dataset: Dataset) -> Labels:
    """Raises MaeError for samples that have no label, or several."""
    if dataset.labels is None:
        raise ConfigError(
            f"task.probe.data: the samples have no labels ({dataset.describe(0)}); with labels=folders, each class has a folder"
        )
    require_one_label(dataset)
    return dataset.labels


def _affordable(num_trained: int, num_validations: int, num_classes: int) -> int:
    """How many samples each probe may encode. Raises ConfigError where these are too few to tell anything."""
    number = min(MAX_SAMPLES, int(BUDGET * num_trained / max(1, num_validations)))
    if number < MIN_PER_CLASS * num_classes:
        raise ConfigError(
            f"task.probe: {number} samples in each of {num_validations} validations would take 1 to 3% of this run's time, and "
            f"are too few for {num_classes} classes; set task.probe.num_samples={20 * num_classes} to allow it more, or lower "
            "train.num_validations"
        )
    return number


def _choose(rows: Tensor, number: int) -> list[int]:
    """Up to so many of the rows, always the same ones."""
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:number]
    return rows[chosen.sort().values].tolist()
