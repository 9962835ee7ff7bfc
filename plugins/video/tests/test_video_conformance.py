"""Every component of this plugin keeps the contract of its interface."""

import pytest

from mae_core import Grid
from mae_core.testing import check_dataset, check_masker, check_modality, check_positions, check_target, check_tokenizer

CLIPS = {"name": "tubelets", "input_size": [4, 24, 16], "patch_size": [2, 8, 4]}
GRID = Grid(t=3, h=4, w=6)


@pytest.mark.parametrize(
    "section",
    [
        CLIPS,
        {**CLIPS, "input_size": [9, 7, 33], "patch_size": [3, 7, 11], "init": "xavier"},
        {**CLIPS, "channels": 1, "mean": [0.5], "std": [0.2]},
    ],
    ids=str,
)
def test_tokenizer(section):
    check_tokenizer(section)


@pytest.mark.parametrize("name", ["flat_sincos", "separable"])
def test_positions(name):
    check_positions(name, grid=GRID)


@pytest.mark.parametrize("over", [["h", "w"], ["t", "h", "w"]])
def test_masker(over):
    check_masker({"name": "running_cell", "ratio": 0.75, "over": over}, grid=GRID)


@pytest.mark.parametrize(
    "section",
    [
        "channel_pixels",
        {"name": "frame_pixels", "num_frames": 2},
        {"name": "frame_pixels", "num_frames": 4, "normalize": "none"},
    ],
    ids=str,
)
def test_targets(section):
    check_target(section, tokenizer=CLIPS)


def test_dataset():
    check_dataset({"name": "moving_photographs", "repeats": 1}, sample_shape=(3, 4, 16, 16))


def test_modality():
    check_modality("video", {"tokenizer": CLIPS, "decoder": {"width": 16, "depth": 1, "heads": 2}})
