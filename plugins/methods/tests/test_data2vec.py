"""data2vec 2.0: the certificate with the numbers that ship and with others, and what no published number covers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_files import change_one_number, checks_of, failing, random_model, weights_of, write_numbers
from running import run
from torch import Tensor

from mae_core import Mask, build_model, export_state_dict, import_state_dict, load_config
from mae_core.interfaces import Published, gather_patches
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.runs.checkpoint import load_newest
from mae_core.runs.logs import read_metrics
from mae_core.testing import check_decoder, check_encoder, check_modality
from mae_methods.data2vec.certificate import certify
from mae_registry import MaeError

CERTIFICATE = "mae_methods.data2vec.certificate:certify"
BASE = "methods/data2vec_vit_base"
FILE = "d2v2.safetensors"
TOKENIZER = {"name": "image_patches", "input_size": [40, 48], "patch_size": [8, 8]}
DECODER = {"name": "data2vec", "width": 40, "depth": 2, "kernel": 5, "groups": 8}
TARGET = {"name": "data2vec_layers", "top": 2}
REPEATS = 3
MASKER = {"repeat": {"name": "inverse_block", "ratio": 0.7, "size": 2}, "times": REPEATS}
IMAGE = {"tokenizer": TOKENIZER, "decoder": DECODER, "target": TARGET, "masker": MASKER}
SECTIONS: dict[str, Any] = {
    "encoder": {"width": 24, "depth": 5, "heads": 3, "prenet_depth": 3},
    "modalities": {"image": IMAGE},
}


def a_model(*, seed: int = 0) -> MaskedAutoencoder:
    return random_model(BASE, SECTIONS, seed=seed)


def masks_of(model: MaskedAutoencoder, num_samples: int) -> Mask:
    (mask,) = model.draw_masks(["image"], num_samples, generator=torch.Generator().manual_seed(1)).values()
    assert isinstance(mask, Mask)
    return mask


def give_noise(model: MaskedAutoencoder, mask: Mask, *, seed: int) -> None:
    """A draw whose parts belong to the hidden patches in any order."""
    rows, num_hidden = mask.ids_predict.shape
    drawn = 0.01 * torch.randn(rows, num_hidden, 24, generator=torch.Generator().manual_seed(seed))
    shuffled = mask.ids_predict.gather(1, torch.rand(rows, num_hidden).argsort(dim=1))
    decoder = model.parts("image").decoder
    decoder.noise = torch.zeros(rows, mask.hidden.shape[1], 24).scatter(1, shuffled.unsqueeze(-1).expand_as(drawn), drawn)


def truth_by_hand(model: MaskedAutoencoder, x: Tensor) -> Tensor:
    """(B, N, D): the mean of the last two layers, each normalised over the patches, and then each patch over its values."""
    latent = model.teachers[0].encode({"image": x}, layers=[4, 5])
    layers = [latent.layers[layer][:, 1:] for layer in (4, 5)]
    over_patches = [(y - y.mean(1, keepdim=True)) / (y.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt() for y in layers]
    mean = (over_patches[0] + over_patches[1]) / 2
    return (mean - mean.mean(-1, keepdim=True)) / (mean.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()


@pytest.fixture
def one_pass(tmp_path: Path) -> Path:
    """Numbers of another size, seed and number of contexts, whose noise is of another seed and order."""
    model = a_model(seed=3)
    x, mask = torch.randn(2, 3, 40, 48), masks_of(model, 2)
    give_noise(model, mask, seed=17)
    with torch.no_grad():
        out = model({"image": x}, masks={"image": mask})
        token = model.backbone.encode({"image": x}, masks={"image": mask}).prefix[:, 0]
        truth = truth_by_hand(model, x)
    size, root = mask.hidden.sum(), 24**0.5
    patches = (out.pred["image"] - gather_patches(truth, mask.ids_predict)).square() / root
    of_token = 0.01 * size * (token - truth.mean(dim=1).repeat_interleave(REPEATS, dim=0)).square() / root
    teacher = weights_of(model.teachers[0], "data2vec", folder="teacher")
    numbers = {"x": x, "mask": mask.hidden.float(), "sample_size": size, "losses/cls": of_token}
    numbers |= {"losses/IMAGE_regression": patches.flatten(0, 1), "loss": (patches.sum() + of_token.sum()) / size}
    write_numbers(tmp_path / FILE, numbers | teacher | weights_of(model, "data2vec"))
    return tmp_path


def test_the_numbers_that_ship_agree() -> None:
    checks = list(certify(Published("mae_methods")))
    assert len(checks) == 6
    assert [check.name for check in checks if not check.passed] == []


def test_numbers_of_other_sizes_agree_and_their_noise_is_found(one_pass: Path) -> None:
    checks = checks_of(CERTIFICATE, one_pass)
    assert failing(checks) == []
    assert "seed 17" in checks["patches: errors"].detail


PATCHES = ["patches: errors", "patches: loss", "loss"]
CLASS_TOKEN = ["class token: errors", "class token: loss"]


@pytest.mark.parametrize(
    ("tensor", "by", "wrong"),
    [
        ("state_dict/modality_encoders.IMAGE.decoder.proj.bias", 0.1, PATCHES),
        ("state_dict/modality_encoders.IMAGE.decoder.blocks.1.0.weight", 0.1, PATCHES),
        ("state_dict/modality_encoders.IMAGE.extra_tokens", 0.1, [*CLASS_TOKEN, *PATCHES]),
        ("teacher/blocks.1.mlp.fc1.weight", 0.1, [*CLASS_TOKEN, *PATCHES]),
        ("losses/cls", 2e-5, CLASS_TOKEN[:1]),
        ("loss", 1e-3, ["loss"]),
    ],
)
def test_a_changed_number_is_found(one_pass: Path, tensor: str, by: float, wrong: list[str]) -> None:
    change_one_number(one_pass / FILE, tensor, by=by)
    assert set(failing(checks_of(CERTIFICATE, one_pass))) == set(wrong)


def test_weights_that_do_not_fit_are_named() -> None:
    model = a_model()
    weights = export_state_dict(model, layout="data2vec")
    without = {name: tensor for name, tensor in weights.items() if name != "blocks.1.norm2.bias"}
    with pytest.raises(MaeError, match=r"blocks\.1\.norm2\.bias"):
        import_state_dict(model, without, layout="data2vec")


def test_the_encoder_keeps_the_contract() -> None:
    check_encoder({"name": "data2vec", **SECTIONS["encoder"]}, tokenizer=TOKENIZER)


def test_blocks_are_counted_through_the_prenet() -> None:
    encoder = a_model().backbone.encoder
    layers = {name: encoder.layer_of(name) for name, _ in encoder.named_parameters()}
    assert encoder.num_blocks == 5
    assert None not in layers.values()
    assert {name for name, layer in layers.items() if layer == 0} == {"extra_token", "norm.weight", "norm.bias"}
    assert (layers["prenet.2.norm1.weight"], layers["blocks.0.norm1.weight"]) == (3, 4)


def test_the_decoder_keeps_the_contract() -> None:
    check_decoder({**DECODER, "width": 16}, tokenizer=TOKENIZER)


def test_a_modality_with_this_target_and_decoder_keeps_the_contract() -> None:
    check_modality("image", {**IMAGE, "target": {"name": "data2vec_layers", "top": 1}})


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ("model.encoder.prenet_depth=5", r"model\.encoder .*prenet_depth is 5"),
        ("model.modalities.image.target.top=6", r"image\.target .*top is 6.* 5 layers"),
        ("model.modalities.image.decoder.groups=7", r"image\.decoder .*groups is 7.* 24"),
        ("model.modalities.image.decoder.kernel=4", r"image\.decoder .*kernel is 4"),
    ],
)
def test_sizes_that_do_not_fit_are_named(wrong: str, found: str) -> None:
    with pytest.raises(MaeError, match=found):
        build_model(load_config({"extends": BASE, "model": SECTIONS}, overrides=[wrong]))


def test_the_teacher_sees_each_sample_once_for_all_its_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = a_model(), []
    encode = model.teachers[0].encode
    monkeypatch.setattr(model.teachers[0], "encode", lambda samples, **kw: seen.append(samples) or encode(samples, **kw))
    out = model({"image": torch.randn(2, 3, 40, 48)}, masks={"image": masks_of(model, 2)})
    (only,) = seen
    assert len(only["image"].x) == 2
    assert len(out.pred["image"]) == 2 * REPEATS


def test_what_is_predicted_is_normalised_over_patches_and_then_over_values() -> None:
    model, x = a_model(), torch.randn(2, 3, 40, 48)
    mask = masks_of(model, 2)
    give_noise(model, mask, seed=0)
    with torch.no_grad():
        out = model({"image": x}, masks={"image": mask})
        truth = gather_patches(truth_by_hand(model, x), mask.ids_predict)
    expected = (out.pred["image"] - truth).square().sum() / 24**0.5 / mask.hidden.sum()
    torch.testing.assert_close(out.losses["image"], expected)


def test_layers_are_what_mlps_give_before_it_is_added() -> None:
    model, x = a_model(), torch.randn(2, 3, 40, 48)
    with torch.no_grad():
        latent = model.backbone.encode({"image": x}, layers=[0, 5])
        encoder, y = model.backbone.encoder, None
        y = latent.layers[0]
        for block in (*encoder.prenet, *encoder.blocks):
            y = block.norm1(y + block.attn(y))
            of_mlp = block.mlp(y)
            y = block.norm2(y + of_mlp)
    torch.testing.assert_close(latent.x, y)
    torch.testing.assert_close(latent.layers[5], of_mlp)


def test_the_class_tokens_loss_is_the_same_however_the_batch_is_cut() -> None:
    model, x = a_model(), torch.randn(4, 3, 40, 48)
    mask = masks_of(model, 4)
    weights = model.weigh({"image": mask})

    def loss(rows: slice) -> Tensor:
        return model({"image": x[rows]}, masks={"image": mask[rows]}, weights=weights).losses["terms.class_token"]

    with torch.no_grad():
        torch.testing.assert_close(loss(slice(0, 1)) + loss(slice(1, 4)), loss(slice(0, 4)))


def test_noise_is_drawn_anew_in_training_and_is_the_same_in_evaluation() -> None:
    model = a_model()
    decoder = model.parts("image").decoder
    tokens = torch.zeros(2, 5, 24)
    assert torch.equal(decoder.eval()._noise(tokens), decoder._noise(tokens))
    first, second = decoder.train()._noise(tokens), decoder._noise(tokens)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert float(first.std()) == pytest.approx(0.01, rel=0.1)
    assert "noise" not in {name.rpartition(".")[2] for name in model.state_dict()}


def test_hidden_patches_do_not_reach_the_prediction() -> None:
    model, x = a_model(), torch.randn(1, 3, 40, 48)
    mask = replace(Mask.from_hidden(torch.arange(30).unsqueeze(0) >= 12), repeats=1)
    changed = x.clone()
    changed[:, :, 16:] += 1  # 6 patches a row: all from the third row on are hidden
    with torch.no_grad():
        preds = [model({"image": each}, masks={"image": mask}).pred["image"] for each in (x, changed)]
    torch.testing.assert_close(*preds)


@pytest.mark.parametrize(
    ("size", "backbone", "width", "num_keep", "layers"),
    [("base", 85_647_360, 768, 39, range(3, 13)), ("large", 303_099_904, 1024, 49, range(3, 25))],
)
def test_models_of_published_sizes(size: str, backbone: int, width: int, num_keep: int, layers: range) -> None:
    with torch.device("meta"):
        model = build_model(load_config(f"methods/data2vec_vit_{size}"))
    parts = model.parts("image")
    assert sum(parameter.numel() for parameter in model.backbone.parameters()) == backbone
    assert sum(parameter.numel() for parameter in model.teachers.parameters()) == backbone
    assert [block[0].weight.shape for block in parts.decoder.blocks] == [(width, width // 16, 3, 3)] * 6
    assert parts.target.layers == layers
    mask = masks_of(model, 1)
    assert (mask.num_keep, mask.repeats, len(mask.hidden)) == (num_keep, 16, 16)


def test_the_teacher_moves_ever_less_for_100_000_steps() -> None:
    with torch.device("meta"):
        momentum = build_model(load_config(BASE)).parts("image").target.momentum
    assert [momentum.at(step, 375_300) for step in (0, 50_000, 100_000, 300_000)] == pytest.approx(
        [0.9998, 0.999895, 0.99999, 0.99999], abs=1e-12
    )


def test_the_extra_token_begins_with_a_standard_deviation_of_1() -> None:
    torch.manual_seed(0)
    model = build_model(
        load_config({"extends": BASE, "model": {"encoder": {"depth": 3}, "modalities": {"image": {"target": {"top": 1}}}}})
    )
    assert float(model.backbone.encoder.extra_token.detach().std()) == pytest.approx(1, rel=0.1)


def test_a_run_moves_the_teacher_and_resumes_to_the_bit(tmp_path: Path) -> None:
    config = load_config(
        {
            "extends": BASE,
            "model": SECTIONS,
            "data": {"image": {"name": "photographs", "repeats": 2}},
            "schedule": {"warmup_epochs": 1},
            "train": {"epochs": 2, "batch_size": 4, "device_batch_size": 2, "num_workers": 0, "checkpoint_steps": 3},
        }
    )
    run(config, tmp_path / "run")
    checkpoint = load_newest(tmp_path / "run")
    assert checkpoint is not None
    student, teacher = (checkpoint.model[f"{of}.encoder.norm.bias"] for of in ("backbone", "teachers.0"))
    assert 0 < float(teacher.abs().max()) < float(student.abs().max())  # both began at zero
    metrics = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert all(0 < entry["target_std"] < 2 and entry["pred_std"] > 0 for entry in metrics)
    newest = max((tmp_path / "run" / "checkpoints").glob("step-*.pt"))
    newest.unlink()
    run(config, tmp_path / "run", resume=True)
    resumed = load_newest(tmp_path / "run")
    assert resumed is not None
    assert all(torch.equal(tensor, checkpoint.model[name]) for name, tensor in resumed.model.items())
