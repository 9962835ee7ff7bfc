"""MkDocs hooks: what the site says of commands is made from the code when it is built."""

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the tests read this file without MkDocs
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files


def on_files(files: "Files", config: "MkDocsConfig") -> None:
    """Add the page of all commands."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "command-line.md", content=command_line()))


def command_line() -> str:
    """Every command with its help, by Typer's own generator."""
    command = [sys.executable, "-m", "typer", "mae_core.cli", "utils", "docs", "--name", "mae", "--title", "Command line"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
