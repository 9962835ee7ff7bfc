"""What `mae verify image` measures of MAE's classifiers: fine-tuning and linear probing (He et al. 2022, Tables 9 and 10)."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mae_core.config import Config, load_config
from mae_core.evaluation.certificate import (
    check_classifier_manifest,
    check_loss,
    check_prediction,
    count_classes,
    published_classifier,
    transformer,
)
from mae_core.evaluation.trajectory import check_groups, check_trajectory
from mae_core.interfaces import LABEL, Batch, Check, Numbers, Published, Sample, StepInputs
from mae_core.layouts.published import import_state_dict
from mae_core.registry import build_component
from mae_core.tasks.classification import Classification, RowInputs

FINE_TUNED = {"name": "linear", "pool": "mean", "norm": "layer"}
PROBE = {"name": "linear", "pool": "cls", "norm": "batch", "init_std": 0.01}
NO_DECAY = ["cls_token", "table", "class_row"]
"""The class token and the positions, by our names."""
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
            config=load_config({"extends": f"image/mae_vit_{size}", "model": _sections({"final_norm": False})}),
            head=FINE_TUNED,
            layout=LAYOUT,
        )


def _forward(numbers: Numbers) -> Iterator[Check]:
    """Logits, and the groups of the optimizer."""
    weights, groups = numbers.weights, numbers.metadata["meta"]["lrd_groups"]
    model = published_classifier(_config(numbers), FINE_TUNED, weights, layout=LAYOUT)
    with torch.no_grad():
        logits = model({"image": numbers["x"]})
    yield check_prediction("classifier: logits", logits, numbers["logits"])
    yield check_loss("classifier: mean square of these", logits.square().mean(), numbers["loss"])
    section = {
        "name": "adamw",
        "lr": 1.0,
        "layer_decay": max(group["lr_scale"] for group in groups if group["lr_scale"] < 1),
        "weight_decay": max(group["weight_decay"] for group in groups),
        "no_decay": NO_DECAY,
    }
    optimizer = build_component("optimizers", section, model, 1)
    yield check_groups("classifier", optimizer, model, groups, layout=LAYOUT)


def _fine_tuning(numbers: Numbers) -> Iterator[Check]:
    task = _task(numbers, _config(numbers, task={"head": FINE_TUNED, "smoothing": numbers.recipe["label_smoothing"]}))
    yield from check_trajectory(
        "fine-tuning", task, steps_of(numbers), numbers, layout=LAYOUT, optimizer={"no_decay": NO_DECAY}
    )


def _probing(numbers: Numbers) -> Iterator[Check]:
    """Only the head learns; its BatchNorm sees the statistics of each batch."""
    task = _task(numbers, _config(numbers, task={"head": PROBE, "tuned": 0}))
    yield from check_trajectory("linear probing", task, steps_of(numbers), numbers, layout=LAYOUT)


def _task(numbers: Numbers, config: Config) -> Classification:
    task = build_component("tasks", config["task"], config)
    assert isinstance(task, Classification)
    task.classes = tuple(map(str, range(count_classes(numbers.weights))))  # which are otherwise those of the data
    task.build_model(fresh=True)
    import_state_dict(task.model, numbers.weights, layout=LAYOUT)
    return task


def steps_of(numbers: Mapping[str, Tensor] | Numbers) -> list[tuple[Batch, StepInputs]]:
    """The samples of each step, which are neither mixed nor erased nor masked."""
    samples = zip(numbers["input/x"], numbers["input/y"], strict=True)
    return [({"image": Sample(x, {LABEL: y})}, RowInputs(len(y), None, None, {})) for x, y in samples]


def _config(numbers: Numbers, *, task: Mapping[str, Any] | None = None) -> Config:
    """A recipe of the file's sizes. `task`: keys of the task `classify`."""
    weights = numbers.weights
    patch, channels = list(weights["patch_embed.proj.weight"].shape[2:]), weights["patch_embed.proj.weight"].shape[1]
    tokenizer = {
        "input_size": [numbers.size("img_size")] * 2,
        "patch_size": patch,
        "channels": channels,
        "mean": [0.0] * channels,  # the file's samples are normalised
        "std": [1.0] * channels,
    }
    encoder = transformer(weights, "blocks", heads=numbers.size("num_heads"))
    return load_config(
        {
            "extends": "image/mae_vit_base",
            "model": _sections({**encoder, "final_norm": "norm.weight" in weights}, tokenizer=tokenizer),
            **({"task": {"name": "classify", **task}} if task else {}),
        }
    )


def _sections(encoder: Mapping[str, Any], **image: Any) -> dict[str, Any]:
    """The section `model` with positions that are trained."""
    positions = {"name": "learned", "class_token": True}
    return {"encoder": encoder, "modalities": {"image": {"positions": positions, **image}}}
