"""`results.json`: what an evaluation found, for people, for `mae report`, and for other programs."""

import dataclasses
import importlib.metadata
import json
import platform
import shutil
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mae_core.config import Config
from mae_core.files import write_atomically
from mae_core.runs.deviations import find_deviations
from mae_core.version import __version__
from mae_registry import MaeError, cause_of

if TYPE_CHECKING:
    from mae_core.runs.scoring import Predictions

RESULTS = "results.json"
WRONG = "wrong"
"""The folder of the pictures of wrong predictions."""

Draw = Callable[[int, Path], None]
"""`draw(place, path)` writes a PNG of the held-out sample at this place among the predictions."""


@dataclass(frozen=True)
class Pair:
    """Two classes that were confused: `count` samples of class `true` were taken for `predicted`."""

    true: str
    predicted: str
    count: int


@dataclass(frozen=True)
class Wrong:
    """A sample whose prediction was wrong."""

    name: str
    true: Sequence[str]
    predicted: str
    score: float
    """Of the predicted class, as the evaluation gave it."""
    picture: str | None = None
    """A PNG, relative to the folder of the results."""


@dataclass(frozen=True)
class OfClass:
    """What was found for one class."""

    name: str
    num_samples: int
    """Held-out samples that have the label."""
    score: float | None
    """The share that was classified rightly; where samples have several labels, the average precision. None without samples."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What an evaluation found. Shares are from 0 to 1."""

    protocol: str
    """What was done: "fine-tuning", "linear probe", "k-NN", ..."""
    recipe: str | None
    """Its name; None for an evaluation that has none."""
    checkpoint: str | None
    """Where the evaluated weights come from; None for a training from scratch."""
    data: Mapping[str, Any]
    """Where the data is, and how many samples were used for what."""
    classes: Sequence[str]
    seeds: Sequence[int]
    metrics: Mapping[str, Sequence[float]]
    """One value a seed, by what was measured. The first metric is the one that counts: "accuracy" or "map"."""
    of_classes: Sequence[OfClass]
    confusion: Sequence[Sequence[int]] | None
    """Samples by true class (row) and predicted class (column); None where a sample may have several labels."""
    confused: Sequence[Pair]
    """The most confused pairs, most frequent first."""
    deviations: Sequence[str] | None
    """What differs from the shipped recipe; None where there is none to compare with."""
    wrong: Sequence[Wrong]
    """Some wrong predictions, the most certain first."""
    seconds: float
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def main(self) -> str:
        """The name of the metric that counts."""
        return next(iter(self.metrics))

    def mean(self, metric: str) -> float:
        """Over the seeds."""
        return statistics.fmean(self.metrics[metric])

    def deviation(self, metric: str) -> float | None:
        """The standard deviation over the seeds (of a sample, so divided by their number less one); None for a single seed."""
        values = self.metrics[metric]
        return statistics.stdev(values) if len(values) > 1 else None


def write_results(
    folder: Path,
    predictions: "Predictions",
    *,
    config: Config | None,
    protocol: str,
    classes: Sequence[str],
    data: Mapping[str, Any],
    checkpoint: str | None,
    seed: int,
    seconds: float,
    draw: Draw | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Results:
    """Judge the predictions for held-out samples, and write `folder`/results.json, and pictures where `draw` is given.

    Args:
        folder: where the evaluation writes.
        predictions: names, targets and scores of all held-out samples.
        config: the resolved recipe of the evaluation; None for one that has none.
        protocol: what was done, as the report shall call it.
        classes: the names of the classes; a label is an index into them.
        data: where the data is, and the numbers of samples, for the report.
        checkpoint: where the evaluated weights come from; None for a training from scratch.
        seed: the seed of the evaluation.
        seconds: how long it took.
        draw: writes the picture of a sample; None where the modality cannot show one.
        metrics: further numbers that were measured, beside those that follow from the predictions.
    """
    from mae_core.runs.scoring import judge  # here, because a reader of results needs no torch

    judged = judge(predictions, classes)
    shutil.rmtree(folder / WRONG, ignore_errors=True)  # of an earlier evaluation
    results = Results(
        protocol=protocol,
        recipe=None if config is None else config.name,
        checkpoint=checkpoint,
        data=dict(data),
        classes=list(classes),
        seeds=[seed],
        metrics={name: [value] for name, value in {**judged.metrics, **(metrics or {})}.items()},
        of_classes=judged.of_classes,
        confusion=judged.confusion,
        confused=judged.confused,
        deviations=None if config is None else find_deviations(config),
        wrong=[_wrong(folder, number, entry, draw) for number, entry in enumerate(judged.wrong)],
        seconds=seconds,
        versions=_versions(),
    )
    save_results(folder, results)
    return results


def save_results(folder: Path, results: Results) -> None:
    """Write `folder`/results.json: one line a key, with the mean and the standard deviation of every metric."""
    tree = dataclasses.asdict(results)
    tree["metrics"] = {
        name: {"mean": results.mean(name), "std": results.deviation(name), "values": list(values)}
        for name, values in results.metrics.items()
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in tree.items()]
    content = ("{\n" + ",\n".join(lines) + "\n}\n").encode()
    write_atomically(folder / RESULTS, lambda file: file.write(content))


def read_results(folder: Path) -> Results | None:
    """What `save_results` wrote, None where there is nothing. Raises MaeError for a damaged file."""
    path = folder / RESULTS
    if not path.is_file():
        return None
    try:
        tree = json.loads(path.read_bytes())
        tree["metrics"] = {name: entry["values"] for name, entry in tree["metrics"].items()}
        for key, kind in (("of_classes", OfClass), ("confused", Pair), ("wrong", Wrong)):
            tree[key] = [kind(**entry) for entry in tree[key]]
        return Results(**tree)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MaeError(f"{path} is damaged: {error}. Delete it, and evaluate again.") from error


def _wrong(folder: Path, number: int, entry: tuple[int, Wrong], draw: Draw | None) -> Wrong:
    index, wrong = entry
    if draw is None:
        return wrong
    picture = f"{WRONG}/{number:02}.png"
    try:
        draw(index, folder / picture)
    except Exception as error:  # a picture is no reason to lose results
        warnings.warn(f"no picture of {wrong.name}: {cause_of(error)}", stacklevel=3)
        return wrong
    return dataclasses.replace(wrong, picture=picture)


def _versions() -> dict[str, str]:
    import torch

    return {
        "python": platform.python_version(),
        "mae-core": __version__,
        "torch": torch.__version__,
        "torchmetrics": importlib.metadata.version("torchmetrics"),
    }
