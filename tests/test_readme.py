"""What README.md says beside the examples that tests/test_docs.py runs."""

import re

import pytest
from documents import ROOT, blocks

from mae_core import load_config

README = ROOT / "README.md"


def maskers_of_the_recipe_example():
    (recipe,) = (block.text for block in blocks(README) if block.language == "yaml")
    return recipe, re.findall(r"^ *(?:# )?(masker: \{.*?\})(?: +#.*)?$", recipe, re.M)


def test_each_alternative_of_the_recipe_example_is_fine(tmp_path):
    recipe, maskers = maskers_of_the_recipe_example()
    assert len(maskers) == 3
    for masker in maskers:
        path = tmp_path / "half-hidden.yaml"
        path.write_text(recipe.replace(maskers[0], masker, 1))
        assert f"name: {load_config(path)['model.modalities.image.masker.name']}" in masker


@pytest.mark.parametrize("cell", re.findall(r"^\| (`.*?`) \|", README.read_text(), re.M))
def test_every_path_in_the_table_exists(cell):
    for name in re.findall(r"`(.*?)`", cell):
        assert (ROOT / name).exists() or (ROOT / "mae_core" / name).exists(), name
