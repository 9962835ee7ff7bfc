"""Several runs side by side. Those that differ by their seed alone form one group, which has means and deviations."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_core.config.structure import TASK
from mae_core.config.yaml_tree import parse_yaml, plain
from mae_core.runs.curves import smooth
from mae_core.runs.folder import CONFIG, SPLIT, WITHOUT_EFFECT, leaves, not_a_run, read_facts
from mae_core.runs.logs import read_metrics
from mae_core.runs.metrics import Points
from mae_core.runs.results import Results, read_results
from mae_registry import MaeError

PRETRAINING = "pre-training"
SEED = "train.seed"
CHECKPOINT = "init.checkpoint"
MAX_NAME = 30


@dataclass(frozen=True)
class Run:
    """What one folder holds."""

    folder: Path
    config: Mapping[str, Any]
    """The leaves of the resolved recipe; empty for an evaluation that has none."""
    facts: Mapping[str, Any]
    losses: Points
    """Of each optimizer step."""
    seconds: float
    results: Results | None

    @property
    def kind(self) -> str:
        """The protocol of an evaluation, or the task of a training."""
        if self.results is not None:
            return self.results.protocol
        task = str(self.facts.get("task", TASK))
        return PRETRAINING if task == TASK else task

    @property
    def recipe(self) -> str:
        """The name of its recipe, as far as it is known."""
        named = self.results.recipe if self.results else None
        return str(self.facts.get("recipe") or named or "–")

    @property
    def seeds(self) -> list[int]:
        """The seed that it was trained with, or those of its results."""
        if self.results is not None:
            return list(self.results.seeds)
        return [self.config[SEED]] if SEED in self.config else []


@dataclass(frozen=True)
class Group:
    """Runs that differ by their seed alone."""

    runs: Sequence[Run]
    differs: Mapping[str, Any]
    """The keys of the recipe in which this group differs from others of its kind, with its values."""

    @property
    def name(self) -> str:
        """The names of the folders, or the first one's and how many there are."""
        names = [run.folder.resolve().name for run in self.runs]
        joined = ", ".join(names)
        return joined if len(joined) <= MAX_NAME else f"{names[0]} and {len(names) - 1} more"

    @property
    def kind(self) -> str:
        """What was done in these runs."""
        return self.runs[0].kind

    @property
    def seeds(self) -> list[int]:
        """Of all runs, each as often as it was used."""
        return sorted(seed for run in self.runs for seed in run.seeds)

    @property
    def metrics(self) -> dict[str, list[float]]:
        """All values of each metric of the results, the metric that counts first."""
        found = [run.results.metrics for run in self.runs if run.results is not None]
        return {name: [value for metrics in found for value in metrics.get(name, ())] for name in (found[0] if found else ())}

    @property
    def loss(self) -> float | None:
        """The last training loss, smoothed as in the report: the mean over the runs."""
        ends = [float(smooth(run.losses.values)[-1]) for run in self.runs if run.losses]
        return statistics.fmean(ends) if ends else None

    @property
    def seconds(self) -> float:
        """The mean time of a run."""
        return statistics.fmean(run.seconds for run in self.runs)

    def to_json(self) -> dict[str, Any]:
        """For other programs."""
        return {
            "runs": [str(run.folder) for run in self.runs],
            "kind": self.kind,
            "recipe": self.runs[0].recipe,
            "differs": dict(self.differs),
            "seeds": self.seeds,
            "metrics": {
                name: {"mean": statistics.fmean(values), "std": spread(values), "values": values}
                for name, values in self.metrics.items()
            },
            "loss": self.loss,
            "seconds": self.seconds,
        }


def spread(values: Sequence[float]) -> float | None:
    """The standard deviation of a sample; None for a single value."""
    return statistics.stdev(values) if len(values) > 1 else None


def compare(folders: Sequence[Path]) -> list[Group]:
    """Read the runs, in groups, in the order in which they were named. Raises MaeError for a folder that is not a run's."""
    groups: dict[str, list[Run]] = {}
    for run in map(read_run, folders):
        groups.setdefault(_identity(run), []).append(run)
    firsts = [runs[0] for runs in groups.values()]
    return [Group(runs, _differing(runs[0], firsts)) for runs in groups.values()]


def read_run(folder: Path) -> Run:
    """What a folder holds. Raises MaeError if it has neither a recipe nor results, or one of its files is damaged."""
    results, path = read_results(folder), folder / CONFIG
    if results is None and not path.is_file():
        raise not_a_run(folder)
    config = leaves(_read_config(path)) if path.is_file() else {}
    metrics = read_metrics(folder / "metrics.jsonl")
    seconds = metrics[-1].get("wall_s", 0.0) if metrics else 0.0
    return Run(folder, config, read_facts(folder), metrics.points("loss"), results.seconds if results else seconds, results)


def _read_config(path: Path) -> Mapping[str, Any]:
    tree = plain(parse_yaml(path.read_text(encoding="utf-8", errors="replace"), str(path)))
    if not isinstance(tree, Mapping):
        raise MaeError(f"{path} is damaged: it holds no mapping")
    return tree


def _identity(run: Run) -> str:
    """The same for runs that differ by their seed alone, or by that of the run whose checkpoint they begin with."""
    if not run.config:
        results = run.results
        if results is None:
            return str(run.folder)
        return json.dumps([results.protocol, _origin(results.checkpoint), *map(results.data.get, ("root", "features"))])
    return json.dumps({key: _origin(value) if key == CHECKPOINT else value for key, value in _compared(run).items()})


def _compared(run: Run) -> dict[str, Any]:
    """The keys of a recipe that make a run another one."""
    kept = {key: value for key, value in run.config.items() if key != SEED and not WITHOUT_EFFECT.fullmatch(key)}
    return {key: SPLIT if _is_own_split(run, value) else value for key, value in kept.items()}


def _is_own_split(run: Run, value: Any) -> bool:
    """Whether this is the split that the run has made: the same one in every run on the same data."""
    return isinstance(value, str) and Path(value).name == SPLIT and (run.folder / SPLIT).is_file()


def _origin(checkpoint: str | None) -> str:
    """A checkpoint is as good as any other one of the same recipe, where its run is still there."""
    if checkpoint is None:
        return "none"
    path = Path(checkpoint)
    for folder in (path, path.parent, path.parent.parent):
        if (folder / CONFIG).is_file():
            return _identity(read_run(folder))
    return checkpoint


def _differing(run: Run, others: Sequence[Run]) -> dict[str, Any]:
    """The keys in which a run differs from others of its kind."""
    alike = [_compared(other) for other in others if other.kind == run.kind]
    return {key: value for key, value in _compared(run).items() if any(key in other and other[key] != value for other in alike)}
