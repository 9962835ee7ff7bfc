"""One evaluation with several seeds, each in a folder of its own."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mae_core.runs.results import OfClass, Pair, Results, Wrong


def seed_folder(folder: Path, seed: int) -> Path:
    """Where the run with this seed writes."""
    return folder / f"seed-{seed}"


def seen_from_above(results: Results) -> Results:
    """What one seed found, with its pictures named from the folder that its own folder is in."""
    (seed,) = results.seeds
    return dataclasses.replace(results, wrong=[_moved(wrong, seed) for wrong in results.wrong])


def _moved(wrong: Wrong, seed: int) -> Wrong:
    return wrong if wrong.picture is None else dataclasses.replace(wrong, picture=f"seed-{seed}/{wrong.picture}")


def join_seeds(found: Sequence[Results], num_pairs: int = 20) -> Results:
    """What several seeds found: all values of each metric, and the numbers of samples of all seeds together.

    The wrong predictions are those of the first seed, and their pictures are where they were.
    """
    first = found[0]
    seeds = [seed for results in found for seed in results.seeds]
    confusion = _summed([results.confusion for results in found if results.confusion is not None])
    return dataclasses.replace(
        first,
        seeds=seeds,
        metrics={name: [value for results in found for value in results.metrics[name]] for name in first.metrics},
        of_classes=[_mean(each) for each in zip(*(results.of_classes for results in found), strict=True)],
        confusion=confusion,
        confused=_confused(confusion, first.classes)[:num_pairs],
        seconds=sum(results.seconds for results in found),
    )


def _summed(matrices: Sequence[Sequence[Sequence[int]]]) -> list[list[int]] | None:
    if not matrices:
        return None
    return [[sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]


def _confused(confusion: Sequence[Sequence[int]] | None, classes: Sequence[str]) -> list[Pair]:
    pairs = [
        Pair(classes[true], classes[taken], count)
        for true, row in enumerate(confusion or ())
        for taken, count in enumerate(row)
        if count and taken != true
    ]
    return sorted(pairs, key=lambda pair: -pair.count)


def _mean(each: Sequence[OfClass]) -> OfClass:
    """Every seed has the same held-out samples."""
    scores = [one.score for one in each if one.score is not None]
    return dataclasses.replace(each[0], score=sum(scores) / len(scores) if scores else None)
