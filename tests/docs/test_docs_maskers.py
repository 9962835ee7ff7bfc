"""docs/maskers.md has every masker and every construct, and its pictures are what `mae masks show` draws."""

import importlib.util

import numpy as np
import pytest
import yaml
from documents import ROOT, blocks
from PIL import Image

from mae_core.config.operators import OPERATORS
from mae_core.registry import registry

PAGE = ROOT / "docs" / "maskers.md"
SECTIONS = {block.file: yaml.safe_load(block.text) for block in blocks(PAGE) if block.language == "yaml"}
LARGEST = 40_000
"""Bytes of a picture."""


def load_script():
    spec = importlib.util.spec_from_file_location("mask_pictures", ROOT / "docs" / "mask_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PICTURES = load_script()


def said(value):
    """Every key and every text of a section."""
    if isinstance(value, dict):
        return set(value).union(*map(said, value.values()))
    if isinstance(value, list):
        return set().union(*map(said, value))
    return {value} if isinstance(value, str) else set()


def test_every_masker_and_operator_is_shown():
    shown = said(list(SECTIONS.values()))
    ours = [name for name in registry().names("maskers") if registry().get("maskers", name).plugin in
            ("core", "image", "video", "audio")]  # fmt: skip
    assert set(ours) == set(registry().names("maskers"))
    assert {*ours, *OPERATORS} <= shown


def test_every_construct_is_shown():
    shown = said(list(SECTIONS.values()))
    assert {"over", "unit", "truncate", "ratio", "ragged", "weight", "masker", "from", "to", "shape", "targets"} <= shown
    text = PAGE.read_text()
    for word in ("per: sample", "`linear`, `cosine`, or `steps` with `num_steps`", "mask_tokens: true"):
        assert word in text
    named = SECTIONS["named.yaml"]["maskers"]
    assert named["tube75"]["name"] in named


def test_every_file_of_maskers_has_a_picture_that_is_small_and_every_picture_a_place():
    assert {f"{name}.yaml" for name in PICTURES.files()} >= {file for file, text in SECTIONS.items() if "extends" not in text}
    assert {path.stem for path in PICTURES.FOLDER.iterdir()} == set(PICTURES.files())
    assert max(path.stat().st_size for path in PICTURES.FOLDER.iterdir()) < LARGEST


@pytest.mark.parametrize("name", PICTURES.files())
def test_pictures_are_what_is_drawn_now(name, tmp_path):
    """But for what another version of matplotlib may do to letters."""
    drawn = PICTURES.draw(name, PICTURES.files()[name], tmp_path)
    with Image.open(drawn) as now, Image.open(PICTURES.FOLDER / f"{name}.png") as shown:
        assert now.size == shown.size, "run `make mask-pictures`"
        differing = np.asarray(now.convert("RGB"), dtype=int) - np.asarray(shown.convert("RGB"), dtype=int)
    assert np.abs(differing).mean() < 2, "run `make mask-pictures`"
