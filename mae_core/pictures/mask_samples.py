"""Maskers before they are trained with: some masks to look at, and what many of them have in common."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mae_core.interfaces import Grid, Mask, each_mask
from mae_core.pictures.mask_subjects import JointPart, Subject
from mae_registry import MaeError

BATCH_SIZE = 10
"""Of the draws; 1 where a whole batch is of one of several cases, so that these are seen as often as they come."""
MAX_FRAMES = 8
NUM_CURVE_POINTS = 101
VISIBLE, PREDICTED, VISIBLE_AND_PREDICTED, NEITHER = range(4)
STATES = ("visible", "hidden, predicted", "visible, predicted too", "hidden, not predicted")
"""What a patch may be, by the numbers above."""


@dataclass(frozen=True)
class DrawnSet:
    """Draws of one of a masker's index sets. D draws, N patches."""

    hidden: Tensor
    """(D, N) bool."""
    predicted: Tensor
    """(D, N) bool."""
    examples: Tensor
    """(E,) int64: draws to look at, each of a batch of its own."""
    ragged: bool

    def states(self, example: int) -> Tensor:
        """(N,) int64: what each patch is, a place in `STATES`."""
        draw = self.examples[example]
        both = torch.where(self.hidden[draw], PREDICTED, VISIBLE_AND_PREDICTED)
        return torch.where(self.predicted[draw], both, torch.where(self.hidden[draw], NEITHER, VISIBLE))

    @property
    def hidden_share(self) -> Tensor:
        """(N,): how often each patch is hidden."""
        return self.hidden.sum(0) / len(self.hidden)

    @property
    def predicted_share(self) -> Tensor:
        """(N,): how often each patch is predicted."""
        return self.predicted.sum(0) / len(self.predicted)

    @property
    def predicts_the_hidden(self) -> bool:
        """Whether hidden and predicted are the same, as in most methods."""
        return bool((self.hidden == self.predicted).all())

    @property
    def facts(self) -> dict[str, Any]:
        """Patches hidden and predicted, each as least, mean, most; for programs too."""
        counts = {"num_hidden": self.hidden.sum(1), "num_predicted": self.predicted.sum(1)}
        return {"ragged": self.ragged} | {
            what: {"min": int(num.min()), "mean": round(float(num.double().mean()), 3), "max": int(num.max())}
            for what, num in counts.items()
        }


@dataclass(frozen=True)
class Look:
    """A masker at one time of training."""

    progress: float | None
    """None: the masker is the same at all times."""
    sets: Sequence[DrawnSet]


def look(subject: Subject, *, num_draws: int, seed: int, progress: float | None = None) -> list[Look]:
    """Draw at `progress`; without it, at the beginning, middle and end if the masker changes over training.

    Raises MaeError for a masker that needs samples.
    """
    require_no_samples(subject)
    if not subject.is_scheduled:
        return [Look(None, _draw(subject, 0.0, num_draws, seed))]
    times = (0.0, 0.5, 1.0) if progress is None else (progress,)
    return [Look(time, _draw(subject, time, num_draws, seed)) for time in times]


def require_no_samples(subject: Subject) -> None:
    """Raise MaeError for a masker whose masks depend on samples."""
    if subject.masker.needs_patches:
        raise MaeError(
            f"{subject.title}: this masker looks at the samples before it masks them, so it cannot be drawn without any; "
            "`mae reconstruct` draws its masks on samples"
        )


def batch_size(subject: Subject, num_draws: int) -> int:
    """How many samples are drawn at once."""
    return 1 if len(subject.masker.at(0.0).cases()) > 1 else min(BATCH_SIZE, max(1, num_draws // BATCH_SIZE))


def curve(subject: Subject, *, seed: int) -> tuple[list[float], list[float]]:
    """Share of patches hidden over training's progress, as drawn."""
    times = [index / (NUM_CURVE_POINTS - 1) for index in range(NUM_CURVE_POINTS)]
    return times, [float(_draw(subject, time, 1, seed)[0].hidden_share.mean()) for time in times]


def note_on(subject: Subject, drawn: DrawnSet) -> str:
    """What a model says of such masks, if anything."""
    if isinstance(subject.masker, JointPart):
        return ""
    if drawn.ragged:
        return "ragged: needs an encoder over all tokens, model.encoder.mask_tokens=true"
    for what, refused in (("predicts", ~drawn.predicted), ("keeps", drawn.hidden)):
        if bool(refused.all()):
            return f"{what} nothing, which a model refuses"
    return ""


def states_in(drawn: Sequence[DrawnSet]) -> dict[int, str]:
    """The states that patches of the examples have, with their names."""
    found = {int(state) for each in drawn for index in range(len(each.examples)) for state in each.states(index).unique()}
    if found <= {VISIBLE, PREDICTED}:  # where all that is hidden is predicted, that need not be said
        return {state: STATES[state].removesuffix(", predicted") for state in sorted(found)}
    return {state: STATES[state] for state in sorted(found)}


def heading(look: Look, index: int) -> str:
    """ "progress 0.5, set 1 of 2: "; empty where there is nothing to tell apart."""
    words = [f"progress {look.progress:g}"] if look.progress is not None else []
    words += [f"set {index + 1} of {len(look.sets)}"] if len(look.sets) > 1 else []
    return f"{', '.join(words)}: " if words else ""


def source(subject: Subject, looks: Sequence[Look], seed: int) -> str:
    """Where draws are from: "grid h=14 w=14 (a default; h down, w right); 1000 draws in batches of 10, seed 0"."""
    num_draws = len(looks[0].sets[0].hidden)
    many = f"{num_draws} draws in batches of {batch_size(subject, num_draws)}"
    return f"grid {subject.grid} ({subject.grid_from}; {frames(subject.grid).directions}); {many}, seed {seed}"


def describe(drawn: DrawnSet) -> str:
    """E.g. "hidden 147 of 196 (75.0%), kept 49"."""
    num_patches = drawn.hidden.shape[1]
    num_hidden = drawn.hidden.sum(1)
    share = float(num_hidden.double().mean()) / num_patches
    words = f"hidden {_range(num_hidden)} of {num_patches} ({share:.1%}), kept {_range(num_patches - num_hidden)}"
    return words if drawn.predicts_the_hidden else f"{words}, predicted {_range(drawn.predicted.sum(1))}"


def _range(count: Tensor) -> str:
    low, high = int(count.min()), int(count.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _draw(subject: Subject, progress: float, num_draws: int, seed: int) -> list[DrawnSet]:
    """One a set of indices. Where the number of sets changes from batch to batch, the later sets have fewer draws."""
    by_set: list[list[tuple[Tensor, Tensor, bool]]] = []
    for drawn in _batches(subject, progress, num_draws, seed):
        for index, mask in enumerate(drawn):
            if index == len(by_set):
                by_set.append([])
            by_set[index].append((mask.hidden, _predicted(mask), mask.ragged))  # without the ids, which are much larger
    sets = []
    for batches in by_set:
        hidden, predicted, ragged = zip(*batches, strict=True)
        firsts = torch.tensor([0, *(len(batch) for batch in hidden[:-1])]).cumsum(0)
        sets.append(DrawnSet(torch.cat(hidden), torch.cat(predicted), firsts, any(ragged)))
    return sets


def _batches(subject: Subject, progress: float, num_draws: int, seed: int) -> Iterator[tuple[Mask, ...]]:
    masker = subject.masker.at(progress)
    generator = torch.Generator().manual_seed(seed)
    step = batch_size(subject, num_draws)
    for start in range(0, num_draws, step):
        yield each_mask(masker(subject.grid, min(step, num_draws - start), generator=generator))


def _predicted(mask: Mask) -> Tensor:
    """(B, N) bool."""
    return mask.hidden if mask.ragged else torch.zeros_like(mask.hidden).scatter(1, mask.ids_predict, True)


@dataclass(frozen=True)
class Frames:
    """A grid's patches as pictures: the last two axes are a picture's, one for each position along the others."""

    ids: Tensor
    """(P, H, W) int64: which patch lies where."""
    labels: Sequence[str]
    """P times: the position along the other axes; empty where there is none."""
    directions: str
    """E.g. "h down, w right"."""


def frames(grid: Grid, *, limit: int = MAX_FRAMES) -> Frames:
    """At most `limit` pictures, evenly chosen. An axis that is much longer than the other runs to the right."""
    height, width = [1, *grid.sizes][-2:]
    ids = torch.arange(grid.num_patches).reshape(-1, height, width)
    outer = Grid(**dict(zip(grid.axes, grid.sizes[:-2], strict=False))) if len(grid.axes) > 2 else None
    chosen = torch.linspace(0, len(ids) - 1, min(limit, len(ids))).round().long()
    labels = [""] * len(chosen)
    if outer:
        places = outer.coordinates()[chosen].tolist()
        labels = [" ".join(f"{axis}={at}" for axis, at in zip(outer.axes, place, strict=True)) for place in places]
    if len(grid.axes) == 1:
        return Frames(ids, labels, f"{grid.axes[0]} right")
    down, right = list(grid.axes)[-2:]
    if height > 2 * width:
        return Frames(ids[chosen].transpose(1, 2), labels, f"{right} down, {down} right")
    return Frames(ids[chosen], labels, f"{down} down, {right} right")
