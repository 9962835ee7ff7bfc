"""Features: what a frozen backbone makes of the samples of a dataset, one vector a sample."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mae_core.evaluation.reading import Seen, Skipped, read_batches
from mae_core.interfaces import ALONE, LABEL, Dataset, Devices, Latent, Sample
from mae_core.model.backbone import Backbone
from mae_core.training.validation import undisturbed
from mae_registry import MaeError

Pool = Literal["mean", "cls", "tokens"]


class Readout(NamedTuple):
    """What is read from a latent as the feature of a sample."""

    pool: Pool = "mean"
    """The mean of the patches' tokens, the class token, or all tokens of patches as they are."""
    layer: int | None = None
    """An encoder's layer, from 0, its input, on; None: the backbone's output, after its last norm."""

    def __str__(self) -> str:
        return self.pool if self.layer is None else f"{self.pool} of layer {self.layer}"


@dataclass(frozen=True)
class Features:
    """The features of those samples of a dataset that could be read, on the CPU."""

    names: Sequence[str]
    """Of the samples, as their dataset describes them."""
    indices: Tensor
    """(samples,) int64: their numbers in the dataset."""
    vectors: Mapping[Readout, Tensor]
    """(samples, D) float32 of each readout; of pool "tokens" (samples, patches, D)."""
    targets: Tensor | None
    """Rows of the dataset's `Labels.targets`; None where it has no labels."""
    skipped: Sequence[Skipped]


Progress = Callable[[int, int], object]
"""Called with the numbers of samples that this device has done, and that all have to do."""


def encode_dataset(
    backbone: Backbone,
    dataset: Dataset,
    *,
    entry: str,
    readouts: Sequence[Readout] = (Readout(),),
    indices: Sequence[int] | None = None,
    view: int = 0,
    seed: int = 0,
    num_workers: int | Literal["auto"] = "auto",
    progress: Progress | None = None,
    devices: Devices = ALONE,
) -> Features:
    """The features of a dataset's samples, or of those with the numbers `indices`, in their order.

    The backbone runs where its weights are, in evaluation mode; its modes are left as they were. Samples that cannot be read
    are skipped and listed. No global generator is touched.

    Args:
        entry: the modality of the backbone.
        view: 0: samples are un-augmented (`Dataset.read`). From 1 on: augmented by random numbers of `seed`, of the number of
            this view and of that of the sample.
        devices: share the samples; each returns the features of all.

    Raises MaeError where no sample can be read, and for a pool or layer that the backbone does not have.
    """
    wanted = range(len(dataset)) if indices is None else indices
    device = next(backbone.parameters()).device
    batches = read_batches(
        dataset,
        wanted,
        entry=entry,
        view=view,
        seed=seed,
        num_workers=num_workers,
        device=device,
        devices=devices,
    )
    seen = Seen()
    parts: dict[Readout, list[Tensor]] = {readout: [] for readout in readouts}
    with undisturbed(backbone), batches as batches_read:
        for batch in batches_read:
            samples = batch.loaded.to(device)
            if seen.take(batch):
                _require_own_labels(dataset, batch.indices, samples[entry])
                for readout, vector in encode(backbone, samples, readouts=readouts).items():
                    parts[readout].append(vector.float().cpu())
            if progress is not None:
                progress(len(seen.indices) + len(seen.skipped), len(wanted))
    seen = seen.everywhere(devices)
    numbers = torch.tensor(seen.indices)
    targets = None if dataset.labels is None else dataset.labels.targets[numbers]
    vectors = {readout: torch.cat(devices.gather(part)) for readout, part in parts.items()}
    return Features(seen.names, numbers, vectors, targets, seen.skipped)


def _require_own_labels(dataset: Dataset, indices: Sequence[int], sample: Sample) -> None:
    """Raise MaeError for samples that were mixed with others, and whose labels are not those of the dataset any more."""
    if dataset.labels is None or LABEL not in sample.extras:
        return
    if not torch.equal(sample.extras[LABEL].cpu(), dataset.labels.targets[list(indices)]):
        raise MaeError(
            f"the dataset mixes samples and their labels in its augmentation ({dataset.describe(indices[0])}), and features "
            "are measured on samples of their own; encode one view alone"
        )


def encode(backbone: Backbone, samples: Mapping[str, Sample], *, readouts: Sequence[Readout]) -> dict[Readout, Tensor]:
    """Features of one batch of one modality, as it was loaded, on the device of the backbone."""
    layers = sorted({readout.layer for readout in readouts if readout.layer is not None})
    latent = backbone.encode(backbone.normalize(samples), layers=layers)
    return {readout: _read_out(latent, readout) for readout in readouts}


def _read_out(latent: Latent, readout: Readout) -> Tensor:
    chosen = latent if readout.layer is None else latent.at(readout.layer)
    if readout.pool == "tokens":
        return chosen.tokens
    pooled = chosen.pooled(readout.pool)
    return pooled.clone() if readout.pool == "cls" else pooled  # a view would keep the tokens of every batch in memory


def require_targets(features: Features) -> Tensor:
    """(S,) or (S, C). Raises MaeError where the samples have no labels."""
    if features.targets is None:
        raise MaeError(f"the samples have no labels ({features.names[0]}), which are needed to measure what features are worth")
    return features.targets
