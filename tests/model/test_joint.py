"""One encoder for several modalities: batches that alternate, exact resume, a loss and a picture for each."""

import json

import pytest
from PIL import Image
from running import assert_same_bits, interrupt_at, run

from mae_core import load_config
from mae_core.cli import main
from mae_core.runs.checkpoint import load_newest
from mae_core.runs.logs import read_metrics
from mae_core.training.interrupts import Interrupted
from mae_registry import ConfigError

AUDIO = {
    "tokenizer": {"name": "spectrogram_patches", "input_size": [32, 32], "patch_size": [8, 8], "mean": -6.7, "std": 4.4},
    "positions": "sincos",
    "decoder": {"name": "vit", "width": 32, "depth": 1, "heads": 2},
}


@pytest.fixture
def recipe(photos):
    """Photographs and made-up sounds through one encoder: 15 steps of 8 in 3 epochs."""
    image = {
        "tokenizer": {"input_size": [32, 32], "patch_size": [8, 8]},
        "decoder": {"name": "vit", "width": 32, "depth": 1, "heads": 2},
    }
    return {
        "model": {
            "encoder": {"name": "vit", "width": 32, "depth": 2, "heads": 2},
            "modalities": {"image": image, "audio": AUDIO},
        },
        "data": {
            "image": {"name": "image_folder", "root": str(photos)},
            "audio": {"name": "synthetic_sounds", "count": 16},
        },
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "schedule": {"name": "cosine", "warmup_epochs": 1},
        "train": {"epochs": 3, "batch_size": 8, "num_workers": 0, "num_pictures": 1},
    }


def test_every_modality_is_trained_logged_and_drawn(recipe, tmp_path, capfd):
    folder = tmp_path / "run"
    run(load_config(recipe), folder)
    entries = read_metrics(folder / "metrics.jsonl")
    assert len(entries) == 15
    own = [[name for name in entry if name.startswith("loss/")] for entry in entries]
    assert all(len(names) == 1 for names in own)
    assert {names[0] for names in own} == {"loss/image", "loss/audio"}
    assert all(entry["loss"] == entry[names[0]] for entry, names in zip(entries, own, strict=True))
    drawn = {path.name for path in (folder / "pictures").glob("*.png")}
    assert {"step-00000015-image.png", "step-00000015-audio.png"} <= drawn
    assert json.loads((folder / "run.json").read_text())["samples"] == {"image": 24, "audio": 16}
    for modality in ("image", "audio"):
        with pytest.raises(SystemExit) as stop:
            main(["reconstruct", str(folder), "--modality", modality, "-o", str(tmp_path / f"{modality}.png")])
        assert not stop.value.code
        assert (tmp_path / f"{modality}.png").exists()
    with pytest.raises(SystemExit) as stop:
        main(["reconstruct", str(folder)])
    assert stop.value.code == 1
    assert "this model has the modalities image, audio; choose one with --modality" in capfd.readouterr().err


def test_a_joint_run_resumes_exactly(recipe, tmp_path):
    recipe["train"]["num_pictures"] = 0
    run(load_config(recipe), tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(load_config(recipe), tmp_path / "parts", on_step=interrupt_at(7))
    run(load_config(recipe, ["train.num_workers=1"]), tmp_path / "parts", resume=True)
    whole, parts = load_newest(tmp_path / "whole"), load_newest(tmp_path / "parts")
    assert whole is not None
    assert parts is not None
    assert_same_bits(whole.model, parts.model)


def test_weights_say_how_often_a_modality_comes(recipe, tmp_path):
    recipe["train"] |= {"weights": {"image": 1.0, "audio": 1e-6}, "num_pictures": 0}
    run(load_config(recipe), tmp_path / "run")
    assert not any("loss/audio" in entry for entry in read_metrics(tmp_path / "run" / "metrics.jsonl"))


def test_a_modality_without_data_is_named(recipe, tmp_path):
    del recipe["data"]["audio"]
    with pytest.raises(ConfigError, match=r"the model has the modality 'audio', but there is no data\.audio to train it on"):
        run(load_config(recipe), tmp_path / "run")


@pytest.fixture
def paired(recipe, photos, tmp_path):
    """Photographs and depth maps of the same names, masked together."""
    folder = tmp_path / "depth"
    folder.mkdir()
    for path in photos.iterdir():
        with Image.open(path) as photo:
            photo.convert("L").save(folder / f"{path.stem}.png")
    sizes = {"input_size": [32, 32], "patch_size": [8, 8]}
    recipe["model"]["masker"] = {"name": "dirichlet", "num_keep": 8}
    recipe["model"]["modalities"] = {
        name: {"tokenizer": sizes, "decoder": {"name": "cross_attention", "width": 32, "depth": 1, "heads": 2}}
        for name in ("image", "depth")
    }
    recipe["data"] = {"image": recipe["data"]["image"], "depth": {"name": "depth_folder", "root": str(folder)}}
    return recipe


def test_paired_data_goes_through_the_encoder_at_once(paired, tmp_path):
    run(load_config(paired), tmp_path / "run")
    entries = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert len(entries) == 9
    for entry in entries:
        assert entry["loss"] == pytest.approx(entry["loss/image"] + entry["loss/depth"])


def test_paired_data_must_belong_together(paired, tmp_path):
    first = sorted((tmp_path / "depth").iterdir())[0]
    first.rename(first.with_name("another.png"))
    with pytest.raises(ConfigError, match=r"but number 0 is \S+photo-00\.jpg of image, \S+another\.png of depth"):
        run(load_config(paired), tmp_path / "run")
    (tmp_path / "depth" / "another.png").unlink()
    with pytest.raises(
        ConfigError, match="each modality needs equally many samples, with one view each; found image 24, depth 23"
    ):
        run(load_config(paired), tmp_path / "run")
