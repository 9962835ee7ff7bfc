"""The certificates of MAE and MultiMAE, with the numbers that ship and with others."""

from pathlib import Path

import pytest
import torch
from golden_files import change_one_number, checks_of, failing, random_model, weights_of, write_numbers

from mae_core import export_state_dict, load_config
from mae_core.evaluation.trajectory import Trajectory
from mae_core.interfaces import Mask, Published, Sample
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.output import Output
from mae_core.tasks.pretraining import Pretraining, StepMasks
from mae_image.certificate import certify
from mae_image.multimae import TASKS
from mae_image.multimae_certificate import as_maps, predictions_of
from mae_image.multimae_certificate import certify as certify_multimae

CERTIFICATE, MULTIMAE = "mae_image.certificate:certify", "mae_image.multimae_certificate:certify"
SIZES = {
    "img_size": 40,
    "patch_size": 8,
    "in_chans": 2,
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 6,
    "decoder_embed_dim": 16,
    "decoder_depth": 1,
    "decoder_num_heads": 2,
    "mlp_ratio": 2,
    "norm_pix_loss": False,
}
RECIPE = {
    "mask_ratio": 0.6,
    "batch": 4,
    "steps_per_epoch": 2,
    "lr": 3e-3,
    "min_lr": 1e-4,
    "warmup_epochs": 1,
    "epochs": 3,
    "weight_decay": 0.2,
    "betas": [0.8, 0.9],
    "optimizer": "AdamW",
}


def model_of_other_sizes(seed: int) -> MaskedAutoencoder:
    image = {
        "tokenizer": {"input_size": [40, 40], "patch_size": [8, 8], "channels": 2, "mean": [0, 0], "std": [1, 1]},
        "decoder": {"width": 16, "depth": 1, "heads": 2, "mlp_ratio": 2},
        "target": {"normalize": "none"},
    }
    encoder = {"width": 24, "depth": 3, "heads": 6, "mlp_ratio": 2}
    return random_model("image/mae_vit_base", {"encoder": encoder, "modalities": {"image": image}}, seed=seed)


@pytest.fixture
def forward_pass(tmp_path: Path) -> Path:
    """Numbers of one forward pass."""
    model = model_of_other_sizes(seed=3)
    x, noise = torch.randn(3, 2, 40, 40), torch.rand(3, 25)
    mask = Mask.from_noise(noise, 7)
    with torch.no_grad():
        out = model({"image": x}, masks={"image": mask}, predict="all")
    numbers = {"x": x, "noise": noise, "mask": mask.hidden.float(), "pred": out.pred["image"], "loss": out.loss}
    sizes = {f"cfg/{name}": value for name, value in SIZES.items()}
    write_numbers(tmp_path / "mae.safetensors", numbers | weights_of(model, "mae"), meta=sizes)
    return tmp_path


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """Numbers of five steps of training."""
    model = model_of_other_sizes(seed=4)
    numbers = weights_of(model, "mae")
    task = Pretraining(load_config("image/mae_vit_base"))
    task.model = model
    trajectory = Trajectory(task, RECIPE)
    x, noise = torch.randn(5, 4, 2, 40, 40), torch.rand(5, 4, 25)
    for inputs, drawn in zip(x, noise, strict=True):
        trajectory.step({"image": Sample(inputs)}, StepMasks({"image": Mask.from_noise(drawn, 10)}))
    gradients = export_state_dict(model, layout="mae", tensors=trajectory.first_gradients)
    numbers |= {f"grad_step0/{name}": grad for name, grad in gradients.items() if not name.endswith("pos_embed")}
    numbers |= weights_of(model, "mae", folder="final_state_dict") | {"input/x": x, "input/noise": noise}
    numbers["output/losses"] = torch.tensor(trajectory.losses, dtype=torch.float64)
    numbers["output/lrs"] = torch.tensor(trajectory.rates, dtype=torch.float64)
    write_numbers(tmp_path / "mae_pretrain_trajectory.safetensors", numbers, config=SIZES, recipe=RECIPE)
    return tmp_path


def test_the_numbers_that_ship_agree() -> None:
    checks = list(certify(Published("mae_image")))
    assert len(checks) == 34
    assert [check.name for check in checks if not check.passed] == []


def test_the_numbers_of_three_tasks_that_ship_agree() -> None:
    checks = list(certify_multimae(Published("mae_image")))
    assert len(checks) == 8
    assert [check.name for check in checks if not check.passed] == []


def test_a_forward_pass_of_other_sizes_agrees_until_one_number_is_changed(forward_pass: Path) -> None:
    assert failing(checks_of(CERTIFICATE, forward_pass)) == []
    change_one_number(forward_pass / "mae.safetensors", "pred", by=2e-5)
    assert failing(checks_of(CERTIFICATE, forward_pass)) == ["forward: prediction"]
    change_one_number(forward_pass / "mae.safetensors", "state_dict/blocks.2.mlp.fc1.weight", by=5)
    assert failing(checks_of(CERTIFICATE, forward_pass)) == ["forward: prediction", "forward: loss"]


@pytest.mark.parametrize(
    ("tensor", "by", "check"),
    [
        ("grad_step0/mask_token", 1e-5, "training: gradients of step 1"),
        ("output/losses", 1e-4, "training: losses"),
        ("output/lrs", 1e-9, "training: learning rates"),
        ("final_state_dict/norm.bias", 1e-4, "training: final weights"),
    ],
)
def test_a_training_of_other_sizes_agrees_until_one_number_is_changed(
    training: Path, tensor: str, by: float, check: str
) -> None:
    assert failing(checks_of(CERTIFICATE, training)) == []
    change_one_number(training / "mae_pretrain_trajectory.safetensors", tensor, by=by)
    assert failing(checks_of(CERTIFICATE, training)) == [check]


@pytest.fixture
def three_tasks(tmp_path: Path) -> Path:
    """Numbers of MultiMAE. Like the published file, this one states no sizes."""
    tokenizer, decoder = {"input_size": [48, 48], "patch_size": [12, 12]}, {"width": 12, "depth": 1, "heads": 3}
    image, depth = {"tokenizer": tokenizer, "decoder": decoder}, {"tokenizer": tokenizer, "decoder": decoder}
    labels = {"tokenizer": {**tokenizer, "stride": 3, "num_classes": 5, "class_width": 4}, "decoder": decoder}
    encoder = {"width": 16, "depth": 3, "heads": 2}
    modalities = {"image": image, "depth": depth, "semseg": labels}
    sections = {"encoder": encoder, "masker": {"num_keep": 14}, "modalities": modalities}
    model = random_model("image/multimae_base", sections, seed=5)
    x = {"image": torch.randn(2, 3, 48, 48), "depth": torch.randn(2, 1, 48, 48), "semseg": torch.randint(5, (2, 16, 16))}
    hidden = torch.rand(2, 48).argsort(1) >= 14
    masks = {name: Mask.from_hidden(part, ragged=True) for name, part in zip(TASKS, hidden.chunk(3, dim=1), strict=True)}
    with torch.no_grad():
        out = model(x, masks=masks, predict="all")
    plain = _loss_of_pixels(out, model.backbone.patchify(x).patches["image"])
    shapes = {"rgb": (3, 48, 48), "norm_rgb": (3, 48, 48), "depth": (1, 48, 48), "semseg": (5, 16, 16)}
    numbers = {
        f"preds/{task}": as_maps(pred, torch.empty(2, *shapes[task])) for task, pred in predictions_of(out, channels=3).items()
    }
    for entry, task in TASKS.items():
        numbers |= {f"x/{task}": x[entry], f"masks/{task}": masks[entry].hidden.long(), f"losses/{task}": out.losses[entry]}
    numbers |= {"losses/rgb": plain, "losses/norm_rgb": out.losses["image"] - plain, "loss": out.loss}
    write_numbers(tmp_path / "multimae.safetensors", numbers | weights_of(model, "multimae"), meta={})
    return tmp_path


def _loss_of_pixels(out: Output, patches: torch.Tensor) -> torch.Tensor:
    """The share of the loss of photographs that the first of their two decoders has: the mean of the samples' means."""
    hidden = out.mask["image"].hidden
    errors = (out.pred["image"].chunk(2, dim=-1)[0] - patches).square().mean(-1)
    return ((errors * hidden).sum(1) / hidden.sum(1)).mean()


def test_three_tasks_of_other_sizes_agree_until_one_number_is_changed(three_tasks: Path) -> None:
    assert failing(checks_of(MULTIMAE, three_tasks)) == []
    change_one_number(three_tasks / "multimae.safetensors", "preds/semseg", by=2e-5)
    assert failing(checks_of(MULTIMAE, three_tasks)) == ["forward: semseg"]
    change_one_number(three_tasks / "multimae.safetensors", "losses/norm_rgb", by=1e-3)
    assert failing(checks_of(MULTIMAE, three_tasks)) == ["forward: semseg", "forward: loss of rgb and norm_rgb"]
