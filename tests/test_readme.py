"""What README.md tells people to type works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mae_core.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


def commands():
    return [line[2:].split("  #")[0].strip() for block in blocks("console") for line in block.splitlines() if line[:2] == "$ "]


def test_the_python_example_runs():
    (example,) = blocks("python")
    subprocess.run([sys.executable, "-W", "error", "-c", example], check=True)


def test_the_recipe_example_and_each_of_its_alternatives_are_fine(tmp_path, capsys):
    (example,) = blocks("yaml")
    used = re.search(r"^ *(masker: .*)$", example, re.M)
    assert used
    alternatives = re.findall(r"# (masker: .*?)(?: +#.*)?$", example, re.M)
    assert len(alternatives) == 2
    for masker in [used[1], *alternatives]:
        recipe = tmp_path / "half-hidden.yaml"
        recipe.write_text(example.replace(used[1], masker, 1))
        with pytest.raises(SystemExit) as stop:
            main(["config", "check", str(recipe)])
        assert not stop.value.code, capsys.readouterr().err


def test_every_command_is_known():
    """Each is run elsewhere, on smaller data; here, that every verb and option exists."""
    for command in commands():
        words = command.split()
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M)
        elif words[0] == "mae":
            verb = words[1:3] if words[1] == "config" else words[1:2]
            shown = subprocess.run([sys.executable, "-m", "mae_core.cli", *verb, "--help"], capture_output=True, text=True)
            assert shown.returncode == 0, command
            for option in re.findall(r"(?<=\s)--[a-z-]+", command):
                assert option in shown.stdout, command


def test_every_path_in_the_table_exists():
    for cell in re.findall(r"^\| (`.*?`) \|", README, re.M):
        names = re.findall(r"`(.*?)`", cell)
        for name in names:
            assert (ROOT / name).exists() or (ROOT / "mae_core" / name).exists(), name


def test_links_and_pictures_exist():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
