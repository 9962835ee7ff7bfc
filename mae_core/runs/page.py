"""What every page has that this project writes: one HTML file that needs no network and no other file, and runs no script."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mae_core.files import write_atomically

MAX_ITEMS = 20
MEDIA = {".gif": "image/gif", ".wav": "audio/wav"}
"""What moves or sounds in a page, by the endings of files."""
MAX_MEDIA = 4 * 2**20
"""In bytes, of one such file."""


def write_page(path: Path, title: str, sections: Iterable[str]) -> Path:
    """Write the sections under a title that only the browser shows. Returns the path."""
    page = _PAGE.format(title=escape(title), policy=_POLICY, style=_STYLE, body="\n".join(sections))
    content = page.encode("utf-8", errors="replace")  # a file name may hold what UTF-8 cannot say
    write_atomically(path, lambda file: file.write(content))
    return path


def section(heading: str, body: str) -> str:
    """A part of the page; `body` is HTML."""
    return f"<section><h2>{escape(heading)}</h2>{body}</section>"


def columns(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a heading above each column; the cells are HTML."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{entry}</td>' for entry in row)}</tr>" for row in rows)
    return f'<div class="wide"><table class="list"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def picture(content: bytes, alt: str) -> str:
    """A PNG, inside the page."""
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(content).decode()}">'


def figure(path: Path, caption: str) -> str:
    """A PNG with a line below it."""
    drawn = picture(path.read_bytes(), f"{path.name}: {caption}")
    return f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"


def media(paths: Iterable[Path]) -> str:
    """Moving pictures, and players of sounds, inside the page; those that are too large for it are only named."""
    parts: list[str] = []
    for path in paths:
        name, kind = escape(path.name), MEDIA[path.suffix]
        if path.stat().st_size > MAX_MEDIA:
            parts.append(f"<p>{name} is too large for this page</p>")
            continue
        source = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
        player = f'<audio class="player" controls preload="none" src="{source}"></audio>'
        shown = f'<img alt="{name}" src="{source}">' if path.suffix == ".gif" else player
        parts.append(f"<figure>{shown}<figcaption>{name}</figcaption></figure>")
    return f'<div class="media">{"".join(parts)}</div>' if parts else ""


def facts_table(facts: Mapping[str, Any]) -> str:
    """Names and values, nested as deeply as they are."""
    rows = "".join(
        f"<tr><th>{escape(str(name).replace('_', ' '))}</th><td>{cell(value)}</td></tr>" for name, value in facts.items()
    )
    return f'<div class="wide"><table class="facts">{rows}</table></div>'


def cell(value: Any) -> str:
    """Whatever JSON holds, as HTML."""
    if isinstance(value, Mapping):
        return facts_table(value) if value else "none"
    if isinstance(value, list):
        rest = f"<div>and {len(value) - MAX_ITEMS:,} more</div>" if len(value) > MAX_ITEMS else ""
        return "".join(f"<div>{cell(item)}</div>" for item in value[:MAX_ITEMS]) + rest if value else "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return escape(str(value))


def counted(number: float, noun: str) -> str:
    """ "1 sample", "2,000 samples"."""
    return f"{number:{',' if isinstance(number, int) else ',g'}} {noun}" + ("" if number == 1 else "s")


def time(seconds: float) -> str:
    """ "5 s", "12 min", "3 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
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
:root { --page: #fcfcfa; --ink: #1c1e21; --faint: #6a6f76; --rule: #e3e4e1; --card: #ffffff; --line: #1f62a8;
  --error: #c2410c; }
@media (prefers-color-scheme: dark) {
  :root { --page: #15171a; --ink: #e7e8ea; --faint: #9aa0a8; --rule: #2d3136; --card: #1b1e22; --line: #7fb6f2;
    --error: #fb923c; }
}
* { box-sizing: border-box; }
body { max-width: 64rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.25; }
h2 { margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--rule); font-size: 1.1rem; }
h3 { margin: 1.75rem 0 .4rem; font-size: 1rem; }
p { margin: .4rem 0; }
ul { margin: .4rem 0; padding-left: 1.2rem; }
.main { font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(11rem, 100%), 1fr)); gap: 1rem; }
.tiles img { width: 100%; }
.matrix { font-size: .75rem; font-variant-numeric: tabular-nums; }
.matrix th, .matrix td { min-width: 2rem; padding: .15rem .3rem; border: 1px solid var(--rule); text-align: center;
  vertical-align: middle; white-space: nowrap; }
.matrix th:first-child { text-align: right; }
.matrix th, .matrix .up span { max-width: 16rem; max-height: 16rem; overflow: hidden; text-overflow: ellipsis; }
.matrix .up { vertical-align: bottom; }
.matrix .up span { display: inline-block; writing-mode: vertical-rl; transform: rotate(180deg); }
.matrix .right { background: color-mix(in srgb, var(--line) calc(.5 * var(--share)), transparent); }
.matrix .wrong { background: color-mix(in srgb, var(--error) calc(.9 * var(--share)), transparent); }
.status { padding: .15rem .6rem; border: 1px solid var(--line); border-radius: 1rem; color: var(--line);
  font-size: .8rem; font-weight: 500; vertical-align: middle; white-space: nowrap; }
.where, figcaption, .axis, summary { color: var(--faint); font-size: .85rem; }
.summary { margin-top: .75rem; font-size: 1.05rem; font-variant-numeric: tabular-nums; }
figure { margin: 0 0 1.25rem; break-inside: avoid; }
.media { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)); gap: 0 1rem; }
.player { width: 100%; }
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
.list th { white-space: nowrap; }
.list td:first-child { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.list td { min-width: 9rem; max-width: 28rem; }
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
