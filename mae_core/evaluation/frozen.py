"""A frozen backbone and the labelled data that it is measured on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mae_core.build import modality, modality_of
from mae_core.data.checks import check_data
from mae_core.evaluation.adapt import loading_options, only_entry
from mae_core.evaluation.data import FoundData, find_data
from mae_core.evaluation.features import Features, Progress, Readout, encode_dataset
from mae_core.interfaces import Dataset
from mae_core.model.backbone import Backbone
from mae_core.registry import build_component
from mae_core.runs.backbone import load_backbone_and_config
from mae_core.runs.outputs import draw_samples
from mae_core.runs.published import Origin
from mae_core.runs.results import Draw
from mae_core.training.devices import choose_device

Say = Callable[[str], object]


@dataclass(frozen=True)
class Frozen:
    """A backbone on the device that it runs on, and samples to learn from and to measure on."""

    backbone: Backbone
    entry: str
    """The modality of the data, as the backbone calls it."""
    train: Dataset
    held_out: Dataset
    found: FoundData
    teacher: bool = False
    """Whether the backbone is the moving average that a run's targets learn from."""

    @property
    def classes(self) -> Sequence[str]:
        """Their names; a label is an index into them."""
        assert self.train.labels is not None
        return self.train.labels.names

    @property
    def device(self) -> torch.device:
        """Where the backbone runs."""
        return next(self.backbone.parameters()).device

    def facts(self) -> dict[str, object]:
        """What a report says of the data."""
        return {
            "root": self.found.train.get("root"),
            "found": self.found.description,
            "training samples": len(self.train),
            "held-out samples": len(self.held_out),
            **({"encoder": "the teacher"} if self.teacher else {}),
        }

    def encode_held_out(self, readouts: Sequence[Readout], *, say: Say, progress: Progress | None = None) -> Features:
        """Features of the held-out samples. Those that cannot be read are said."""
        return _encode(self.backbone, self.held_out, self.entry, readouts, view=0, say=say, progress=progress)

    def encode_train(
        self, readouts: Sequence[Readout], *, view: int = 0, say: Say, progress: Progress | None = None
    ) -> Features:
        """Features of one view of the samples to learn from: 0 is un-augmented. Those that cannot be read are said."""
        return _encode(self.backbone, self.train, self.entry, readouts, view=view, say=say, progress=progress)

    def picture_writer(self, held_out: Features) -> Draw | None:
        """What writes pictures of the held-out samples with these features; None where the modality cannot show one."""
        return draw_samples(self.backbone, self.entry, self.held_out, held_out.indices.tolist())


def open_frozen(
    checkpoint: Path,
    data: str,
    *,
    entry: str | None,
    folder: Path,
    say: Say,
    teacher: bool = False,
    device: str = "auto",
) -> Frozen:
    """Load a backbone, find the data and check them. A split that has to be made is recorded in `folder`.

    `teacher`: the backbone is the moving average that a run's targets learn from. `device`: as in `choose_device`.

    Raises MaeError for what is wrong with any of them.
    """
    backbone, config = load_backbone_and_config(checkpoint, Origin(say=say), teacher=teacher)
    chosen = only_entry(config, entry)
    found = find_data(data, modality=modality(modality_of(config, chosen)), folder=folder)
    say(f"data: {found.description}")
    shape = backbone.input(chosen).tokenizer.sample_shape
    options = loading_options(config.get(f"data.{chosen}", {}), found.train["name"])  # a video's frame rate, for example
    section = {**options, "balanced": None, **found.train} if "balanced" in options else {**options, **found.train}
    train: Dataset = build_component("datasets", section, shape)
    held_out: Dataset = build_component("datasets", {**section, **found.validation}, shape)
    for note in check_data(train, held_out):
        say(note)
    return Frozen(backbone.to(choose_device(device)), chosen, train, held_out, found, teacher)


def _encode(
    backbone: Backbone,
    dataset: Dataset,
    entry: str,
    readouts: Sequence[Readout],
    *,
    view: int,
    say: Say,
    progress: Progress | None,
) -> Features:
    features = encode_dataset(backbone, dataset, entry=entry, readouts=readouts, view=view, progress=progress)
    for skipped in features.skipped:
        say(f"skipped: {skipped.reason}")
    return features
