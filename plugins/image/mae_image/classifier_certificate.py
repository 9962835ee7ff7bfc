"""What `mae verify image` measures of MAE's classifiers: fine-tuning and linear probing (He et al. 2022, Tables 9 and 10)."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mae_core.config import Config, load_config
from mae_core.evaluation.certificate import check_classifier_manifest, check_loss, check_prediction, published_classification
from mae_core.evaluation.trajectory import check_groups, check_trajectory
from mae_core.interfaces import LABEL, Batch, Check, Numbers, Published, Sample, StepInputs
from mae_core.layouts.shapes import transformer
from mae_core.registry import build_component
from mae_core.tasks.classification import RowInputs

LAYOUT = "mae_vit"
MANIFESTS = {"base": "base_patch16", "large": "large_patch16", "huge": "huge_patch14"}
"""Sizes and names of the published checkpoints."""


def certify(numbers: Published) -> Iterator[Check]:
    """One check after the other."""
    yield from _forward(numbers.read("mae_vit"))
    yield from _fine_tuning(numbers.read("mae_finetune_trajectory"))
    yield from _probing(numbers.read("mae_linprobe_trajectory"))


def certify_checkpoints(numbers: Published) -> Iterator[Check]:
    """The slow ones, at full size."""
    for size, name in MANIFESTS.items():
        yield from check_classifier_manifest(
            f"ViT-{size[0].upper()}, fine-tuned,",
            numbers.manifest(f"finetune_vit_{name}"),
            recipe=f"image/finetune_{size}",
            layout=LAYOUT,
        )


def _forward(numbers: Numbers) -> Iterator[Check]:
    """Logits, and the groups of the optimizer."""
    groups = numbers.metadata["meta"]["lrd_groups"]
    config = _config("image/finetune_base", numbers)
    model = published_classification(config, numbers.weights, layout=LAYOUT).model.eval()
    with torch.no_grad():
        logits = model({"image": numbers["x"]})
    yield check_prediction("classifier: logits", logits, numbers["logits"])
    yield check_loss("classifier: mean square of these", logits.square().mean(), numbers["loss"])
    stated = {
        "layer_decay": max(group["lr_scale"] for group in groups if group["lr_scale"] < 1),
        "weight_decay": max(group["weight_decay"] for group in groups),
    }
    optimizer = build_component("optimizers", {**config["optimizer"], **stated}, model, 1)
    yield check_groups("classifier", optimizer, model, groups, layout=LAYOUT)


def _fine_tuning(numbers: Numbers) -> Iterator[Check]:
    """The recipe's head and optimizer; the file's images are not augmented, and no block is dropped."""
    plain = {"mix": None, "erase": 0.0, "smoothing": numbers.recipe["label_smoothing"]}
    config = _config("image/finetune_base", numbers, task=plain)
    yield from _trajectory("fine-tuning", config, numbers)


def _probing(numbers: Numbers) -> Iterator[Check]:
    """Only the head learns; its BatchNorm sees the statistics of each batch."""
    yield from _trajectory("linear probing", _config("image/linprobe_base", numbers), numbers)


def _trajectory(name: str, config: Config, numbers: Numbers) -> Iterator[Check]:
    task = published_classification(config, numbers.weights, layout=LAYOUT)
    yield from check_trajectory(name, task, steps_of(numbers), numbers, layout=LAYOUT, optimizer=config["optimizer"])


def steps_of(numbers: Mapping[str, Tensor] | Numbers) -> list[tuple[Batch, StepInputs]]:
    """The samples of each step, which are neither mixed nor erased nor masked."""
    samples = zip(numbers["input/x"], numbers["input/y"], strict=True)
    return [({"image": Sample(x, {LABEL: y})}, RowInputs(len(y), None, None, {})) for x, y in samples]


def _config(recipe: str, numbers: Numbers, *, task: Mapping[str, Any] = {}) -> Config:
    """The recipe, of the file's sizes, without drop path."""
    weights = numbers.weights
    patch, channels = list(weights["patch_embed.proj.weight"].shape[2:]), weights["patch_embed.proj.weight"].shape[1]
    tokenizer = {
        "input_size": [numbers.size("img_size")] * 2,
        "patch_size": patch,
        "channels": channels,
        "mean": [0.0] * channels,  # the file's samples are normalised
        "std": [1.0] * channels,
    }
    positions = {"name": "learned", "class_token": True}  # also of a probe: those of the file are not the fixed ones
    encoder = {**transformer(weights, "blocks", heads=numbers.size("num_heads")), "drop_path": 0.0}
    model = {"encoder": encoder, "modalities": {"image": {"tokenizer": tokenizer, "positions": positions}}}
    return load_config({"extends": recipe, "model": model, "task": dict(task)})
