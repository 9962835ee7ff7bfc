"""The examples of docs/ work."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def run_mae(*arguments):
    done = subprocess.run([sys.executable, "-m", "mae_core.cli", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


RECIPES = [(page.name, recipe) for page in PAGES for recipe in blocks(page, "yaml")]


@pytest.mark.parametrize(("page", "recipe"), RECIPES)
def test_recipes_are_fine(page, recipe, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe)
    assert "is fine" in run_mae("config", "check", path)


def test_the_plugin_of_one_file_masks_half_of_each_sample(tmp_path, tiny_recipe):
    (example,) = blocks(DOCS / "plugins.md", "python")
    plugin = tmp_path / "halves.py"
    plugin.write_text(example)
    (command,) = re.findall(r"masker='(.*?)'", blocks(DOCS / "plugins.md", "console")[0])
    chosen = f"model.modalities.image.masker={command}"
    run_mae("pretrain", tiny_recipe, chosen, "train.epochs=2", "--out", tmp_path / "run", "--plugin", plugin)
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_maskers_in_tables_are_fine(page, tmp_path):
    for masker in re.findall(r"^\| `(\{name: \w+, .*?\})` \|", page.read_text(), re.M):
        axes = masker.replace("[h, w]", "[h]")  # the table's tubes are for videos; an image has no third axis
        run_mae("config", "check", "image/mae_vit_base", f"model.modalities.image.masker={axes}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_exist(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target
