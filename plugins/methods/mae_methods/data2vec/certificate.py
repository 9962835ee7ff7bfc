"""`mae verify data2vec`: this installation against the published numbers of data2vec 2.0 for images (Baevski et al. 2023)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from mae_core.evaluation.certificate import (
    check_loss,
    check_prediction,
    check_round_trip,
    heads_that_agree,
    largest_error,
    published_model,
)
from mae_core.interfaces import Check, Latent, Mask, Numbers, Published, Seen, gather_patches
from mae_core.layouts.published import import_state_dict
from mae_core.layouts.shapes import depth, transformer
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.parts.positions import SinCos
from mae_methods.data2vec.decoder import Data2VecDecoder
from mae_methods.data2vec.layouts import IMAGE, POSITIONS
from mae_methods.data2vec.published_noise import find_noise

CLASS_TOKEN = 0.01
"""The share of the class token's loss, for each context on a device."""


@dataclass(frozen=True)
class _Forward:
    """What the published numbers are compared with, but for the decoder, whose noise has to be found."""

    model: MaskedAutoencoder
    mask: Mask
    latent: Latent
    truth: Tensor
    """(B, N, D)."""

    @property
    def of_class_token(self) -> Tensor:
        """(rows, D): its squared differences."""
        truth = self.truth.mean(dim=1).repeat_interleave(self.mask.repeats, dim=0)
        return (self.latent.prefix[:, 0] - truth).square()


def certify(numbers: Published) -> Iterator[Check]:
    """One forward pass of several contexts of each sample: what the teacher makes of it, and both losses."""
    golden = numbers.read("d2v2")
    forward = _forward(golden)
    size, root = golden["sample_size"], golden["losses/cls"].shape[1] ** 0.5
    of_token = forward.of_class_token * CLASS_TOKEN * size / root
    yield check_prediction("class token: errors", of_token, golden["losses/cls"])
    detail = _give_noise(forward, golden)
    with torch.no_grad():
        out = forward.model({"image": golden["x"]}, masks={"image": forward.mask})
    found = out.pred["image"] - gather_patches(forward.truth, forward.mask.ids_predict)
    check = check_prediction("patches: errors", found.square().flatten(0, 1) / root, golden["losses/IMAGE_regression"])
    yield replace(check, detail=f"{check.detail}; {detail}")
    for name, published, part in (("patches", "IMAGE_regression", "image"), ("class token", "cls", "terms.class_token")):
        yield check_loss(f"{name}: loss", out.losses[part], golden[f"losses/{published}"].sum() / size)
    yield check_loss("loss", out.loss, golden["loss"])
    yield check_round_trip("checkpoint", forward.model, golden.weights, layout="data2vec")


def _forward(golden: Numbers) -> _Forward:
    """With the number of heads, which the file does not state, of which the class token's errors are those published."""

    def forward(heads: int) -> _Forward:
        model = _model(golden, heads)
        parts, x = model.parts("image"), golden["x"]
        mask = Mask.from_hidden(golden["mask"].bool())
        mask = replace(mask, repeats=len(mask.hidden) // len(x))
        with torch.no_grad():
            latent = model.backbone.encode({"image": x}, masks={"image": mask})
            seen = Seen("image", x, parts.tokenizer.patchify(x), {}, model.teachers.of("image"))
            return _Forward(model, mask, latent, parts.target.prepare(seen))

    def error(heads: int) -> float:
        published = golden["losses/cls"]
        found = forward(heads).of_class_token * CLASS_TOKEN * golden["sample_size"] / published.shape[1] ** 0.5
        return largest_error(found, published)

    return forward(*heads_that_agree([golden["losses/cls"].shape[1]], error))


def _model(golden: Numbers, heads: int) -> MaskedAutoencoder:
    """Position tables are compared on import too."""
    weights, context = golden.weights, f"{IMAGE}context_encoder.blocks"
    encoder, prenet_depth = transformer(weights, "blocks", heads=heads), depth(weights, context)
    first, patch = weights[f"{IMAGE}decoder.blocks.0.0.weight"], weights[f"{IMAGE}local_encoder.proj.weight"]
    image: dict[str, Any] = {
        "tokenizer": {
            "input_size": list(golden["x"].shape[2:]),
            "patch_size": list(patch.shape[2:]),
            "channels": patch.shape[1],
            "mean": [0.0] * patch.shape[1],  # the file's samples are normalised
            "std": [1.0] * patch.shape[1],
        },
        "masker": "random",  # the file has masks
        "decoder": {
            "width": first.shape[0],
            "depth": depth(weights, f"{IMAGE}decoder.blocks"),
            "kernel": first.shape[2],
            "groups": encoder["width"] // first.shape[1],
        },
        "target": {"top": encoder["depth"]},
    }
    sizes = {
        "encoder": encoder | {"depth": prenet_depth + encoder["depth"], "prenet_depth": prenet_depth},
        "modalities": {"image": image},
        "terms": {"class_token": {"scale": CLASS_TOKEN * len(golden["mask"])}},
    }
    model = published_model("methods/data2vec_vit_base", sizes, weights, layout="data2vec")
    _give_teacher(model, golden)
    return model


def _give_teacher(model: MaskedAutoencoder, golden: Numbers) -> None:
    """The file's teacher has weights of its own, and positions: fixed ones in a training, in the file they may be moved."""
    teacher, weights = model.teachers.of("image"), golden.under("teacher")
    assert teacher is not None, "the target declares a momentum"
    import_state_dict(teacher, weights | {POSITIONS: golden.weights[POSITIONS]}, layout="data2vec")
    positions = teacher.input("image").positions
    assert isinstance(positions, SinCos)
    positions.table = weights[POSITIONS][0]


def _give_noise(forward: _Forward, golden: Numbers) -> str:
    """Give the decoder the noise that the published one had. Returns where that is from."""
    decoder, ids, latent = forward.model.parts("image").decoder, forward.mask.ids_predict, forward.latent
    assert isinstance(decoder, Data2VecDecoder)
    num_patches, width = decoder.noise.shape[1:]

    def in_place(noise: Tensor) -> Tensor:
        everywhere = noise.new_zeros(len(noise), num_patches, width)
        return everywhere.scatter(1, ids.unsqueeze(-1).expand_as(noise), noise)

    def decode(noise: Tensor) -> Tensor:
        pred = functional_call(decoder, {"noise": in_place(noise)}, (latent, ids), {"extras": {}})
        assert isinstance(pred, Tensor)
        return pred

    published = golden["losses/IMAGE_regression"]
    difference = (published * published.shape[1] ** 0.5).sqrt().view(*ids.shape, -1)
    truth = gather_patches(forward.truth, ids)
    noise, seed = find_noise(decode, truth, difference, width=width, std=decoder.noise_std)
    decoder.noise = in_place(noise)
    return f"noise of torch's seed {seed}"
