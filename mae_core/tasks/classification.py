"""Classification of labelled samples: a backbone, and a head over what it returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from mae_core.build import build_backbone, build_masker
from mae_core.config import Config
from mae_core.interfaces import LABEL, Batch, Devices, Losses, Mask, Masker, Sample, Task
from mae_core.interfaces.numbers import Probability, Rate
from mae_core.masking.sampling import Drawn, draw, take_rows, trial_masks
from mae_core.model.backbone import Backbone
from mae_core.model.classifier import Classifier
from mae_core.parts.erasing import erase
from mae_core.parts.mixing import Mixing, MixSettings, draw_mixing, require_mixable
from mae_core.parts.soft_targets import soft_targets
from mae_core.registry import build_component
from mae_core.runs.backbone import save_backbone
from mae_core.runs.card import write_card
from mae_core.runs.init import start_from_checkpoint
from mae_core.section import Section
from mae_core.tasks.labelled import LabelledData, open_labelled_data
from mae_core.tasks.measuring import ROWS, Loss, Measuring
from mae_core.training.sources import Source, make_sources
from mae_registry import ConfigError, MaeError

TRIED_CLASSES = ("0", "1")
"""What a recipe is tried with before its data are there."""


@dataclass(frozen=True)
class RowInputs:
    """What belongs to some rows of a batch beside their samples."""

    num_rows: int
    mixing: Mixing | None
    erasing: Tensor | None
    """(rows,) int64 seeds."""
    masks: Mapping[str, Drawn]

    def __getitem__(self, rows: slice) -> Self:
        """The inputs of some of these rows."""
        return type(self)(
            len(range(*rows.indices(self.num_rows))),
            None if self.mixing is None else self.mixing[rows],
            None if self.erasing is None else self.erasing[rows],
            {entry: take_rows(drawn, rows) for entry, drawn in self.masks.items()},
        )


class Classification(Task[RowInputs]):
    """Train a backbone with a head over it, or parts of them, on samples that have labels.

    The classes are those of the data.

    Args:
        validation: the keys of the data's section that differ for held-out samples, such as {root: X/val}. These are read
            un-augmented. null: nothing is held out.
        head: a component of kind `heads`.
        tuned: what is trained beside the head. "all"; or the number of the encoder's last blocks, with what comes after them: 0
            is none, 0.5 the MLP of the last block. The other parts are frozen; they run without gradients, in evaluation mode.
        mix: mixup and CutMix; null: samples are not mixed.
        erase: the share of samples in which a box is replaced by noise, after their normalisation.
        smoothing: label smoothing; the part of a label that is spread over all classes.
        loss: "cross_entropy", for samples of one class each; "binary", a question of yes or no for each class.
        masker: what hides patches in training, which are dropped; null: all are seen. Held-out samples are seen whole.
        average: the decay of a moving average of the weights, such as 0.9999, that is used for all results and in the
            `encoder.safetensors`; null: there is none.
    """

    model: Classifier
    sources: Mapping[str, Source]

    def __init__(
        self,
        config: Config,
        *,
        validation: Mapping[str, Any] | None = None,
        head: Annotated[Mapping[str, Any], Section("heads")] = {"name": "linear"},
        tuned: Literal["all"] | Annotated[float, Field(ge=0)] = "all",
        mix: MixSettings | None = None,
        erase: Probability = 0.0,
        smoothing: Rate = 0.0,
        loss: Loss = "cross_entropy",
        masker: Annotated[Mapping[str, Any] | None, Section("maskers")] = None,
        average: Rate | None = None,
    ) -> None:
        self.config = config
        self.validation = validation
        self.head = head
        self.tuned: Literal["all"] | float = tuned
        self.mixes = mix
        self.erased = erase
        self.smoothing = smoothing
        self.loss: Loss = loss
        self.masker = masker
        self.decay = average
        self.classes, self.several = TRIED_CLASSES, False
        self.maskers: dict[str, Masker] = {}
        self.data: LabelledData | None = None
        self.num_joined = 1 if mix is None else 2

    def build_model(self, *, fresh: bool) -> None:
        """The recipe's backbone, without what only pre-training needs, and the head."""
        backbone = build_backbone(self.config)
        self.model = Classifier(backbone, build_component("heads", self.head, backbone.encoder.width, len(self.classes)))
        self._check_mixing()
        if self.masker is not None:
            self.maskers = {entry: _build_masker(self.config, entry, backbone) for entry in backbone.inputs}
        if fresh:
            self.notes = [*self.notes, *start_from_checkpoint(self.model, self.config)]
        if self.tuned != "all":
            self.model.tune(self.tuned)
        if self.decay is not None:
            self.model.begin_average()

    def open_data(self) -> None:
        """One source for each modality, and the held-out samples. Raises ConfigError for labels that do not fit the task."""
        self.data = open_labelled_data(self.config, self.validation)
        self.classes, self.several = self.data.labels.names, self.data.labels.several
        self.notes = [*self.notes, *self.data.notes]
        if self.several and self.loss == "cross_entropy":
            raise ConfigError(
                "task.loss=cross_entropy is for samples of one class each, and these may have several labels; "
                "set task.loss=binary"
            )
        self.sources = make_sources(self.config, self.data.datasets)
        self.measuring = Measuring(self.config, self.data, loss=self.loss)

    def begin(self, source: str, num_rows: int, *, generator: torch.Generator, progress: float) -> RowInputs:
        """How the rows are mixed, erased and masked."""
        entries, num_views = self.sources[source].datasets, self.sources[source].num_views
        mixing = None
        if self.mixes is not None:
            shape = self.model.backbone.input(next(iter(entries))).tokenizer.sample_shape
            mixing = draw_mixing(self.mixes, num_rows, shape, num_views=num_views, generator=generator)
        erasing = torch.randint(2**62, (num_rows,), generator=generator) if self.erased > 0 else None
        masks = {
            entry: draw(
                self.maskers[entry].at(progress),
                self.model.backbone.input(entry).tokenizer.grid,
                num_rows,
                generator=generator,
            )
            for entry in entries
            if entry in self.maskers
        }
        return RowInputs(num_rows, mixing, erasing, masks)

    def weigh(self, inputs: RowInputs) -> Mapping[str, Tensor]:
        """Every row counts alike."""
        return {"rows": torch.tensor(float(inputs.num_rows))}

    def normalize(self, batch: Batch) -> Batch:
        """Samples as the tokenizer of each modality normalises them."""
        return self.model.backbone.normalize(batch)

    def losses(self, forward: Callable[..., Any], batch: Batch, inputs: RowInputs, weights: Mapping[str, Tensor]) -> Losses:
        """The loss, and the share of samples whose highest score is that of their label; of mixed ones, of the larger part."""
        targets = soft_targets(_labels(batch), len(self.classes), smoothing=self.smoothing, several=self.several)
        if inputs.mixing is not None:
            targets = inputs.mixing.mix_targets(targets)
        scores = forward({entry: self._augment(sample, inputs) for entry, sample in batch.items()}, _masks(batch, inputs))
        rows = ROWS[self.loss](scores, targets)
        best = targets.gather(1, scores.detach().argmax(dim=1, keepdim=True)).squeeze(1)
        accuracy = (best >= targets.amax(dim=1)).float().mean()
        return Losses({self.loss: rows.sum() / weights["rows"].to(rows.dtype)}, {"accuracy": accuracy})

    def after_step(self, step: int, num_steps: int) -> None:
        """Move the average; what was predicted before does not hold any more."""
        if self.decay is not None:
            self.model.follow(self.decay)
        self.measuring.forget()

    def validate(self, devices: Devices) -> Mapping[str, float]:
        """The loss and the accuracy, or the mean average precision, of the held-out samples."""
        return {f"val/{name}": value for name, value in self.measuring.measure(self.model.best, devices).items()}

    def finish(self, folder: Path, devices: Devices) -> None:
        """`encoder.safetensors`, of the backbone as it was trained here, the results, and a card with both."""
        best = self.model.best
        predicted = self.measuring.predict(best, devices)
        if devices.is_writer:
            save_backbone(best.backbone, self.config, folder / "encoder.safetensors")
            if predicted is not None:
                self.measuring.write(predicted, best, folder, protocol=self._protocol())
            write_card(folder / "encoder.safetensors", best.backbone, self.config)

    def _protocol(self) -> str:
        """What this training is called."""
        if self.tuned == "all":
            return "fine-tuning" if "init" in self.config else "training from scratch"
        if self.tuned == 0:
            return f"{self.head['name']} probe"
        blocks = "half of the last block" if self.tuned == 0.5 else f"last blocks: {self.tuned:g}"
        return f"partial fine-tuning ({blocks})"

    def _augment(self, sample: Sample, inputs: RowInputs) -> Sample:
        x = sample.x
        if inputs.erasing is not None:
            x = erase(x, inputs.erasing, probability=self.erased)
        if inputs.mixing is not None:
            x = inputs.mixing.mix(x)
        return Sample(x, {name: extra for name, extra in sample.extras.items() if name != LABEL})

    def _check_mixing(self) -> None:
        shapes = [self.model.backbone.input(entry).tokenizer.sample_shape for entry in self.model.backbone.inputs]
        if self.mixes is not None:
            if len(shapes) > 1 and "masker" in self.config["model"]:
                raise ConfigError(
                    "task.mix mixes samples of one modality, and model.masker joins several; set task.mix to null"
                )
            for shape in shapes:
                require_mixable(self.mixes, shape)
        if self.erased > 0 and any(len(shape) < 2 for shape in shapes):
            raise ConfigError("task.erase needs samples of two axes or more; set it to 0")


def _labels(batch: Batch) -> Tensor:
    """Those of the modality that has any. Raises MaeError for samples that lack what their dataset promises."""
    labelled = [sample.extras[LABEL] for sample in batch.values() if LABEL in sample.extras]
    if not labelled:
        raise MaeError(
            f"the samples of data.{next(iter(batch))} have no label; the dataset's `load` gives it as "
            f"Sample(x, {{{LABEL!r}: self.labels.targets[index]}})"
        )
    return labelled[0]


def _masks(batch: Batch, inputs: RowInputs) -> dict[str, Mask] | None:
    """What is dropped of these samples, on their device."""
    masks: dict[str, Mask] = {}
    for entry, drawn in inputs.masks.items():
        assert isinstance(drawn, Mask)
        masks[entry] = drawn.to(batch[entry].x.device, non_blocking=True)
    return masks or None


def _build_masker(config: Config, entry: str, backbone: Backbone) -> Masker:
    """The masker of what is dropped. Raises ConfigError for one that gives a sample more than one context, or looks at it."""
    masker = build_masker(config, entry, backbone, path="task.masker")
    if any(case.needs != "grid" for case in masker.cases()):
        raise ConfigError("task.masker depends on what is in the samples; a classifier's patches are dropped by place alone")
    for drawn in trial_masks(masker, backbone.input(entry).tokenizer.grid):
        if not isinstance(drawn, Mask) or drawn.repeats > 1:
            raise ConfigError("task.masker gives each sample several contexts, and a classifier takes one")
    return masker
