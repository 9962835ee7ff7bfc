"""The evaluations of the MAE paper: what each recipe changes, at full size without memory, and a step of each in small."""

from pathlib import Path
from typing import Any

import pytest
from changed_keys import changes, recipes_from, values
from running import run

from mae_core import Config, load_config
from mae_core.runs.logs import read_metrics
from mae_core.training.preflight import check_recipe

FOLDER = "image/paper/"
EVALUATIONS = recipes_from("image/finetune_", "image/linprobe_", folder=FOLDER)
INPUT = "model.modalities.image.tokenizer.input_size"
INIT = {"init.checkpoint": None, "init.backbone_only": False, "init.teacher": False}
SCRATCH = {
    "task.erase": 0.0,
    "task.average": 0.9999,
    "optimizer.base_lr": 1e-4,
    "optimizer.weight_decay": 0.3,
    "optimizer.betas": [0.9, 0.95],
    "optimizer.layer_decay": None,
    "schedule.warmup_epochs": 20,
    "schedule.min_lr": 0.0,
    "train.batch_size": 4096,
}
TRANSFER = ("inat2017", "inat2018", "inat2019", "places205", "places365")
AT_448 = ("finetune_huge", {INPUT: [448, 448], "init.interpolate": True, **INIT})
SET = {
    "table3_vit_huge_448": AT_448,
    **{f"table6_{key}": ("finetune_large", {}) for key in TRANSFER},
    **{f"table6_{key}_448": AT_448 for key in TRANSFER},
    "figure9_blocks0": ("linprobe_large", {"task.tuned": 0}),
    "figure9_half_block": ("finetune_large", {"task.tuned": 0.5}),
    **{f"figure9_blocks{number}": ("finetune_large", {"task.tuned": number}) for number in (1, 2, 4, 6, 12, 18)},
    "figure9_blocks24": ("finetune_large", {"task.tuned": "all"}),
    "table11_vit_base": ("finetune_base", {**SCRATCH, "train.epochs": 300}),
    "table11_vit_large": ("finetune_large", {**SCRATCH, "train.epochs": 200, "model.encoder.drop_path": 0.2}),
    "table11_vit_huge": ("finetune_huge", {**SCRATCH, "train.epochs": 200, "model.encoder.drop_path": 0.2}),
    **{f"table12_vit_{size}": (f"linprobe_{size}", {"task.tuned": 0}) for size in ("base", "large", "huge")},
}
"""The recipe that each of them extends, and what it has."""

recipes = pytest.mark.parametrize("name", EVALUATIONS, ids=lambda name: name.removeprefix(FOLDER))


def test_every_row_has_a_recipe():
    assert {name.removeprefix(FOLDER) for name in EVALUATIONS} == SET.keys()


@recipes
def test_a_recipe_sets_what_its_name_says_and_changes_nothing_else(name: str):
    parent, expected = SET[name.removeprefix(FOLDER)]
    assert {key: values(name)[key] for key in expected} == expected
    assert changes(name, of=f"image/{parent}").keys() <= expected.keys()


@recipes
def test_a_recipe_builds_at_full_size_and_trains_the_blocks_that_it_says(name: str):
    config = load_config(name)
    model, depth = check_recipe(config), config["model.encoder.depth"]
    width, tuned = config["model.encoder.width"], config["task.tuned"]
    blocks = model.get_submodule("backbone.encoder.blocks")
    trained = sum(parameter.numel() for parameter in blocks.parameters() if parameter.requires_grad)
    of_mlp, of_block = 8 * width**2 + 5 * width + 2 * width, 12 * width**2 + 13 * width
    assert trained == (of_mlp if tuned == 0.5 else of_block * (depth if tuned == "all" else tuned))
    assert all(parameter.requires_grad for name, parameter in model.named_parameters() if name.startswith("head."))


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """The photographs in train/ and val/, of two classes each."""
    folder = tmp_path_factory.mktemp("classes")
    for number, photo in enumerate(sorted(photos.iterdir())):
        place = folder / ("val" if number < 4 else "train") / ("even", "odd")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / photo.name).symlink_to(photo)
    return folder


@pytest.fixture(scope="module")
def trained() -> dict[str, dict[str, Any]]:
    """The log of each small recipe that was trained, by the recipe, since some differ in their data alone."""
    return {}


def in_small(name: str, classes: Path) -> Config:
    """4 x 4 patches and a narrow encoder; all else as the recipe has it, but for what the weights begin with."""
    full = load_config(name)
    side = 4 * full["model.modalities.image.tokenizer.patch_size"][0]
    return load_config(
        name,
        [
            "init=null", "model.encoder.width=16", "model.encoder.heads=2", f"{INPUT}=[{side}, {side}]",
            f"data.image.root={classes / 'train'}", f"task.validation.root={classes / 'val'}",
            "schedule.warmup_epochs=0", "train.epochs=1", "train.batch_size=20", "train.num_workers=0",
        ],
    )  # fmt: skip


@recipes
def test_a_recipe_trains(name: str, classes: Path, trained: dict[str, Any], tmp_path: Path):
    config = in_small(name, classes)
    key = config.to_yaml()
    if key not in trained:
        run(config, tmp_path / "run")
        trained[key] = read_metrics(tmp_path / "run" / "metrics.jsonl")[0]
    assert trained[key]["grad_norm"] > 0
    assert 0 <= trained[key]["val/accuracy"] <= 1
