"""What a classifier says of held-out samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mae_core.evaluation.reading import Seen, Skipped, read_batches
from mae_core.interfaces import LABEL, Dataset, Devices, Sample
from mae_core.model.classifier import Classifier


@dataclass(frozen=True)
class Predicted:
    """Logits for those samples of a dataset that could be read, on the CPU."""

    names: Sequence[str]
    indices: Sequence[int]
    """Their numbers in the dataset."""
    targets: Tensor
    """(N,) int64, or (N, classes) of 0 and 1, as `Labels.targets`."""
    logits: Tensor
    """(N, views, classes) float32: of each view that a sample is measured on."""
    skipped: Sequence[Skipped]


def predict(
    model: Classifier, dataset: Dataset, *, entry: str, num_workers: int | Literal["auto"], devices: Devices
) -> Predicted:
    """Logits of all samples of a labelled dataset, un-augmented, where the model's weights are and in the modes that it is in.

    The devices share the samples, and each returns the logits of all. Where a dataset measures samples on several views, such
    as parts of a recording, there are logits of each. Samples that cannot be read are skipped and listed. Raises MaeError where
    none can be read.
    """
    assert dataset.labels is not None
    device = next(model.parameters()).device
    seen = Seen()
    logits: list[Tensor] = []
    num_views = dataset.num_test_views
    reading = read_batches(
        dataset,
        range(len(dataset)),
        entry=entry,
        view="test",
        num_workers=num_workers,
        device=device,
        devices=devices,
    )
    with reading as batches, torch.no_grad():
        for batch in batches:
            samples = batch.loaded.to(device)
            if seen.take(batch):
                sample = samples[entry]
                extras = {name: extra for name, extra in sample.extras.items() if name != LABEL}
                found = model(model.backbone.normalize({entry: Sample(sample.x, extras)})).float().cpu()
                logits.append(found.unflatten(0, (-1, num_views)))
    seen = seen.everywhere(devices, what="held-out samples")
    targets = dataset.labels.targets[torch.tensor(seen.indices)]
    return Predicted(seen.names, seen.indices, targets, torch.cat(devices.gather(logits)), seen.skipped)
