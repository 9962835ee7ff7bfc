"""The experiments of the MAE paper: what each recipe changes, at full size without memory, and a step of each in small."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from changed_keys import changes, recipes_from, values
from running import run
from safetensors.torch import save_file

from mae_core import Config, build_model, load_config
from mae_core.parts.principal_components import measure_basis
from mae_core.runs.logs import read_metrics

FOLDER = "image/paper/"
PRETRAINING = recipes_from("image/mae_vit_", folder=FOLDER)
IMAGE = "model.modalities.image"
NUMBERED = {
    "table1a_depth": f"{IMAGE}.decoder.depth",
    "table1b_width": f"{IMAGE}.decoder.width",
    "figure7_epochs": "train.epochs",
}
"""The only key that such recipes change. It is the number at the end of their names."""
MADE = {
    "table1": {},
    "table1c_without_mask_tokens": {},
    "table1c_with_mask_tokens": {"model.encoder.mask_tokens": True},
    "table1d_pixels": {},
    "table1d_normalized_pixels": {f"{IMAGE}.target.normalize": "patch"},
    "table1e_none": {"data.image.crop": "center", "data.image.flip": 0.0},
    "table1e_fixed_size_crop": {"data.image.crop": "fixed_size"},
    "table1e_random_size_crop": {},
    "table1e_color_jitter": {"data.image.color_jitter": 0.4},
    "table1f_random75": {},
    "table2_vit_large": {},
    "table2_vit_large_depth1": {f"{IMAGE}.decoder.depth": 1},
    "table2_vit_large_mask_tokens": {"model.encoder.mask_tokens": True},
    "table3_vit_large": {f"{IMAGE}.target.normalize": "patch", "train.epochs": 1600},
}
"""What these recipes change."""
SECTIONS = {
    "table1d_pca": {f"{IMAGE}.target": {"name": "pca", "num_components": 96, "file": None}},
    "table1d_tokens": {f"{IMAGE}.target.name": "tokens", f"{IMAGE}.target.quantizer.num_tokens": 8192},
    "table1f_block50": {f"{IMAGE}.masker.name": "block", f"{IMAGE}.masker.ratio": 0.5, f"{IMAGE}.masker.exact": True},
    "table1f_block75": {f"{IMAGE}.masker.name": "block", f"{IMAGE}.masker.ratio": 0.75, f"{IMAGE}.masker.exact": True},
    "table1f_grid75": {f"{IMAGE}.masker": {"name": "grid", "every": 2}},
}
"""What stands in recipes that name another component."""

recipes = pytest.mark.parametrize("name", PRETRAINING, ids=lambda name: name.removeprefix(FOLDER))


def changed(name: str) -> dict[str, Any]:
    """What differs from the default of Table 1."""
    return changes(FOLDER + name, of=f"{FOLDER}table1")


def test_every_row_has_a_recipe():
    names = {name.removeprefix(FOLDER) for name in PRETRAINING}
    rows = {
        *(f"table1a_depth{depth}" for depth in (1, 2, 4, 8, 12)),
        *(f"table1b_width{width}" for width in (128, 256, 512, 768, 1024)),
        *(f"table2_vit_{size}{row}" for size in ("large", "huge") for row in ("_mask_tokens", "", "_depth1")),
        *(f"table3_vit_{size}" for size in ("base", "large", "huge")),
        *(f"figure5_ratio{ratio}" for ratio in (10, 20, 30, 40, 50, 60, 70, 75, 80, 90)),
        *(f"figure7_epochs{epochs}" for epochs in (100, 200, 400, 800, 1600)),
    }
    assert names == rows | MADE.keys() | SECTIONS.keys()


def test_the_default_is_vit_large_that_predicts_plain_pixels():
    default = load_config(f"{FOLDER}table1")
    assert [default[f"model.encoder.{key}"] for key in ("width", "depth", "heads", "mask_tokens")] == [1024, 24, 16, False]
    assert [default[f"{IMAGE}.decoder.{key}"] for key in ("width", "depth", "heads")] == [512, 8, 16]
    assert (default[f"{IMAGE}.target.name"], default[f"{IMAGE}.target.normalize"]) == ("pixels", "none")
    assert (default[f"{IMAGE}.masker.ratio"], default["train.epochs"]) == (0.75, 800)
    assert (default["data.image.crop"], default["data.image.flip"]) == ("random_size", 0.5)


@recipes
def test_a_recipe_changes_what_its_name_says_and_nothing_else(name: str):
    name = name.removeprefix(FOLDER)
    default, numbered = load_config(f"{FOLDER}table1"), re.fullmatch(r"(.*?)(\d+)", name)
    if name in MADE:
        assert changed(name) == MADE[name]
    elif name in SECTIONS:
        found = load_config(FOLDER + name)
        assert {key: found[key] for key in SECTIONS[name]} == SECTIONS[name]
        assert {key.split(".")[3] for key in changed(name)} == {next(iter(SECTIONS[name])).split(".")[3]}
    elif name.startswith("figure5"):
        ratio = load_config(FOLDER + name)[f"{IMAGE}.masker.ratio"]
        assert f"figure5_ratio{round(100 * ratio)}" == name
        assert set(changed(name)) <= {f"{IMAGE}.masker.ratio"}
    elif numbered and numbered[1] in NUMBERED:
        key, value = NUMBERED[numbered[1]], int(numbered[2])
        assert changed(name) == ({} if default[key] == value else {key: value})
    else:  # of another size: as the row of ViT-L, but for the encoder and its patches
        size = name.split("_")[2]
        expected = {key for key in values(f"image/mae_vit_{size}") if "encoder" in key or "patch_size" in key}
        as_large = changed(name.replace(size, "large"))
        own = changed(name)
        assert set(own) - set(as_large) <= expected
        assert {key: own[key] for key in as_large} == as_large


@recipes
def test_a_recipe_builds_at_full_size(name: str):
    with torch.device("meta"):
        model = build_model(load_config(name))
    width, depth = (768, 12) if "base" in name else (1280, 32) if "huge" in name else (1024, 24)
    tokens = 2 if name.endswith("_mask_tokens") and "without" not in name else 1
    expected = depth * (12 * width**2 + 13 * width) + 2 * width + tokens * width  # blocks, norm, class and mask token
    assert sum(parameter.numel() for parameter in model.backbone.encoder.parameters()) == expected


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Overrides for targets that read a file."""
    folder = tmp_path_factory.mktemp("frozen")
    generator = torch.Generator().manual_seed(0)
    save_file(measure_basis([torch.randn(1000, 768, generator=generator)]), folder / "basis.safetensors")
    save_file({"codes": torch.randn(32, 768, generator=generator)}, folder / "codes.safetensors")
    target = f"{IMAGE}.target"
    codes = [f"{target}.quantizer.num_tokens=32", f"{target}.quantizer.file={folder / 'codes.safetensors'}"]
    return {"pca": [f"{target}.file={folder / 'basis.safetensors'}"], "tokens": codes}


@pytest.fixture(scope="module")
def trained() -> dict[str, dict[str, Any]]:
    """The log of each small recipe that was trained, by the recipe, since many rows of the tables are the default."""
    return {}


def in_small(name: str, photos: Path, frozen: Mapping[str, list[str]]) -> Config:
    """8 x 8 patches, a narrow encoder of two blocks and an eighth of the decoder's width; all else as the recipe has it."""
    full = load_config(name)
    side = 8 * full[f"{IMAGE}.tokenizer.patch_size"][0]
    return load_config(
        name,
        [
            "model.encoder.width=32", "model.encoder.depth=2", "model.encoder.heads=2",
            f"{IMAGE}.tokenizer.input_size=[{side}, {side}]",
            f"{IMAGE}.decoder.width={full[f'{IMAGE}.decoder.width'] // 8}", f"{IMAGE}.decoder.heads=2",
            *frozen.get(full[f"{IMAGE}.target.name"], []),
            f"data.image.root={photos}", "schedule.warmup_epochs=0", "optimizer.base_lr=null", "optimizer.lr=1e-3",
            "train.epochs=1", "train.batch_size=24", "train.num_workers=0", "train.num_pictures=0",
        ],
    )  # fmt: skip


@recipes
def test_a_recipe_trains(name: str, photos: Path, frozen: dict[str, list[str]], trained: dict[str, Any], tmp_path: Path):
    config = in_small(name, photos, frozen)
    key = config.to_yaml()
    if key not in trained:
        run(config, tmp_path / "run")
        (trained[key],) = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert trained[key]["grad_norm"] > 0
