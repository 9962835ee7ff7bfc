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
"""How many masks are drawn at once. It is 1 if a whole batch comes from one case, so that no case is missed."""
MAX_FRAMES = 8
MAX_EXAMPLES = 8
NUM_CURVE_POINTS = 51
NUM_CURVE_DRAWS = 64
"""How many masks are drawn for each point of a curve if batches come from one of several cases."""
VISIBLE, PREDICTED, VISIBLE_AND_PREDICTED, NEITHER = range(4)
STATES = ("visible", "hidden, predicted", "visible, predicted too", "hidden, not predicted")
"""What a patch may be, by the numbers above."""


@dataclass(frozen=True)
class DrawnSet:
    """What many draws of one set of a masker have in common: one context, and one query of it. D contexts, N patches."""

    hidden_share: Tensor
    """(N,): how often each patch is hidden."""
    predicted_share: Tensor
    """(N,): how often each patch is predicted."""
    num_hidden: Tensor
    """(D,) int64: patches hidden in each context."""
    num_predicted: Tensor
    """(D,) int64."""
    num_counted: Tensor
    """(D,) int64: predictions that count in the loss."""
    examples: Tensor
    """(E, N) int64: what each patch is, a place in `STATES`, in some contexts, each of a batch of its own."""
    predicts_the_hidden: bool
    """Whether hidden and predicted are the same, as in most methods."""
    ragged: bool
    repeats: int
    """Contexts of each sample."""

    @property
    def num_patches(self) -> int:
        """N."""
        return len(self.hidden_share)

    @property
    def facts(self) -> dict[str, Any]:
        """Patches hidden and predicted, each as least, mean, most; for programs too."""
        counts = {"num_hidden": self.num_hidden, "num_predicted": self.num_predicted, "num_counted": self.num_counted}
        return {"ragged": self.ragged, "contexts": self.repeats} | {
            what: {"min": int(num.min()), "mean": round(float(num.double().mean()), 3), "max": int(num.max())}
            for what, num in counts.items()
        }


class _Collector:
    """Adds up the masks of a set, batch after batch, so that memory does not grow with the number of draws."""

    def __init__(self, num_patches: int) -> None:
        self.sums = torch.zeros(2, num_patches, dtype=torch.float64)
        self.numbers: list[Tensor] = []
        self.examples: list[Tensor] = []
        self.same, self.ragged, self.repeats = True, False, 1

    def add(self, mask: Mask) -> None:
        """A batch's masks, of one query."""
        counted = torch.zeros_like(mask.hidden).scatter(1, mask.queries[0].ids, mask.queries[0].counts > 0)
        predicted = counted if mask.ragged else torch.zeros_like(mask.hidden).scatter(1, mask.queries[0].ids, True)
        self.sums += torch.stack([mask.hidden.sum(0), predicted.sum(0)])
        self.numbers.append(torch.stack([mask.hidden.sum(1), predicted.sum(1), counted.sum(1)]))
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(_states(mask.hidden[0], predicted[0]))
        self.same &= bool((mask.hidden == predicted).all())
        self.ragged |= mask.ragged
        self.repeats = mask.repeats

    def result(self) -> DrawnSet:
        """The mean over all that were added."""
        numbers = torch.cat(self.numbers, dim=1)
        hidden_share, predicted_share = self.sums / numbers.shape[1]
        num_hidden, num_predicted, num_counted = numbers
        return DrawnSet(
            hidden_share=hidden_share,
            predicted_share=predicted_share,
            num_hidden=num_hidden,
            num_predicted=num_predicted,
            num_counted=num_counted,
            examples=torch.stack(self.examples),
            predicts_the_hidden=self.same,
            ragged=self.ragged,
            repeats=self.repeats,
        )


def _states(hidden: Tensor, predicted: Tensor) -> Tensor:
    """(N,) bool each -> (N,) int64: places in `STATES`."""
    return torch.where(predicted, torch.where(hidden, PREDICTED, VISIBLE_AND_PREDICTED), torch.where(hidden, NEITHER, VISIBLE))


@dataclass(frozen=True)
class Look:
    """A masker at one time of training."""

    progress: float | None
    """The moment of the training. None: the masker is the same at all times."""
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
    if subject.masker.needs != "grid":
        raise MaeError(
            f"{subject.title}: this masker looks at the samples before it masks them, so it cannot be shown without samples; "
            "`mae reconstruct` shows its masks of samples"
        )


def batch_size(subject: Subject, num_draws: int) -> int:
    """How many samples are drawn at once."""
    return 1 if len(subject.masker.at(0.0).cases()) > 1 else min(BATCH_SIZE, max(1, num_draws // BATCH_SIZE))


def curve(subject: Subject, *, seed: int) -> tuple[list[float], list[float]]:
    """Share of patches hidden over training's progress, the mean of some draws."""
    times = [index / (NUM_CURVE_POINTS - 1) for index in range(NUM_CURVE_POINTS)]
    num_draws = NUM_CURVE_DRAWS if len(subject.masker.at(0.0).cases()) > 1 else 1
    return times, [float(_draw(subject, time, num_draws, seed)[0].hidden_share.mean()) for time in times]


def note_on(subject: Subject, drawn: DrawnSet) -> str:
    """What a model says of such masks, if anything."""
    if isinstance(subject.masker, JointPart):
        return ""
    if drawn.ragged:
        return "ragged: needs an encoder over all tokens, model.encoder.mask_tokens=true"
    for what, refused in (
        ("predicts nothing", int(drawn.num_predicted.max()) == 0),
        ("keeps nothing", int(drawn.num_hidden.min()) == drawn.num_patches),
        ("predicts nothing that counts in the loss", int(drawn.num_counted.max()) == 0),
    ):
        if refused:
            return f"{what}, which a model refuses"
    return ""


def states_in(drawn: Sequence[DrawnSet]) -> dict[int, str]:
    """The states that patches of the examples have, with their names."""
    found = {int(state) for each in drawn for state in each.examples.unique()}
    if found <= {VISIBLE, PREDICTED}:  # where all that is hidden is predicted, that need not be said
        return {state: STATES[state].removesuffix(", predicted") for state in sorted(found)}
    return {state: STATES[state] for state in sorted(found)}


def heading(look: Look, index: int) -> str:
    """ "progress 0.5, set 1 of 2: "; empty where there is nothing to tell apart."""
    words = [f"progress {look.progress:g}"] if look.progress is not None else []
    words += [f"set {index + 1} of {len(look.sets)}"] if len(look.sets) > 1 else []
    return f"{', '.join(words)}: " if words else ""


def source(subject: Subject, looks: Sequence[Look], seed: int) -> str:
    """Where the draws come from: "grid h=14 w=14 (a default; h down, w right); 1000 draws in batches of 10, seed 0"."""
    first = looks[0].sets[0]
    num_draws = len(first.num_hidden) // first.repeats
    many = f"{num_draws} draws in batches of {batch_size(subject, num_draws)}"
    return f"grid {subject.grid} ({subject.grid_from}; {frames(subject.grid).directions}); {many}, seed {seed}"


def describe(drawn: DrawnSet) -> str:
    """E.g. "hidden 147 of 196 (75.0%), kept 49"."""
    share = float(drawn.num_hidden.double().mean()) / drawn.num_patches
    kept = _range(drawn.num_patches - drawn.num_hidden)
    words = f"hidden {_range(drawn.num_hidden)} of {drawn.num_patches} ({share:.1%}), kept {kept}"
    if not drawn.predicts_the_hidden:
        words += f", predicted {_range(drawn.num_predicted)}"
    if not drawn.num_counted.equal(drawn.num_predicted):
        words += f" of which {_range(drawn.num_counted)} count"
    return words if drawn.repeats == 1 else f"{words}; {drawn.repeats} contexts of each sample"


def _range(count: Tensor) -> str:
    low, high = int(count.min()), int(count.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _draw(subject: Subject, progress: float, num_draws: int, seed: int) -> list[DrawnSet]:
    """One for each query of each context. Where their number changes from batch to batch, the later ones have fewer draws."""
    collected: list[_Collector] = []
    for drawn in _batches(subject, progress, num_draws, seed):
        each_set = [query for context in drawn for query in context.each_query()]
        collected += [_Collector(subject.grid.num_patches) for _ in range(len(each_set) - len(collected))]
        for collector, mask in zip(collected, each_set, strict=False):
            collector.add(mask)
    return [each.result() for each in collected]


def _batches(subject: Subject, progress: float, num_draws: int, seed: int) -> Iterator[tuple[Mask, ...]]:
    masker = subject.masker.at(progress)
    generator = torch.Generator().manual_seed(seed)
    step = batch_size(subject, num_draws)
    for start in range(0, num_draws, step):
        yield each_mask(masker(subject.grid, min(step, num_draws - start), generator=generator))


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
