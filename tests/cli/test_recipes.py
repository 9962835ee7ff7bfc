"""`mae recipes`."""

import json

import pytest

from mae_core.config import list_recipes


def test_every_recipe_is_listed_with_what_its_header_says(mae):
    code, out, _ = mae("recipes", "--json")
    assert code == 0
    listed = json.loads(out)
    assert [recipe["name"] for recipe in listed] == list_recipes()
    (base,) = (recipe for recipe in listed if recipe["name"] == "image/mae_vit_base")
    assert "He et al. 2022" in base["about"]
    assert base["command"].startswith("mae pretrain image/mae_vit_base")


@pytest.mark.parametrize(("words", "code", "found"), [(["HIERA", "demo"], 0, "methods/hiera_demo"), (["tube", "moon"], 1, "")])
def test_words_narrow_the_list(mae, words, code, found):
    exited, out, _ = mae("recipes", *words)
    assert exited == code
    assert found in out
    assert "image/mae_vit_base" not in out
