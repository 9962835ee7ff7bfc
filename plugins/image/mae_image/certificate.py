"""`mae verify image`: this installation against the published numbers of MAE (He et al. 2022)."""

from collections.abc import Iterator
from typing import Any

import torch

from mae_core.evaluation.certificate import (
    check_loss,
    check_manifest,
    check_mask,
    check_prediction,
    published_model,
    published_task,
)
from mae_core.evaluation.trajectory import check_trajectory
from mae_core.interfaces import Check, Mask, Numbers, Published, Sample
from mae_core.layouts.shapes import transformer
from mae_core.tasks.pretraining import StepMasks
from mae_image.classifier_certificate import MANIFESTS, certify_checkpoints
from mae_image.classifier_certificate import certify as certify_classifiers


def certify(numbers: Published) -> Iterator[Check]:
    """One check after the other; the slow ones, at full size, last."""
    yield from _forward(numbers.read("mae"))
    yield from _training(numbers.read("mae_pretrain_trajectory"))
    yield from certify_classifiers(numbers)
    for size, name in MANIFESTS.items():
        manifest = numbers.manifest(f"mae_vit_{name}")
        yield from check_manifest(f"ViT-{size[0].upper()}", manifest, recipe=f"image/mae_vit_{size}", layout="mae")
    yield from certify_checkpoints(numbers)


def _forward(numbers: Numbers) -> Iterator[Check]:
    mask = Mask.from_noise(numbers["noise"], int((numbers["mask"][0] == 0).sum()))
    yield check_mask("forward", mask.hidden, numbers["mask"])
    model = published_model("image/mae_vit_base", _sizes(numbers), numbers.weights, layout="mae")
    with torch.no_grad():
        out = model({"image": numbers["x"]}, masks={"image": mask}, predict="all")
    yield check_prediction("forward: prediction", out.pred["image"], numbers["pred"])
    yield check_loss("forward: loss", out.loss, numbers["loss"])


def _training(numbers: Numbers) -> Iterator[Check]:
    """Some steps through the project's own grouping, schedule and training step, as `mae pretrain` takes them."""
    num_patches = numbers["input/noise"].shape[-1]
    num_keep = int(num_patches * (1 - numbers.recipe["mask_ratio"]))
    steps = [
        ({"image": Sample(x)}, StepMasks({"image": Mask.from_noise(noise, num_keep)}))
        for x, noise in zip(numbers["input/x"], numbers["input/noise"], strict=True)
    ]
    task = published_task("image/mae_vit_base", _sizes(numbers), numbers.weights, layout="mae")
    yield from check_trajectory("training", task, steps, numbers, layout="mae")


def _sizes(numbers: Numbers) -> dict[str, Any]:
    """The section `model` of the file's model."""
    weights, channels = numbers.weights, numbers.size("in_chans")
    image: dict[str, Any] = {
        "tokenizer": {
            "input_size": [numbers.size("img_size")] * 2,
            "patch_size": [numbers.size("patch_size")] * 2,
            "channels": channels,
            "mean": [0.0] * channels,  # the file's samples are normalised
            "std": [1.0] * channels,
        },
        "decoder": transformer(weights, "decoder_blocks", heads=numbers.size("decoder_num_heads")),
        "target": {"normalize": "patch" if numbers.size("norm_pix_loss") else "none"},
    }
    encoder = transformer(weights, "blocks", heads=numbers.size("num_heads"))
    return {"encoder": encoder, "modalities": {"image": image}}
