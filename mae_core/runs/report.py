"""`report.html`: one page that shows how a run went. It needs no network and no other file, and runs no script."""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mae_core.config.structure import TASK
from mae_core.runs.curves import draw_curve, short, smooth
from mae_core.runs.folder import not_a_run, read_facts
from mae_core.runs.lock import is_being_written, require_still_locked
from mae_core.runs.logs import read_json_lines, read_metrics
from mae_core.runs.metrics import Metrics
from mae_core.runs.page import MEDIA, cell, columns, counted, facts_table, figure, media, section, time, write_page
from mae_core.runs.results import read_results
from mae_core.runs.results_page import results_section

RUNNING = "running"
"""The status of a run that has not ended."""
MAX_EARLIER_PICTURES = 6
MAX_BAD_SAMPLES = 20
CURVES = ("step", "epoch", "wall_s", "loss", "lr", "samples_per_s")
"""Numbers of each step that have their place in the report; all others get a curve too."""


def write_report(folder: Path) -> Path:
    """Write `folder`/report.html from what a run or an evaluation left there, and return its path.

    Reads config.yaml, metrics.jsonl, run.json, results.json, bad_samples.jsonl and the pictures, as far as they are there.
    Raises MaeError if the folder has neither a recipe nor results, or one of its files is damaged.
    """
    require_still_locked(folder)
    results = read_results(folder)
    is_run = (folder / "config.yaml").is_file()
    if not is_run and results is None:
        raise not_a_run(folder)
    facts = read_facts(folder)
    if facts.get("status") == RUNNING and not is_being_written(folder):
        facts["status"] = "ended without a word: its process was killed, or the machine went down"
    metrics = read_metrics(folder / "metrics.jsonl")
    title = str(facts.get("recipe") or folder.resolve().name)
    found = [] if results is None else [results_section(results, folder)]
    of_run = _sections(folder, facts, metrics) if is_run else []
    summary = _summary(metrics) if is_run else ""
    return write_page(folder / "report.html", title, [_header(title, folder, facts, summary), *found, *of_run])


def _sections(folder: Path, facts: Mapping[str, Any], metrics: Metrics) -> list[str]:
    config = (folder / "config.yaml").read_text(encoding="utf-8", errors="replace")
    can_reconstruct = facts.get("task", TASK) == TASK
    return [
        _curves(metrics),
        *([_pictures(folder / "pictures", metrics)] if can_reconstruct else []),
        section(
            "Configuration", f"<details><summary>config.yaml, as the run used it</summary><pre>{escape(config)}</pre></details>"
        ),
        _bad_samples(read_json_lines(folder / "bad_samples.jsonl")),
        section("Environment", facts_table(facts) if facts else "<p>Not recorded.</p>"),
    ]


def _header(title: str, folder: Path, facts: Mapping[str, Any], summary: str) -> str:
    status = f' <span class="status">{escape(str(facts["status"]))}</span>' if "status" in facts else ""
    return (
        f"<header><h1>{escape(title)}{status}</h1>"
        f'<p class="where">{escape(str(folder.resolve()))}</p><p class="summary">{escape(summary)}</p></header>'
    )


def _summary(metrics: Metrics) -> str:
    """Steps, epoch, loss from first to last, speed and time: as much as is known, on one line."""
    if not metrics:
        return "No steps yet."
    last = metrics[-1]
    parts = [counted(last["step"], "step")]
    if "epoch" in last:
        parts.append(f"epoch {last['epoch']:,g}")
    if losses := metrics.points("loss"):
        parts.append(f"loss {short(losses.values[0])} → {short(smooth(losses.values)[-1])}")
    if speeds := metrics.points("samples_per_s"):
        parts.append(f"{short(float(np.median(speeds.values)))} samples/s (median)")
    if "wall_s" in last:
        parts.append(f"{time(last['wall_s'])} of training")
    return " · ".join(parts)


def _curves(metrics: Metrics) -> str:
    if not metrics:
        return section("Training", "<p>No steps yet: there is nothing to draw.</p>")
    others = [name for name in metrics.names if name not in CURVES]
    pairs = (
        draw_curve("Learning rate", metrics.points("lr"), from_zero=True),
        draw_curve("Samples per second", metrics.points("samples_per_s"), smoothed=True, from_zero=True),
        *(draw_curve(name, metrics.points(name), smoothed=True) for name in others),
    )
    loss = draw_curve("Loss", metrics.points("loss"), smoothed=True, height=280)
    return section("Training", f'{loss}<div class="pair">{"".join(pairs)}</div>')


def _pictures(folder: Path, metrics: Metrics) -> str:
    """The newest step's pictures in full, and earlier ones, evenly spread over the run, as a time-line from the start."""
    by_step: dict[int, list[Path]] = {}
    for path in sorted(folder.glob("step-*.png")):
        if match := re.match(r"step-(\d+)", path.name):
            by_step.setdefault(int(match[1]), []).append(path)
    if not by_step:
        return section("Reconstructions", "<p>No pictures yet.</p>")
    *earlier, newest = sorted(by_step)
    losses = metrics.points("loss")

    def draw(step: int) -> str:
        loss = losses.value_at(step)
        caption = f"step {step:,}" + ("" if loss is None else f", loss {short(loss)}")
        return "".join(figure(path, caption) for path in by_step[step])

    timeline = ""
    if earlier:
        chosen = _spread(earlier, MAX_EARLIER_PICTURES)
        count = f"{len(chosen)} of {len(earlier)} earlier steps" if len(chosen) < len(earlier) else "Earlier steps"
        drawn = "".join(draw(step) for step in chosen)
        timeline = f'<details><summary>{count}, from the start</summary><div class="timeline">{drawn}</div></details>'
    moving = media(path for path in sorted(folder.glob(f"step-{newest:08d}-*")) if path.suffix in MEDIA)
    return section("Reconstructions", draw(newest) + moving + timeline)


def _spread(steps: Sequence[int], num: int) -> list[int]:
    """At most `num` of `steps`, evenly spread, the first and the last among them."""
    if len(steps) <= num:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (num - 1))] for i in range(num)]


def _bad_samples(entries: Iterator[Mapping[str, Any]]) -> str:
    shown = list(islice(entries, MAX_BAD_SAMPLES))
    if not shown:
        return section("Bad samples", "<p>None.</p>")
    names = ("step", "sample", "reason", "replaced_by")
    rows = [[cell(entry.get(name, "")) for name in names] for entry in shown]
    num_others = sum(1 for _ in entries)
    rest = f" The first {MAX_BAD_SAMPLES} (all are in bad_samples.jsonl):" if num_others else ""
    count = counted(len(shown) + num_others, "sample")
    said = f"<p>{count} could not be read and were replaced by others.{rest}</p>"
    return section("Bad samples", said + columns([name.replace("_", " ") for name in names], rows))
