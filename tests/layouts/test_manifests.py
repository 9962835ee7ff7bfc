"""The released checkpoints, by names and shapes alone: they are recognised as what the shipped recipes describe."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import mae_core
from mae_core.layouts.recognize import recognize

ROOT = Path(__file__).parents[2] / "plugins"
RELEASES = [
    ("image", "mae_vit_base_patch16", "mae", "image/mae_vit_base"),
    ("image", "mae_vit_large_patch16", "mae", "image/mae_vit_large"),
    ("image", "mae_vit_huge_patch14", "mae", "image/mae_vit_huge"),
    ("video", "pretrain_videomae_small_patch16_224", "videomae", "video/videomae_small"),
    ("video", "pretrain_videomae_base_patch16_224", "videomae", "video/videomae_base"),
    ("video", "pretrain_videomae_large_patch16_224", "videomae", "video/videomae_large"),
    ("video", "pretrain_videomae_huge_patch16_224", "videomae", "video/videomae_huge"),
    ("video", "mae_st_mae_vit_base_patch16", "mae_st", "video/mae_st_base"),
    ("video", "mae_st_mae_vit_large_patch16", "mae_st", "video/mae_st_large"),
    ("video", "mae_st_mae_vit_huge_patch14", "mae_st", "video/mae_st_huge"),
]


@pytest.mark.parametrize(("plugin", "file", "layout", "recipe"), RELEASES, ids=[release[1] for release in RELEASES])
def test_a_release_has_the_sizes_of_its_recipe(plugin: str, file: str, layout: str, recipe: str) -> None:
    shapes = json.loads((ROOT / plugin / f"mae_{plugin}" / "published" / f"{file}.json").read_text())["state_dict"]
    recognized = recognize({name: torch.zeros(()).expand(shape) for name, shape in shapes.items()})
    assert recognized.layout == layout
    found, expected = (mae_core.load_config(source)["model"] for source in (recognized.recipe(), recipe))
    assert found["encoder"] == expected["encoder"]
    (mine,), (theirs,) = (list(model["modalities"].values()) for model in (found, expected))
    assert mine["tokenizer"] == theirs["tokenizer"]
    assert different(mine["decoder"], theirs["decoder"]) <= {"depth"}  # MAE-ST's manifests have the depth of its code's default
    assert mine["target"] == theirs["target"]


def different(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}
