"""The certificates of fine-tuning and linear probing, with numbers of other sizes and seeds than those that ship."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_files import change_one_number, checks_of, failing, weights_of, write_numbers
from torch import Tensor

from mae_core import load_config
from mae_core.evaluation.certificate import classification
from mae_core.evaluation.trajectory import Trajectory
from mae_core.interfaces import Published
from mae_core.model.classifier import Classifier
from mae_image.certificate import certify
from mae_image.classifier_certificate import steps_of

CERTIFICATE, LAYOUT, CLASSES = "mae_image.certificate:certify", "mae_vit", 6
SIZES = {"img_size": 24, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 6, "mlp_ratio": 2}
FINE_TUNING = {
    "batch": 4,
    "steps_per_epoch": 2,
    "label_smoothing": 0.2,
    "lr": 4e-3,
    "min_lr": 2e-4,
    "warmup_epochs": 1,
    "epochs": 3,
    "layer_decay": 0.5,
    "weight_decay": 0.2,
    "betas": [0.8, 0.9],
    "optimizer": "AdamW",
}
PROBING = {
    "batch": 4,
    "steps_per_epoch": 2,
    "lr": 0.7,
    "min_lr": 0.01,
    "warmup_epochs": 1,
    "epochs": 3,
    "weight_decay": 0.1,
    "optimizer": "LARS",
    "momentum": 0.8,
    "trust_coefficient": 0.01,
}
# as in He et al. 2022: the layer of each parameter by its published name, and what is not decayed
LAYERS = {"cls_token": 0, "pos_embed": 0, "patch_embed": 0, "blocks.0": 1, "blocks.1": 2, "blocks.2": 3}


def config_of(recipe: str, **task: Any) -> Any:
    image = {
        "tokenizer": {"input_size": [24, 24], "patch_size": [8, 8], "mean": [0, 0, 0], "std": [1, 1, 1]},
        "positions": {"name": "learned", "class_token": True},
    }
    encoder = {"width": 24, "depth": 3, "heads": 6, "mlp_ratio": 2, "drop_path": 0.0}
    return load_config({"extends": recipe, "model": {"encoder": encoder, "modalities": {"image": image}}, "task": task})


def randomized(model: Classifier, seed: int) -> Classifier:
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def groups_of(weights: Mapping[str, Tensor], *, layer_decay: float, weight_decay: float) -> list[dict[str, Any]]:
    """The groups as a file states them."""
    groups: dict[tuple[float, float], list[str]] = {}
    for name, tensor in weights.items():
        layer = next((layer for start, layer in LAYERS.items() if name.startswith(start)), 4)
        decays = tensor.ndim > 1 and name not in ("cls_token", "pos_embed")
        groups.setdefault((layer_decay ** (4 - layer), weight_decay if decays else 0.0), []).append(name)
    return [{"lr_scale": scale, "weight_decay": decay, "names": names} for (scale, decay), names in groups.items()]


@pytest.fixture
def forward_pass(tmp_path: Path) -> Path:
    model = randomized(classification(config_of("image/finetune_base"), num_classes=CLASSES).model, seed=3)
    x = torch.randn(3, 3, 24, 24)
    with torch.no_grad():
        logits = model({"image": x})
    weights = weights_of(model, LAYOUT)
    groups = groups_of(
        {name.removeprefix("state_dict/"): tensor for name, tensor in weights.items()}, layer_decay=0.6, weight_decay=0.3
    )
    numbers = {"x": x, "logits": logits, "loss": logits.square().mean(), **weights}
    sizes = {f"cfg/{name}": value for name, value in SIZES.items()}
    write_numbers(tmp_path / "mae_vit.safetensors", numbers, meta={**sizes, "lrd_groups": groups})
    return tmp_path


def write_training(path: Path, config: Any, recipe: Mapping[str, Any]) -> None:
    """Numbers of five steps."""
    own = classification(config, num_classes=CLASSES)
    randomized(own.model, seed=4)
    numbers = {**weights_of(own.model, LAYOUT), "input/x": torch.randn(5, 4, 3, 24, 24), "input/y": torch.randint(6, (5, 4))}
    trajectory = Trajectory(own, recipe, optimizer=config["optimizer"])
    for step in steps_of(numbers):
        trajectory.step(*step)
    final = weights_of(own.model, LAYOUT, folder="final_state_dict")
    groups = []
    if "layer_decay" in recipe:
        names = {name.removeprefix("final_state_dict/"): tensor for name, tensor in final.items()}
        groups = groups_of(names, layer_decay=recipe["layer_decay"], weight_decay=recipe["weight_decay"])
        highest = torch.tensor(trajectory.rates, dtype=torch.float64)
        numbers["output/group_lrs"] = highest[:, None] * torch.tensor([g["lr_scale"] for g in groups], dtype=torch.float64)
    else:  # the head alone is trained, and in the file
        final = {name: tensor for name, tensor in final.items() if "/head." in name}
    numbers["output/losses"] = torch.tensor(trajectory.losses, dtype=torch.float64)
    write_numbers(path, numbers | final, config=SIZES, recipe=recipe, groups=groups)


@pytest.fixture
def fine_tuning(tmp_path: Path) -> Path:
    path = tmp_path / "mae_finetune_trajectory.safetensors"
    config = config_of("image/finetune_base", mix=None, erase=0.0, smoothing=FINE_TUNING["label_smoothing"])
    write_training(path, config, FINE_TUNING)
    return path


@pytest.fixture
def probing(tmp_path: Path) -> Path:
    path = tmp_path / "mae_linprobe_trajectory.safetensors"
    write_training(path, config_of("image/linprobe_base"), PROBING)
    return path


def test_the_numbers_that_ship_are_all_there_and_agree() -> None:
    names = [check.name for check in certify(Published("mae_image"))]
    assert sum(name.startswith("classifier") for name in names) == 3
    assert sum(name.startswith("fine-tuning") for name in names) == 4
    assert sum(name.startswith("linear probing") for name in names) == 2
    assert sum("fine-tuned, checkpoint" in name for name in names) == 9


@pytest.mark.parametrize(
    ("tensor", "by", "check"),
    [("logits", 2e-5, ["classifier: logits"]), ("loss", 1e-3, ["classifier: mean square of these"])],
)
def test_scores_of_other_sizes_agree_until_one_number_is_changed(
    forward_pass: Path, tensor: str, by: float, check: list[str]
) -> None:
    assert failing(checks_of(CERTIFICATE, forward_pass)) == []
    change_one_number(forward_pass / "mae_vit.safetensors", tensor, by=by)
    assert failing(checks_of(CERTIFICATE, forward_pass)) == check


@pytest.mark.parametrize(
    ("tensor", "by", "check"),
    [
        ("output/losses", 1e-4, "fine-tuning: losses"),
        ("output/group_lrs", 1e-9, "fine-tuning: learning rates"),
        ("final_state_dict/pos_embed", 1e-4, "fine-tuning: final weights"),
    ],
)
def test_fine_tuning_of_other_sizes_agrees_until_one_number_is_changed(
    fine_tuning: Path, tensor: str, by: float, check: str
) -> None:
    assert failing(checks_of(CERTIFICATE, fine_tuning.parent)) == []
    change_one_number(fine_tuning, tensor, by=by)
    assert failing(checks_of(CERTIFICATE, fine_tuning.parent)) == [check]


@pytest.mark.parametrize(
    ("tensor", "by", "check"),
    [
        ("output/losses", 1e-4, "linear probing: losses"),
        ("final_state_dict/head.0.running_var", 1e-4, "linear probing: final weights"),
        ("final_state_dict/head.0.num_batches_tracked", 1, "linear probing: final weights"),
    ],
)
def test_probing_of_other_sizes_agrees_until_one_number_is_changed(probing: Path, tensor: str, by: float, check: str) -> None:
    assert failing(checks_of(CERTIFICATE, probing.parent)) == []
    change_one_number(probing, tensor, by=by)
    assert failing(checks_of(CERTIFICATE, probing.parent)) == [check]
