"""Classification of labelled samples: a backbone, and a head over what it returns."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mae_core.build import build_backbone
from mae_core.config import Config
from mae_core.interfaces import LABEL, Batch, Head, Losses, Mask, Sample, Task
from mae_core.model.backbone import Backbone
from mae_core.registry import build_component
from mae_core.runs.backbone import save_backbone
from mae_core.section import Section
from mae_core.training.sources import Source, build_datasets, make_sources
from mae_registry import MaeError


class Classifier(nn.Module):
    """Scores of each class, from all patches of a sample, or from those that masks leave visible."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, samples: Mapping[str, Tensor | Sample], masks: Mapping[str, Mask] | None = None) -> Tensor:
        """Normalised samples (B, *sample_shape) by modality -> (B, num_classes)."""
        return self.head(self.backbone.encode(samples, masks=masks))


class Classification(Task[range]):
    """Train backbone and head together on samples that have a `label`.

    Args:
        num_classes: labels are whole numbers from 0 to below this.
        head: a component of kind `heads`.
    """

    model: Classifier
    sources: Mapping[str, Source]

    def __init__(
        self,
        config: Config,
        *,
        num_classes: Annotated[int, Field(ge=2)],
        head: Annotated[Mapping[str, Any], Section("heads")] = {"name": "linear"},
    ) -> None:
        self.config = config
        self.num_classes = num_classes
        self.head = head

    def build_model(self, *, fresh: bool) -> None:
        """The recipe's backbone, without what only pre-training needs, and the head."""
        backbone = build_backbone(self.config)
        self.model = Classifier(backbone, build_component("heads", self.head, backbone.encoder.width, self.num_classes))

    def open_data(self) -> None:
        """One source for each modality."""
        self.sources = make_sources(self.config, build_datasets(self.config))

    def begin(self, source: str, num_rows: int, *, generator: torch.Generator, progress: float) -> range:
        """The rows are all that there is to know."""
        return range(num_rows)

    def weigh(self, inputs: range) -> Mapping[str, Tensor]:
        """Every row counts alike."""
        return {"rows": torch.tensor(float(len(inputs)))}

    def normalize(self, batch: Batch) -> Batch:
        """Samples as the tokenizer of each modality normalises them."""
        tokenizers = {entry: self.model.backbone.input(entry).tokenizer for entry in batch}
        return {entry: Sample(tokenizers[entry].normalize(sample.x), sample.extras) for entry, sample in batch.items()}

    def losses(self, forward: Callable[..., Any], batch: Batch, inputs: range, weights: Mapping[str, Tensor]) -> Losses:
        """Cross-entropy, and the share that is classified rightly."""
        labels = self._labels(batch)
        scores = forward(batch)
        loss = F.cross_entropy(scores, labels, reduction="sum") / weights["rows"].to(scores.dtype)
        accuracy = (scores.detach().argmax(dim=1) == labels).float().mean()
        return Losses({"cross_entropy": loss}, {"accuracy": accuracy})

    def finish(self, folder: Path) -> None:
        """`encoder.safetensors`, of the backbone as it was trained here."""
        save_backbone(self.model.backbone, self.config, folder / "encoder.safetensors")

    def _labels(self, batch: Batch) -> Tensor:
        """(B,). Raises MaeError where a sample has none, or none of the classes."""
        labelled = [sample.extras[LABEL] for sample in batch.values() if LABEL in sample.extras]
        if not labelled:
            raise MaeError(
                f"the samples of data.{next(iter(batch))} have no label, which task classify needs; "
                f"their dataset's `load` gives it as Sample(x, {{{LABEL!r}: torch.tensor(number)}})"
            )
        labels = labelled[0].long()
        if bool(((labels < 0) | (labels >= self.num_classes)).any()):
            low, high = int(labels.min()), int(labels.max())
            raise MaeError(
                f"task.num_classes={self.num_classes} allows labels 0 to {self.num_classes - 1}; found {low} to {high}"
            )
        return labels
