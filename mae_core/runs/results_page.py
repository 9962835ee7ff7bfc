"""The section of a page that shows what an evaluation found."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from mae_core.runs.curves import short
from mae_core.runs.page import columns, facts_table, picture, section, time
from mae_core.runs.results import OfClass, Results, Wrong

MAX_TABLE = 60
"""Classes that get a row each in a table."""
MAX_MATRIX = 30
"""Classes whose confusion matrix is drawn."""
MAX_LISTED = 10
SHARES = ("accuracy", "top5", "map")
"""Metrics that are shown in per cent, also where a comma and more follow ("accuracy, k=10")."""
NAMES = {"accuracy": "accuracy", "top5": "top-5 accuracy", "map": "mean average precision"}


def show_metric(results: Results, metric: str) -> str:
    """The mean over the seeds, with its standard deviation where several ran: "91.24%", "91.24 ± 0.12%", "0.3121"."""
    mean, deviation = results.mean(metric), results.deviation(metric)
    if not is_share(metric):
        return short(mean) + ("" if deviation is None else f" ± {short(deviation)}")
    return f"{100 * mean:.2f}" + ("%" if deviation is None else f" ± {100 * deviation:.2f}%")


def is_share(metric: str) -> bool:
    """Whether it is shown in per cent."""
    return metric.partition(",")[0] in SHARES


def metric_name(metric: str) -> str:
    """What a person would call it."""
    return NAMES.get(metric, metric)


def results_section(results: Results, folder: Path) -> str:
    """Everything of `results`; pictures are read from `folder`."""
    parts = [
        _summary(results),
        _deviations(results),
        _matrix(results),
        _confused(results),
        _classes(results),
        _wrong(results.wrong, folder),
    ]
    return section("Results", "".join(parts))


def _summary(results: Results) -> str:
    main, *others = (f"{metric_name(name)} {show_metric(results, name)}" for name in results.metrics)
    facts = {
        "protocol": results.protocol,
        **({} if results.recipe is None else {"recipe": results.recipe}),
        "checkpoint": results.checkpoint or "none: the training began from random weights",
        "data": dict(results.data),
        "classes": len(results.classes),
        "seeds": ", ".join(map(str, results.seeds)),
        "time": time(results.seconds),
        "versions": dict(results.versions),
    }
    return f'<p class="main">{escape(main)}</p><p class="summary">{escape(" · ".join(others))}</p>{facts_table(facts)}'


def _deviations(results: Results) -> str:
    heading = "<h3>Deviations from the published recipe</h3>"
    if results.deviations is None:
        return ""
    if not results.deviations:
        return f"{heading}<p>None.</p>"
    return heading + "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in results.deviations) + "</ul>"


def _matrix(results: Results) -> str:
    """Shaded by the share of the true class, so that classes of different sizes can be compared."""
    if results.confusion is None:
        return ""
    heading = "<h3>Confusion matrix</h3>"
    if len(results.classes) > MAX_MATRIX:
        count = len(results.classes)
        return f"{heading}<p>It has {count} classes, too many to be drawn. All numbers are in results.json.</p>"
    names = [escape(name) for name in results.classes]
    head = "".join(f'<th class="up"><span title="{name}">{name}</span></th>' for name in names)
    rows = "".join(
        f'<tr><th title="{name}">{name}</th>{_shaded(row, number)}</tr>'
        for number, (name, row) in enumerate(zip(names, results.confusion, strict=True))
    )
    note = "<p>Rows are the true classes, and columns the predicted ones. A cell is as dark as its share of the row.</p>"
    return f'{heading}{note}<div class="wide"><table class="matrix"><tr><th></th>{head}</tr>{rows}</table></div>'


def _shaded(row: Sequence[int], number: int) -> str:
    total = sum(row) or 1

    def cell(column: int, count: int) -> str:
        kind, share = "right" if column == number else "wrong", round(100 * count / total)
        return f'<td class="{kind}" style="--share:{share}%">{count or ""}</td>'

    return "".join(cell(column, count) for column, count in enumerate(row))


def _confused(results: Results) -> str:
    if not results.confused:
        return ""
    rows = [(str(pair.count), escape(pair.true), escape(pair.predicted)) for pair in results.confused[:MAX_LISTED]]
    return "<h3>Most confused pairs</h3>" + columns(("samples", "true class", "taken for"), rows)


def _classes(results: Results) -> str:
    """Worst first: that is what a reader looks for."""
    if len(results.of_classes) > MAX_TABLE:
        return ""
    measured = "average precision" if results.confusion is None else "accuracy"
    ordered = sorted(results.of_classes, key=_score)
    rows = [
        ("–" if each.score is None else f"{100 * each.score:.1f}%", escape(each.name), f"{each.num_samples:,}")
        for each in ordered
    ]
    table = columns((measured, "class", "held-out samples"), rows)
    return f"<h3>Classes</h3><details><summary>each class, the worst first</summary>{table}</details>"


def _score(each: OfClass) -> float:
    return 2.0 if each.score is None else each.score


def _wrong(wrong: Sequence[Wrong], folder: Path) -> str:
    if not wrong:
        return ""
    heading = "<h3>Wrong predictions, the most certain first</h3>"
    shown = [(each, folder / each.picture) for each in wrong if each.picture is not None]
    drawn = [(each, path.read_bytes()) for each, path in shown if path.is_file()]
    if drawn:
        return heading + '<div class="tiles">' + "".join(_tile(each, content) for each, content in drawn) + "</div>"
    rows = [
        (short(each.score), escape(each.name), escape(", ".join(each.true)), escape(each.predicted))
        for each in wrong[:MAX_LISTED]
    ]
    return heading + columns(("score", "sample", "true class", "taken for"), rows)


def _tile(wrong: Wrong, content: bytes) -> str:
    said = f"{', '.join(wrong.true) or 'no label'}, taken for {wrong.predicted} ({short(wrong.score)})"
    name = f'<span class="where">{escape(Path(wrong.name).name)}</span>'
    return f"<figure>{picture(content, said)}<figcaption>{escape(said)}<br>{name}</figcaption></figure>"
