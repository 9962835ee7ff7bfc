"""`mae recipes`."""

import json

import pytest

from mae_core.cli import main
from mae_core.config import list_recipes


@pytest.fixture
def recipes(capfd):
    """`mae recipes` in this process: exit code and standard output."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["recipes", *arguments])
        return stop.value.code or 0, capfd.readouterr().out

    return run


def test_every_recipe_is_listed_with_what_its_header_says(recipes):
    code, out = recipes("--json")
    assert code == 0
    listed = json.loads(out)
    assert [recipe["name"] for recipe in listed] == list_recipes()
    (base,) = (recipe for recipe in listed if recipe["name"] == "image/mae_vit_base")
    assert "He et al. 2022" in base["about"]
    assert base["command"].startswith("mae pretrain image/mae_vit_base")


@pytest.mark.parametrize(("words", "code", "found"), [(["HIERA", "demo"], 0, "methods/hiera_demo"), (["tube", "moon"], 1, "")])
def test_words_narrow_the_list(recipes, words, code, found):
    exited, out = recipes(*words)
    assert exited == code
    assert found in out
    assert "image/mae_vit_base" not in out
