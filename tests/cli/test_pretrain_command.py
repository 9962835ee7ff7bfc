"""`mae pretrain` as a person meets it: what it says, how it ends, what it refuses."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from failing import assert_fails


def test_pretrain_names_folder_picture_report_and_what_to_try_next(mae, tiny_recipe, tmp_path):
    code, out, err = mae("pretrain", tiny_recipe, "--out", tmp_path / "run", "train.epochs=2")
    assert code == 0, err
    for file in ("run/\n", "run/encoder.safetensors", "run/pictures/step-00000006-image.png", "run/report.html"):
        assert str(tmp_path / file.rstrip("\n")) in out
    assert re.findall(r"^  \S+ (\w+) ", out, re.M) == ["reconstruct", "config", "embed", "knn", "verify"]
    assert "loss" in err


def test_runs_are_numbered_and_never_overwritten(mae, tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert mae("pretrain", tiny_recipe, "train.epochs=2")[0] == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["tiny", "tiny-2"]
    assert_fails(mae("pretrain", tiny_recipe, "--out", "runs/tiny"), "already contains a run", "--resume", "--overwrite")
    before = (tmp_path / "runs/tiny-2/metrics.jsonl").read_text()
    code, _, err = mae("pretrain", tiny_recipe, "train.epochs=2", "--resume")
    assert code == 0, err
    assert "runs/tiny-2" in err  # the last one; it was finished, so nothing happens to it
    assert (tmp_path / "runs/tiny-2/metrics.jsonl").read_text() == before
    assert mae("pretrain", tiny_recipe, "train.epochs=3", "--out", "runs/tiny", "--overwrite")[0] == 0
    assert len((tmp_path / "runs/tiny/metrics.jsonl").read_text().splitlines()) == 9


def test_a_mistake_costs_no_old_run(mae, tiny_recipe, trained):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file() and path.name != ".lock"}
    for mistake in ("data.image.root=/nowhere", "schedule.warmup_epochs=9", "model.modalities.image.masker.ratio=0.999"):
        assert mae("pretrain", tiny_recipe, mistake, "--out", trained, "--overwrite")[0] == 1
    assert {path: path.read_bytes() for path in before} == before


def test_a_folder_that_is_no_run_is_never_touched(mae, tiny_recipe, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for option in ([], ["--overwrite"]):
        assert_fails(mae("pretrain", tiny_recipe, "--out", tmp_path, *option), "exists and is not a run's folder")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert_fails(mae("pretrain", tiny_recipe, "--out", tmp_path, "--resume"), "there is no run to resume in")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_ctrl_c_saves_and_says_how_to_go_on(tiny_recipe, tmp_path, number):
    """The other signals: tests/training/test_stops.py."""
    folder = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "mae_core.cli",
        "pretrain",
        tiny_recipe,
        "--out",
        folder,
        "train.epochs=4000",
        "train.num_workers=1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    metrics = folder / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size) and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, number)  # as terminals and schedulers do: to the workers too
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert re.search(r"interrupted after step \d+ of 12000; saved in", err)
    assert re.search(r"to continue it: .*pretrain .* --resume", err)
    assert list((folder / "checkpoints").glob("step-*.pt"))


@pytest.mark.parametrize(
    ("override", "phrases"),
    [
        ("data.image.root=null", ["data.image.root"]),
        ("data.image.root=/nowhere/photos", ["/nowhere/photos"]),
        ("model.modalities.image.tokenizer.patch_size=[7, 8]", ["not divisible by patch_size", "tokenizer", "21 or 28"]),
        ("model.modalities.image.masker.ratio=1", ["masker.ratio: 1 is not allowed", "less than 1"]),
        ("model.modalities.image.masker.ratio=-1", ["masker.ratio: -1 is not allowed", "greater than 0"]),
        ("model.modalities.image.masker.ratio=0", ["masker.ratio: 0 is not allowed", "greater than 0"]),
        ("model.modalities.image.masker.ratio=a lot", ["masker.ratio", "a lot", "number"]),
        ("model.modalities.image.masker.ratio=0.999", ["masker", "keeps none of the 12"]),
        ("model.modalities.image.masker=blok", ["unknown", "'blok'", "Did you mean 'block'"]),
        ("model.modalities.image.masker.ratoi=0.5", ["ratoi", "Did you mean 'ratio'"]),
        ("train.epochs=many", ["train.epochs", "many", "whole number"]),
        ("train.epoch=3", ["train.epoch", "Did you mean 'epochs'"]),
        ("train.epochs", ["key.path=value"]),
        ("schedule.warmup_epochs=9", ["schedule.warmup_epochs is 9, but train.epochs is 4"]),
        ("optimizer.lr=1e-3", ["give base_lr, or an absolute lr"]),
        ("model.encoder.heads=3", ["model.encoder", "width 32 is not divisible by heads 3"]),
    ],
)
def test_mistakes_in_a_recipe_are_named(mae, tiny_recipe, tmp_path, override, phrases):
    result = mae("pretrain", tiny_recipe, override, "--out", tmp_path / "run")
    assert_fails(result, *phrases)
    assert not (tmp_path / "run").exists()  # the next try may use the same folder


def test_an_unknown_recipe_is_named(mae):
    assert_fails(mae("pretrain", "image/mae_vit_bse"), "image/mae_vit_bse", "image/mae_vit_base")


def test_an_empty_folder_and_a_file_for_a_folder(mae, tiny_recipe, tmp_path):
    (tmp_path / "empty").mkdir()
    assert_fails(mae("pretrain", tiny_recipe, f"data.image.root={tmp_path / 'empty'}"), str(tmp_path / "empty"), ".jpg")
    assert_fails(mae("pretrain", tiny_recipe, f"data.image.root={tiny_recipe}"), str(tiny_recipe))


def test_a_warm_up_longer_than_the_run_names_the_key_to_change(mae, tmp_path):
    result = mae("pretrain", "demo/image", "train.epochs=1", "--out", tmp_path / "run")
    assert_fails(result, "schedule.warmup_epochs is 3", "give schedule.warmup_epochs=0 too")
