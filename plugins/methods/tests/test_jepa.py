"""I-JEPA: the certificate with the numbers that ship and with others, and what no published number covers."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import torch
from golden_files import change_one_number, checks_of, failing, random_model, write_numbers
from running import run

from mae_core import Mask, build_model, export_state_dict, import_state_dict, load_config
from mae_core.cli import main
from mae_core.interfaces import Published, Query
from mae_core.runs.backbone import load_backbone, save_backbone
from mae_core.runs.checkpoint import load_newest
from mae_core.runs.logs import read_metrics
from mae_core.testing import check_modality
from mae_core.training.preflight import build_task
from mae_methods.collapse import spread
from mae_methods.jepa.certificate import STATE_DICTS, certify
from mae_registry import ConfigError, MaeError

CERTIFICATE = "mae_methods.jepa.certificate:certify"
TOKENIZER = {"input_size": [48, 64], "patch_size": [8, 16]}
IMAGE = {"tokenizer": TOKENIZER, "decoder": {"width": 24, "depth": 2, "heads": 3}}
SECTIONS: dict[str, Any] = {"encoder": {"width": 32, "depth": 3, "heads": 2}, "modalities": {"image": IMAGE}}


def block(*first: int, length: int) -> torch.Tensor:
    """(B, length): for each sample the patches from its first on."""
    return torch.tensor(first).unsqueeze(1) + torch.arange(length)


@pytest.fixture
def one_pass(tmp_path: Path) -> Path:
    """Numbers of another size and seed, with three target blocks, of which the second overlaps with the context."""
    model = random_model("methods/jepa_vit_base", SECTIONS, seed=3)
    x, ids_keep = torch.randn(2, 3, 48, 64), block(3, 5, length=7)
    blocks = [block(12, 17, length=4), block(8, 9, length=4), block(0, 20, length=4)]
    hidden = torch.ones(2, 24, dtype=torch.bool).scatter(1, ids_keep, False)
    mask = Mask(ids_keep, hidden, tuple(Query(ids, torch.ones_like(ids, dtype=torch.bool)) for ids in blocks))
    with torch.no_grad():
        out = model({"image": x}, masks={"image": mask})
        latents = model.teachers[0].encode({"image": x}).tokens
    normalized = (latents - latents.mean(-1, keepdim=True)) / (latents.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    asked = [normalized[sample, ids[sample]] for ids in blocks for sample in range(2)]
    numbers = {"x": x, "masks_enc/0": ids_keep, "h": torch.stack(asked), "loss": out.loss}
    numbers |= {f"masks_pred/{number}": ids for number, ids in enumerate(blocks)}
    numbers["z"] = torch.cat([each.pred["image"] for each in out.sets])
    folders = {name: folder for folder, name in STATE_DICTS.items()}
    for name, tensor in export_state_dict(model, layout="jepa").items():
        state_dict, _, key = name.partition(".")
        numbers[f"{folders[state_dict]}/{key}"] = tensor
    write_numbers(tmp_path / "ijepa.safetensors", numbers, meta={"ec/num_heads": 2, "pc/num_heads": 3})
    return tmp_path


def test_the_numbers_that_ship_agree() -> None:
    checks = list(certify(Published("mae_methods")))
    assert len(checks) == 4
    assert [check.name for check in checks if not check.passed] == []


@pytest.mark.parametrize(
    ("tensor", "by", "wrong"),
    [
        ("tgt/blocks.2.mlp.fc1.weight", 0.1, ["teacher: latents", "loss"]),
        ("encoder/norm.bias", 0.1, ["predictor: latents", "loss"]),
        ("pred_sd/mask_token", 0.1, ["predictor: latents", "loss"]),
        ("z", 2e-5, ["predictor: latents"]),
        ("loss", 1e-5, ["loss"]),
    ],
)
def test_numbers_of_other_sizes_agree_until_one_is_changed(one_pass: Path, tensor: str, by: float, wrong: list[str]) -> None:
    assert failing(checks_of(CERTIFICATE, one_pass)) == []
    change_one_number(one_pass / "ijepa.safetensors", tensor, by=by)
    assert failing(checks_of(CERTIFICATE, one_pass)) == wrong


def test_weights_that_do_not_fit_are_named() -> None:
    model = random_model("methods/jepa_vit_base", SECTIONS, seed=0)
    weights = export_state_dict(model, layout="jepa")
    without = {name: tensor for name, tensor in weights.items() if name != "target_encoder.norm.bias"}
    with pytest.raises(MaeError, match=r"target_encoder\.norm\.bias"):
        import_state_dict(model, without, layout="jepa")
    moved = weights | {"predictor.predictor_pos_embed": weights["predictor.predictor_pos_embed"] + 0.1}
    with pytest.raises(MaeError, match="predictor_pos_embed"):
        import_state_dict(model, moved, layout="jepa")


def test_the_context_encoder_alone_goes_into_a_backbone() -> None:
    model, other = (random_model("methods/jepa_vit_base", SECTIONS, seed=seed) for seed in (1, 2))
    import_state_dict(other.backbone, export_state_dict(model, layout="jepa"), layout="jepa")
    x = {"image": torch.randn(1, 3, 48, 64)}
    with torch.no_grad():
        torch.testing.assert_close(other.backbone.encode(x).tokens, model.backbone.encode(x).tokens)


def test_every_prediction_counts_whether_or_not_the_context_shows_its_patch() -> None:
    model = random_model("methods/jepa_vit_base", SECTIONS, seed=0)
    (mask,) = model.draw_masks(["image"], 5, generator=torch.Generator().manual_seed(1)).values()
    assert isinstance(mask, Mask)
    assert len(mask.queries) == 4
    assert all(bool(query.counts.all()) for query in mask.queries)


@pytest.mark.parametrize(
    ("size", "grid", "backbone", "predictor_depth", "epochs"),
    [
        ("base", "h=14 w=14", 85_646_592, 6, 600),
        ("large", "h=14 w=14", 303_098_880, 12, 600),
        ("huge", "h=16 w=16", 630_434_560, 12, 300),
        ("huge_448", "h=28 w=28", 630_664_960, 12, 300),
    ],
)
def test_models_of_published_sizes(size: str, grid: str, backbone: int, predictor_depth: int, epochs: int) -> None:
    config = load_config(f"methods/jepa_vit_{size}")
    with torch.device("meta"):
        model = build_model(config)
    parts = model.parts("image")
    assert str(parts.tokenizer.grid) == grid
    assert sum(parameter.numel() for parameter in model.backbone.parameters()) == backbone
    assert sum(parameter.numel() for parameter in model.teachers.parameters()) == backbone
    assert len(parts.decoder.blocks) == predictor_depth
    assert parts.decoder.head.weight.shape == (model.backbone.encoder.width, 384)
    assert model.backbone.encoder.num_prefix_tokens == 0
    assert config["train.epochs"] == epochs


def test_weights_begin_with_a_standard_deviation_of_0_02_and_the_teacher_as_the_student() -> None:
    torch.manual_seed(0)
    model = build_model(load_config({"extends": "methods/jepa_vit_base", "model": {"encoder": {"depth": 1}}}))
    decoder = model.parts("image").decoder
    for layer in (model.backbone.encoder.blocks[0].attn.proj, model.backbone.encoder.blocks[0].mlp.fc2, decoder.embed):
        assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
        assert not bool(layer.bias.any())
    for own, other in zip(model.backbone.parameters(), model.teachers[0].parameters(), strict=True):
        assert torch.equal(own, other)


def test_the_spread_is_that_among_samples_at_one_patch() -> None:
    ids = torch.stack([torch.randperm(6)[:4] for _ in range(50)])
    of_patch, of_sample = torch.randn(6, 8), torch.randn(50, 4, 8)
    assert float(spread(of_patch[ids], ids, num_patches=6)) == pytest.approx(0, abs=1e-6)  # knows the place alone
    assert float(spread(of_patch[ids] + 0.3 * of_sample, ids, num_patches=6)) == pytest.approx(0.3, rel=0.1)
    same = torch.zeros(50, 1, dtype=torch.int64)
    expected = of_sample[:, :1].std(dim=0).mean()
    torch.testing.assert_close(spread(of_sample[:, :1], same, num_patches=6), expected)


def test_there_is_no_spread_of_one_sample() -> None:
    model = random_model("methods/jepa_vit_base", SECTIONS, seed=0)
    assert model({"image": torch.randn(1, 3, 48, 64)}).metrics == {}
    assert set(model({"image": torch.randn(2, 3, 48, 64)}).metrics) == {"target_std", "pred_std"}


def test_a_modality_with_this_target_keeps_the_contract() -> None:
    target = {"name": "jepa_latents", "momentum": [0.99, 1.0]}
    check_modality("image", {**IMAGE, "masker": {"name": "multi_block", "min_keep": 4}, "target": target})


def test_a_run_moves_the_teacher_and_raises_weight_decay_and_resumes_to_the_bit(tmp_path: Path) -> None:
    recipe = {
        "extends": "methods/jepa_vit_base",
        "model": SECTIONS | {"modalities": {"image": {**IMAGE, "masker": {"min_keep": 4}}}},
        "data": {"image": {"name": "photographs", "repeats": 3}},
        "schedule": {"warmup_epochs": 1},
        "train": {"epochs": 2, "batch_size": 10, "num_workers": 0, "checkpoint_steps": 3},
    }
    config = load_config(recipe)
    run(config, tmp_path / "run")
    checkpoint = load_newest(tmp_path / "run")
    assert checkpoint is not None
    student, teacher = (checkpoint.model[f"{of}.encoder.norm.bias"] for of in ("backbone", "teachers.0"))
    assert 0 < float(teacher.abs().max()) < float(student.abs().max())  # both began at zero
    exempt, decayed = checkpoint.training["optimizer"]["param_groups"]
    assert exempt["weight_decay"] == 0
    progress = 5 / 6
    assert decayed["weight_decay"] == pytest.approx(0.4 - 0.36 * 0.5 * (1 + math.cos(math.pi * progress)))
    metrics = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert all(0 < entry["target_std"] < 2 and entry["pred_std"] > 0 for entry in metrics)
    (tmp_path / "run" / "checkpoints" / "step-00000006.pt").unlink()
    run(config, tmp_path / "run", resume=True)
    resumed = load_newest(tmp_path / "run")
    assert resumed is not None
    assert all(torch.equal(tensor, checkpoint.model[name]) for name, tensor in resumed.model.items())


def test_commands_and_runs_take_the_teacher_of_a_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = {
        "extends": "methods/jepa_vit_base",
        "model": SECTIONS | {"modalities": {"image": {**IMAGE, "masker": {"min_keep": 4}}}},
        "data": {"image": {"name": "photographs", "repeats": 2}},
        "schedule": {"warmup_epochs": 0},
        "train": {"epochs": 1, "batch_size": 10, "num_workers": 0, "num_pictures": 0},
    }
    config, folder = load_config(recipe), tmp_path / "run"
    run(config, folder)
    teacher = load_backbone(folder, teacher=True)
    save_backbone(teacher, config, tmp_path / "teacher.safetensors")

    def embed(checkpoint: Path, *options: str) -> np.ndarray:
        photograph, output = Path(skimage.__file__).parent / "data" / "coffee.png", tmp_path / "features.npy"
        with pytest.raises(SystemExit) as stop:
            main(["embed", str(checkpoint), str(photograph), "-o", str(output), "--overwrite", *options])
        assert not stop.value.code, capfd.readouterr().err
        return np.load(output)

    assert np.array_equal(embed(folder, "--teacher"), embed(tmp_path / "teacher.safetensors"))
    assert not np.allclose(embed(folder, "--teacher"), embed(folder), atol=1e-4)
    with pytest.raises(AssertionError, match="no teacher, only the encoder"):
        embed(tmp_path / "teacher.safetensors", "--teacher")

    init = f"checkpoint: {folder}, teacher: true"
    task = build_task(load_config(recipe, [f"init={{{init}, backbone_only: true}}"]))
    task.build_model(fresh=True)
    begun: Any = task.model
    assert all(torch.equal(tensor, begun.backbone.state_dict()[name]) for name, tensor in teacher.state_dict().items())
    with pytest.raises(ConfigError, match=r"init\.backbone_only=true"):
        build_task(load_config(recipe, [f"init={{{init}}}"])).build_model(fresh=True)
