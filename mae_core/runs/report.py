"""`report.html`: one page that shows how a run went. It needs no network and no other file, and runs no script."""

import base64
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mae_core.files import write_atomically
from mae_core.runs.curves import draw_curve, short, smooth
from mae_core.runs.lock import is_being_written
from mae_core.runs.logs import read_json_lines, read_metrics
from mae_registry import MaeError

RUNNING = "running"
"""The status of a run that has not ended."""
MAX_EARLIER_PICTURES = 6
MAX_BAD_SAMPLES = 20
CURVES = ("step", "epoch", "wall_s", "loss", "lr", "samples_per_s")
"""Numbers of each step that have their place in the report; all others get a curve too."""
MAX_ITEMS = 20

Metrics = Sequence[Mapping[str, float]]


def write_report(folder: Path) -> Path:
    """Write `folder`/report.html from what a run left there, and return its path.

    Reads config.yaml and, where they are, metrics.jsonl, run.json, bad_samples.jsonl and pictures/step-NUMBER*.png.
    Raises MaeError if the folder is not a run's, or one of its files is damaged.
    """
    if not (folder / "config.yaml").is_file():
        raise MaeError(
            f"{folder} is not the folder of a run: it {'has no config.yaml' if folder.is_dir() else 'does not exist'}. "
            "Give the folder that `mae pretrain` wrote (its --out)."
        )
    config = (folder / "config.yaml").read_text(encoding="utf-8", errors="replace")
    metrics = read_metrics(folder / "metrics.jsonl")
    bad_samples = read_json_lines(folder / "bad_samples.jsonl")
    facts = _read_facts(folder / "run.json")
    if facts.get("status") == RUNNING and not is_being_written(folder):
        facts["status"] = "ended without a word: its process was killed, or the machine went down"
    title = str(facts.get("recipe") or folder.resolve().name)
    sections = [
        _header(title, folder, facts, metrics),
        _curves(metrics),
        _pictures(folder / "pictures", metrics),
        f"<section><h2>Configuration</h2><details><summary>config.yaml, as the run used it</summary>"
        f"<pre>{escape(config)}</pre></details></section>",
        _bad_samples(bad_samples),
        f"<section><h2>Environment</h2>{_table(facts) if facts else '<p>Not recorded.</p>'}</section>",
    ]
    path = folder / "report.html"
    page = _PAGE.format(title=escape(title), style=_STYLE, body="\n".join(sections))
    content = page.encode("utf-8", errors="replace")  # a file name may hold what UTF-8 cannot say
    write_atomically(path, lambda file: file.write(content))
    return path


def _read_facts(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        facts = json.loads(path.read_bytes())
    except ValueError as error:
        raise MaeError(f"{path} is damaged: {error}. Correct or delete it and try again.") from error
    if not isinstance(facts, dict):
        raise MaeError(f"{path} is damaged: it holds a {type(facts).__name__}, not an object. Delete it and try again.")
    return facts


def _header(title: str, folder: Path, facts: Mapping[str, Any], metrics: Metrics) -> str:
    status = f' <span class="status">{escape(str(facts["status"]))}</span>' if "status" in facts else ""
    return (
        f"<header><h1>{escape(title)}{status}</h1>"
        f'<p class="where">{escape(str(folder.resolve()))}</p><p class="summary">{escape(_summary(metrics))}</p></header>'
    )


def _summary(metrics: Metrics) -> str:
    """Steps, epoch, loss from first to last, speed and time: as much as is known, on one line."""
    if not metrics:
        return "No steps yet."
    last = metrics[-1]
    parts = [_counted(last["step"], "step")]
    if "epoch" in last:
        parts.append(f"epoch {last['epoch']:,g}")
    if losses := _values(metrics, "loss"):
        parts.append(f"loss {short(losses[0])} → {short(smooth(losses)[-1])}")
    if speeds := _values(metrics, "samples_per_s"):
        parts.append(f"{short(statistics.median(speeds))} samples/s (median)")
    if "wall_s" in last:
        parts.append(f"{_time(last['wall_s'])} of training")
    return " · ".join(parts)


def _curves(metrics: Metrics) -> str:
    if not metrics:
        return "<section><h2>Training</h2><p>No steps yet: there is nothing to draw.</p></section>"

    def points(name: str) -> list[tuple[float, float]]:
        return [(entry["step"], entry[name]) for entry in metrics if name in entry]

    others = dict.fromkeys(name for entry in metrics for name in entry if name not in CURVES)
    return (
        f"<section><h2>Training</h2>{draw_curve('Loss', points('loss'), smoothed=True, height=280)}"
        f'<div class="pair">{draw_curve("Learning rate", points("lr"), from_zero=True)}'
        f"{draw_curve('Samples per second', points('samples_per_s'), smoothed=True, from_zero=True)}"
        f"{''.join(draw_curve(name, points(name), smoothed=True) for name in others)}</div></section>"
    )


def _pictures(folder: Path, metrics: Metrics) -> str:
    """The newest step's pictures in full, and earlier ones, evenly spread over the run, as a time-line from the start."""
    by_step: dict[int, list[Path]] = {}
    for path in sorted(folder.glob("step-*.png")):
        if match := re.match(r"step-(\d+)", path.name):
            by_step.setdefault(int(match[1]), []).append(path)
    if not by_step:
        return "<section><h2>Reconstructions</h2><p>No pictures yet.</p></section>"
    *earlier, newest = sorted(by_step)
    losses = {int(entry["step"]): entry["loss"] for entry in metrics if "loss" in entry}

    def draw(step: int) -> str:
        caption = f"step {step:,}" + (f", loss {short(losses[step])}" if step in losses else "")
        return "".join(_figure(path, caption) for path in by_step[step])

    timeline = ""
    if earlier:
        chosen = _spread(earlier, MAX_EARLIER_PICTURES)
        count = f"{len(chosen)} of {len(earlier)} earlier steps" if len(chosen) < len(earlier) else "Earlier steps"
        drawn = "".join(draw(step) for step in chosen)
        timeline = f'<details><summary>{count}, from the start</summary><div class="timeline">{drawn}</div></details>'
    return f"<section><h2>Reconstructions</h2>{draw(newest)}{timeline}</section>"


def _spread(steps: Sequence[int], num: int) -> list[int]:
    """At most `num` of `steps`, evenly spread, the first and the last among them."""
    if len(steps) <= num:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (num - 1))] for i in range(num)]


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    alt = escape(f"{path.name}: {caption}")
    return f'<figure><img alt="{alt}" src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'


def _bad_samples(entries: Sequence[Mapping[str, Any]]) -> str:
    if not entries:
        return "<section><h2>Bad samples</h2><p>None.</p></section>"
    columns = ("step", "sample", "reason", "replaced_by")
    head = "".join(f"<th>{column.replace('_', ' ')}</th>" for column in columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_cell(entry.get(column, ''))}</td>" for column in columns) + "</tr>"
        for entry in entries[:MAX_BAD_SAMPLES]
    )
    rest = f" The first {MAX_BAD_SAMPLES} (all are in bad_samples.jsonl):" if len(entries) > MAX_BAD_SAMPLES else ""
    count = _counted(len(entries), "sample")
    return (
        f"<section><h2>Bad samples</h2><p>{count} could not be read and were replaced by others.{rest}</p>"
        f'<div class="wide"><table class="list"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>'
    )


def _table(facts: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{escape(str(name).replace('_', ' '))}</th><td>{_cell(value)}</td></tr>" for name, value in facts.items()
    )
    return f'<div class="wide"><table class="facts">{rows}</table></div>'


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return _table(value) if value else "none"
    if isinstance(value, list):
        rest = f"<div>and {len(value) - MAX_ITEMS:,} more</div>" if len(value) > MAX_ITEMS else ""
        return "".join(f"<div>{_cell(item)}</div>" for item in value[:MAX_ITEMS]) + rest if value else "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return escape(str(value))


def _values(metrics: Metrics, name: str) -> list[float]:
    return [entry[name] for entry in metrics if name in entry and entry[name] == entry[name]]  # NaN is not equal to itself


def _counted(number: float, noun: str) -> str:
    return f"{number:,g} {noun}" + ("" if number == 1 else "s")


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""

_STYLE = """
:root { --page: #fcfcfa; --ink: #1c1e21; --faint: #6a6f76; --rule: #e3e4e1; --card: #ffffff; --line: #1f62a8; }
@media (prefers-color-scheme: dark) {
  :root { --page: #15171a; --ink: #e7e8ea; --faint: #9aa0a8; --rule: #2d3136; --card: #1b1e22; --line: #7fb6f2; }
}
* { box-sizing: border-box; }
body { max-width: 64rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.25; }
h2 { margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--rule); font-size: 1.1rem; }
p { margin: .4rem 0; }
.status { padding: .15rem .6rem; border: 1px solid var(--line); border-radius: 1rem; color: var(--line);
  font-size: .8rem; font-weight: 500; vertical-align: middle; white-space: nowrap; }
.where, figcaption, .axis, summary { color: var(--faint); font-size: .85rem; }
.summary { margin-top: .75rem; font-size: 1.05rem; font-variant-numeric: tabular-nums; }
figure { margin: 0 0 1.25rem; break-inside: avoid; }
figcaption b { margin-right: .5rem; color: var(--ink); font-size: .95rem; }
img { display: block; max-width: 100%; height: auto; margin-bottom: .35rem; border: 1px solid var(--rule); background: #fff; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 0 1.5rem; }
.timeline { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); gap: 1rem;
  padding-top: 1rem; }
.plot { position: relative; margin: .6rem 4rem 1.5rem 3.25rem; font-size: .75rem; font-variant-numeric: tabular-nums; }
.plot svg { width: 100%; height: 100%; border: solid var(--faint); border-width: 0 0 1px 1px; }
.plot path { fill: none; vector-effect: non-scaling-stroke; stroke: var(--line); stroke-linejoin: round; }
.plot .grid { stroke: var(--rule); }
.plot .raw { stroke-opacity: .35; }
.plot .bold { stroke-width: 2; }
.plot span { position: absolute; color: var(--faint); line-height: 1; white-space: nowrap; }
.plot .y { right: 100%; margin-right: .5rem; transform: translateY(-50%); }
.plot .x { top: 100%; margin-top: .5rem; transform: translateX(-50%); }
.plot .last { margin-left: .6rem; color: var(--line); font-weight: 600; transform: translateY(-50%); }
.plot .dot { position: absolute; width: 8px; height: 8px; margin: -4px; border-radius: 50%; background: var(--line); }
.axis { margin: -.2rem 4rem 0 3.25rem; text-align: center; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
th { color: var(--faint); font-weight: 500; }
.list td:first-child { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.list td { min-width: 9rem; }
.list td:first-child { min-width: 0; }
.facts .facts th, .facts .facts td { padding-block: .1rem; border: 0; }
summary { cursor: pointer; }
pre { padding: 1rem; overflow-x: auto; border: 1px solid var(--rule); background: var(--card);
  font: .82rem/1.5 ui-monospace, monospace; overflow-wrap: normal; }
@media print {
  :root { --page: #fff; --ink: #000; --faint: #555; --rule: #ddd; --card: #fff; --line: #1f62a8; }
  body { max-width: none; padding: 0; font-size: 11pt; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  details::details-content { display: block; content-visibility: visible; }
}
"""
