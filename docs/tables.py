"""Writes the tables in docs/ that are made from the code and the recipes: `make doc-tables`. So the pages can be read anywhere.

A table stands between the comments `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

import functools
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mae_core.config import list_recipes
from mae_core.config.headers import read_header
from mae_core.config.recipes import recipe_path

DOCS = Path(__file__).parent
PLACE = re.compile(r"(<!-- table: (?P<name>[\w.]+) -->\n).*?(<!-- end of table -->)", re.S)
EXPERIMENTS = "image/paper/"
"""The recipes that begin so have a table of their own."""


def recipes() -> list[str]:
    """One row a recipe, from the header of its file."""
    rows = ["| recipe | what it is | cost | result |", "|---|---|---|---|"]
    for name in list_recipes():
        if not name.startswith(EXPERIMENTS):
            header = read_header(recipe_path(name))
            rows.append(_row(f"`{name}`", header.about, header.cost, header.result))
    return rows


def experiments() -> list[str]:
    """One row for each of the MAE paper's experiments, its tables before its figures."""
    rows = ["| recipe | what it is | published result |", "|---|---|---|"]
    for name in sorted((name for name in list_recipes() if name.startswith(EXPERIMENTS)), key=_place):
        header = read_header(recipe_path(name))
        about = header.about.removeprefix("MAE, He et al. 2022, ").removesuffix(".")
        rows.append(_row(f"`{name}`", about, header.result.removeprefix("published: ")))
    return rows


def _place(experiment: str) -> list[tuple[bool, int, str]]:
    """Orders names by the numbers in them: table1a_depth2, table1a_depth12, table2."""
    parts = re.split(r"(\d+)", experiment.removeprefix(EXPERIMENTS))
    return [(part == "figure", int(part) if part.isdigit() else 0, part) for part in parts]


def names(module: str) -> list[str]:
    """One row for each name that a module offers, with the first sentence of its documentation."""
    home = importlib.import_module(module)
    rows = [f"| in `{module}` | what it is |", "|---|---|"]
    for name in sorted(home.__all__, key=str.lower):
        documented = getattr(home, name)
        if inspect.isclass(documented) or inspect.isfunction(documented):
            first = (inspect.getdoc(documented) or "").split("\n\n")[0]
            rows.append(_row(f"`{name}`", re.split(r"(?<=[.:]) (?=[A-Z])", " ".join(first.split()))[0]))
    return rows


@functools.cache
def scale() -> dict[str, list[str]]:
    """The tables that bench/scale.py prints, by their names."""
    command = [sys.executable, DOCS.parent / "bench" / "scale.py"]
    printed = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    return {name: rows.splitlines() for name, rows in re.findall(r"^## (\w+)\n\n((?:\|.*\n)+)", printed, re.M)}


SCALE = (
    "assumptions",
    "data",
    "demand",
    "photographs",
    "clips",
    "steps",
    "settings",
    "talk",
    "memory",
    "checkpoints",
    "failures",
)
TABLES: dict[str, Callable[[], list[str]]] = {
    "recipes": recipes,
    "experiments": experiments,
    "mae_core": lambda: names("mae_core"),
    "mae_core.interfaces": lambda: names("mae_core.interfaces"),
    **{f"scale.{name}": functools.partial(lambda name: scale()[name], name) for name in SCALE},
}


def with_tables(text: str) -> str:
    """The page with its tables as they should be."""
    return PLACE.sub(lambda found: "\n".join([found[1], *TABLES[found["name"]](), "", found[3]]), text)


def _row(*cells: str) -> str:
    return " ".join(["|", *(cell.replace("|", r"\|") + " |" for cell in cells)])


def main() -> None:
    """Write all tables."""
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (new := with_tables(text)) != text:
            page.write_text(new, encoding="utf-8")
            sys.stdout.write(f"{page.name}\n")


if __name__ == "__main__":
    main()
