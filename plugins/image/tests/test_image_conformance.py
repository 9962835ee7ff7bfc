"""Every component of this plugin keeps the contract of its interface."""

import numpy as np
import pytest
import torch
from PIL import Image

from mae_core.testing import check_dataset, check_decoder, check_modality, check_target, check_tokenizer

SIZES = {"input_size": [24, 40], "patch_size": [8, 4]}
LABELS = {"name": "semseg_patches", "input_size": [32, 48], "patch_size": [8, 16], "num_classes": 5, "class_width": 4}


def labels(*shape):
    return torch.randint(5, shape, generator=torch.Generator().manual_seed(0))


def pixels(*shape):
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "section",
    [
        {"name": "image_patches", **SIZES},
        {"name": "image_patches", "input_size": [7, 33], "patch_size": [7, 11]},
        {"name": "image_patches", **SIZES, "channels": 1, "mean": [0.5], "std": [0.2]},
        {"name": "image_patches", **SIZES, "channels": 5, "mean": [0.5] * 5, "std": [0.2] * 5},
        {"name": "depth_patches", **SIZES},
    ],
    ids=str,
)
def test_tokenizers(section):
    check_tokenizer(section)


def test_tokenizers_of_whole_numbers():
    check_tokenizer({"name": "image_patches", **SIZES}, sample=pixels(2, 3, 24, 40))
    check_tokenizer(LABELS, sample=labels(2, 8, 12))


@pytest.mark.parametrize("target", ["pixels", "twin_pixels"])
def test_targets(target):
    check_target(target, tokenizer={"name": "image_patches", **SIZES})


def test_target_of_classes():
    check_target("classes", tokenizer=LABELS, sample=labels(2, 8, 12))


def test_decoder():
    check_decoder({"name": "twin", "width": 16, "depth": 1, "heads": 2}, tokenizer={"name": "image_patches", **SIZES})


@pytest.mark.parametrize(
    "section",
    [
        {"name": "photographs", "repeats": 2},
        {"name": "image_folder", "crop_scale": [0.5, 1.0]},
    ],
    ids=str,
)
def test_datasets(section, tmp_path):
    if section["name"] == "image_folder":
        section = {**section, "root": str(tmp_path)}
        for index in range(3):
            Image.fromarray(np.full((30, 40, 3), 80 * index, np.uint8)).save(tmp_path / f"{index}.png")
    check_dataset(section, sample_shape=(3, 16, 24))


def test_modalities(tmp_path):
    Image.fromarray(pixels(30, 40, 3).numpy()).save(tmp_path / "a.png")
    decoder = {"width": 16, "depth": 1, "heads": 2}
    check_modality("image", {"tokenizer": SIZES, "decoder": decoder}, file=tmp_path / "a.png")
    check_modality("depth", {"tokenizer": SIZES, "decoder": decoder})
    check_modality("semseg", {"tokenizer": LABELS, "decoder": decoder}, sample=labels(2, 8, 12))
