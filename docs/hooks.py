"""MkDocs hooks: what the site says of commands and recipes is made from the code and the recipes when it is built."""

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mae_core.config import list_recipes
from mae_core.config.recipes import recipe_path

if TYPE_CHECKING:  # the tests read this file without MkDocs
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

TABLE_GOES_HERE = "<!-- table of recipes -->"


def on_files(files: "Files", config: "MkDocsConfig") -> None:
    """Add the page of all commands."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "command-line.md", content=command_line()))


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the table of recipes where a page asks for it."""
    return markdown.replace(TABLE_GOES_HERE, table_of_recipes()) if TABLE_GOES_HERE in markdown else markdown


def command_line() -> str:
    """Every command with its help, by Typer's own generator."""
    command = [sys.executable, "-m", "typer", "mae_core.cli", "utils", "docs", "--name", "mae", "--title", "Command line"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def table_of_recipes() -> str:
    """One row a recipe, from the header of its file."""
    rows = ["| recipe | what it is | cost | result |", "|---|---|---|---|"]
    for name in list_recipes():
        header = read_header(recipe_path(name))
        cells = [f"`{name}`", *(header[key].replace("|", "\\|") for key in ("about", "cost", "result"))]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def read_header(path: Path) -> dict[str, str]:
    """The first sentence of a recipe's comment, and what it says of `command`, `cost` and `result`."""
    comment = re.match(r"(#.*\n)+", path.read_text(encoding="utf-8"))
    if comment is None:
        raise ValueError(f"{path} does not begin with a comment that says what it is")
    text = re.sub(r"^# ?", "", comment[0], flags=re.M)
    about = " ".join(text.split("\n\n")[0].split())
    found = {"about": re.split(r"(?<=\.) (?=[A-Z])", about)[0]}
    for key in ("command", "cost", "result"):
        line = re.search(rf"^{key}:\s+(.+(?:\n\s{{3,}}.+)*)", text, re.M)
        if line is None:
            raise ValueError(f"{path}: its header has no line `# {key}: ...`")
        found[key] = " ".join(line[1].split())
    return found
