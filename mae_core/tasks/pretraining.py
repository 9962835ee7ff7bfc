"""Masked pre-training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor

from mae_core.build import build_model
from mae_core.config import Config
from mae_core.evaluation.online_probe import OnlineProbe, ProbeSettings
from mae_core.interfaces import Batch, Devices, Losses, MaskSets, Task
from mae_core.masking.sampling import Drawn, Undrawn, take_rows
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.pictures.reconstruction import has_picture
from mae_core.runs.backbone import save_backbone
from mae_core.runs.card import write_card
from mae_core.runs.init import start_from_checkpoint
from mae_core.runs.outputs import write_picture
from mae_core.tasks.held_out import held_out_loss
from mae_core.training.sources import Source, build_datasets, make_sources, split_sources


@dataclass(frozen=True)
class StepMasks:
    """The masks of some rows, by the entries under `model.modalities`."""

    drawn: Mapping[str, Drawn]

    def __getitem__(self, rows: slice) -> Self:
        """The masks of some of these rows."""
        return type(self)({entry: take_rows(drawn, rows) for entry, drawn in self.drawn.items()})


class Pretraining(Task[StepMasks]):
    """Hide patches, and predict them: the masked autoencoder of the recipe.

    Args:
        held_out: share of the samples of each modality that are never trained on. Their loss is `val/loss`, measured
            `train.num_validations` times.
        probe: labelled samples on which, as often, k-NN and a linear head are tried over frozen features
            (`val/knn_accuracy`, `val/linear_accuracy`). null: none.
    """

    model: MaskedAutoencoder
    sources: Mapping[str, Source]

    def __init__(
        self,
        config: Config,
        *,
        held_out: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        probe: ProbeSettings | None = None,
    ) -> None:
        self.config = config
        self.held_out_share = held_out
        self.probe_settings = probe

    def build_model(self, *, fresh: bool) -> None:
        """The recipe's masked autoencoder."""
        self.model = build_model(self.config, fresh=fresh)
        if fresh:
            self.notes = start_from_checkpoint(self.model, self.config)

    def open_data(self) -> None:
        """One source for each modality, or one of all where they are masked together."""
        self.datasets = build_datasets(self.config)
        self.sources = make_sources(self.config, self.datasets)
        self.held_out: Mapping[str, Source] = {}
        if self.held_out_share:
            self.sources, self.held_out = split_sources(
                self.sources, self.held_out_share, seed=self.config["train"]["seed"], key="task.held_out"
            )
        self.probe = None
        if self.probe_settings is not None:
            num_trained = self.config["train"]["epochs"] * sum(source.num_rows for source in self.sources.values())
            self.probe = OnlineProbe(self.config, self.probe_settings, num_trained=num_trained)

    def begin(self, source: str, num_rows: int, *, generator: torch.Generator, progress: float) -> StepMasks:
        """The masks of all rows."""
        entries = self.sources[source].datasets
        return StepMasks(self.model.draw_masks(entries, num_rows, generator=generator, progress=progress))

    def weigh(self, inputs: StepMasks) -> Mapping[str, Tensor] | None:
        """How much their predictions count; None for masks that depend on what is in the samples."""
        masks: dict[str, MaskSets] = {}
        for entry, drawn in inputs.drawn.items():
            if isinstance(drawn, Undrawn):
                return None
            masks[entry] = drawn
        return self.model.weigh(masks)

    def settle(self, batch: Batch, inputs: StepMasks) -> StepMasks:
        """The masks of these samples."""
        return StepMasks(self.model.settle_masks(batch, inputs.drawn))

    def normalize(self, batch: Batch) -> Batch:
        """Samples as the tokenizer of each modality normalises them."""
        return self.model.backbone.normalize(batch)

    def losses(self, forward: Callable[..., Any], batch: Batch, inputs: StepMasks, weights: Mapping[str, Tensor]) -> Losses:
        """The errors of each modality and of each further term."""
        out = forward(batch, masks=inputs.drawn, weights=weights)
        return Losses(out.losses, out.metrics)

    def after_step(self, step: int, num_steps: int) -> None:
        """Move the teachers."""
        self.model.after_step(step, num_steps)

    def validate(self, devices: Devices) -> Mapping[str, float]:
        """The loss of what is held out, and what the backbone's features are worth."""
        settings, measured = self.config["train"], dict[str, float]()
        if self.held_out:
            measured |= held_out_loss(
                self, self.held_out, seed=settings["seed"], num_workers=settings["num_workers"], devices=devices
            )
        if self.probe is not None:
            measured |= self.probe.measure(self.model.backbone, devices)
        return measured

    def write_pictures(self, folder: Path, step: int) -> None:
        """Reconstructions of each modality whose target can be shown."""
        for entry, dataset in self.datasets.items():
            if has_picture(self.model, entry):
                write_picture(self.model, entry, dataset, folder, step)

    def finish(self, folder: Path, devices: Devices) -> None:
        """`encoder.safetensors`, and its card."""
        if devices.is_writer:
            save_backbone(self.model.backbone, self.config, folder / "encoder.safetensors")
            write_card(folder / "encoder.safetensors", self.model.backbone, self.config)
