"""`mae finetune`, `mae probe` and the comparison of `mae report`, as a person meets them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from ranks import on_ranks
from running import assert_same_bits
from small_recipes import train_tiny

import mae_core.runs.results as results_module
from mae_core import load_config
from mae_core.cli import main
from mae_core.runs.checkpoint import load_newest
from mae_core.runs.results import read_results
from mae_core.training import launch
from mae_core.training.launch import Place
from mae_core.training.run import rehearse
from mae_registry import ConfigError

SHORT = ("train.batch_size=4", "train.epochs=2", "schedule.warmup_epochs=0", "train.num_workers=0")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A folder of 8 red and 8 blue pictures to train on, and 4 of each held out."""
    folder = tmp_path_factory.mktemp("labelled")
    random = np.random.default_rng(0)
    for split, number in (("train", 8), ("val", 4)):
        for name, colour in (("red", (220, 30, 30)), ("blue", (30, 30, 220))):
            (folder / split / name).mkdir(parents=True)
            for index in range(number):
                pixels = np.array(colour) + random.normal(0, 20, (40, 48, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / split / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, labelled):
    """A finished run of pre-training, made once."""
    return train_tiny(tmp_path_factory.mktemp("pretrained"), labelled / "train", "train.batch_size=16")


def assert_fails(result, *phrases):
    code, _, err = result
    assert code == 1
    for phrase in phrases:
        assert phrase in err
    assert "Traceback" not in err


def weights(folder):
    checkpoint = load_newest(folder)
    assert checkpoint is not None
    return checkpoint.model


@pytest.mark.parametrize("command", ["pretrain", "finetune", "probe"])
def test_a_dry_run_says_what_would_begin_and_writes_nothing(mae, pretrained, labelled, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    recipe = [pretrained / "config.yaml"] if command == "pretrain" else [pretrained, labelled]
    code, out, err = mae(command, *recipe, *SHORT, "--device", "cpu", "--dry-run")
    assert code == 0, err
    assert "16 samples" in out
    assert "CPU" in out
    assert "8 of 4 samples" in out  # steps
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_finds_what_a_run_would_find(mae, pretrained, labelled, tmp_path):
    assert_fails(mae("finetune", pretrained, labelled, "train.batch_size=64", "--dry-run"), "train.batch_size=64")
    assert_fails(mae("pretrain", pretrained / "config.yaml", "--out", pretrained, "--dry-run"), "--overwrite")
    code, _, err = mae("pretrain", pretrained / "config.yaml", "--out", pretrained, "--dry-run", "--resume")
    assert (code, "--dry-run" in err) == (2, True)


def test_a_dry_run_counts_the_devices_of_the_run(mae, pretrained, tmp_path, monkeypatch):
    typed = ["pretrain", pretrained / "config.yaml", "--device", "cpu", "--dry-run", "train.batch_size=16"]
    code, out, err = mae(*typed, "train.devices=3")
    assert code == 0, err
    assert "3 x CPU" in out
    assert "1 of 16 samples, 6 at once on each device" in out  # the first device takes 6 of the 16
    assert "4 x CPU" in mae(*typed, "train.devices=2", "train.nodes=2")[1]
    assert_fails(mae(*typed, "train.devices=17"), "train.batch_size=16", "17 devices")
    assert_fails(mae(*typed, "train.devices=2", "train.strategy=fsdp", "train.precision=16-mixed"), "train.precision=16-mixed")
    with monkeypatch.context() as patch:
        patch.setattr("mae_core.training.run.Trainer", Mock(side_effect=torch.OutOfMemoryError))
        assert_fails(mae(*typed), "--device cpu")
    monkeypatch.setattr(launch, "place", lambda: Place(0, 2, 2, by="torchrun"))
    monkeypatch.setattr("mae_core.training.run.place", launch.place)
    assert_fails(mae(*typed), "without torchrun")


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["train.strategy=fsdp"], "train.device_batch_size: with train.strategy=fsdp"),
        (["train.devices=9"], "train.devices=9, but this machine has 8"),
    ],
)
def test_a_dry_run_finds_what_a_run_on_gpus_would_find(tiny_recipe, tmp_path, monkeypatch, overrides, problem):
    """This machine may have none, and is not asked to do anything with one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    with pytest.raises(ConfigError, match=problem):
        rehearse(load_config(tiny_recipe, [*overrides, "train.batch_size=8"]), tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("command", ["pretrain", "knn", "embed"])
def test_a_device_that_is_not_there_is_refused(mae, pretrained, labelled, tmp_path, command):
    words = {"pretrain": [pretrained / "config.yaml"], "knn": [pretrained, labelled], "embed": [pretrained, labelled]}[command]
    out = ["--output", tmp_path / "a.npy"] if command == "embed" else ["--out", tmp_path / "run"]
    assert_fails(mae(command, *words, *out, "--device", "cuda"), "no GPU")
    assert list(tmp_path.iterdir()) == []


def test_finetune_from_a_run_to_a_table(mae, pretrained, labelled, tmp_path):
    folder = tmp_path / "tuned"
    code, out, err = mae("finetune", pretrained, labelled, *SHORT, "train.epochs=10", "optimizer.base_lr=0.1", "--out", folder)
    assert code == 0, err
    results = read_results(folder)
    assert results is not None
    assert results.metrics["accuracy"] == [1.0]
    assert (results.protocol, results.recipe) == ("fine-tuning", "image/finetune_base")
    assert results.deviations
    assert "train.batch_size: published 1024, here 4" in results.deviations
    for shown in ("100.00%", "results.json", "report.html", f"probe {pretrained} {labelled}", f"report {folder} {pretrained}"):
        assert shown in out
    assert "accuracy 100.00%" in (folder / "report.html").read_text()
    # what is there is not lost, and the checkpoint of a fine-tuned model can be tuned again
    assert_fails(mae("finetune", pretrained, labelled, *SHORT, "--out", folder), "already contains a run")
    assert mae("finetune", folder, labelled, *SHORT, "--out", tmp_path / "again")[0] == 0
    assert mae("finetune", folder, labelled, *SHORT, "--out", tmp_path / "again", "--overwrite")[0] == 0


def test_probe_leaves_the_encoder_alone(mae, pretrained, labelled, tmp_path):
    code, _, err = mae("probe", pretrained / "encoder.safetensors", labelled, *SHORT, "--out", tmp_path / "probe")
    assert code == 0, err
    before, after = weights(pretrained), weights(tmp_path / "probe")
    assert_same_bits(
        {name: tensor for name, tensor in before.items() if name.startswith("backbone.")},
        {name: tensor for name, tensor in after.items() if name.startswith("backbone.")},
    )
    results = read_results(tmp_path / "probe")
    assert results is not None
    assert results.protocol == "linear probe"


def start(*arguments):
    command = [sys.executable, "-m", "mae_core.cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_and_resume_end_with_the_same_weights_and_results(mae, pretrained, labelled, tmp_path):
    data = tmp_path / "data"  # in one piece, so that a split is made and recorded
    shutil.copytree(labelled / "train", data)
    typed = ["finetune", pretrained, data, *SHORT, "train.epochs=40", "train.num_validations=1"]
    process = start(*typed, "--out", tmp_path / "parts")
    while not (tmp_path / "parts/metrics.jsonl").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    said = process.communicate()[1]
    again = next(line for line in said.splitlines() if line.startswith("to continue it:")).split()
    assert [str(word) for word in typed[:3]] == again[again.index("finetune") :][:3]
    assert again[-3:] == ["--out", str(tmp_path / "parts"), "--resume"]
    split = (tmp_path / "parts/split.csv").read_text()

    os.rename(pretrained, pretrained.with_name("moved"))  # the checkpoint is not needed any more
    try:
        assert_fails(mae(*typed, "train.epochs=3", "--out", tmp_path / "parts", "--resume"), "train.epochs: 40 in the")
        code, _, err = mae(*typed, "--out", tmp_path / "parts", "--resume")
        assert code == 0, err
    finally:
        os.rename(pretrained.with_name("moved"), pretrained)
    assert (tmp_path / "parts/split.csv").read_text() == split
    assert mae(*typed, "--out", tmp_path / "whole")[0] == 0
    assert_same_bits(weights(tmp_path / "parts"), weights(tmp_path / "whole"))
    card = (tmp_path / "whole/encoder.md").read_text()
    assert "`classify`" in card
    assert str(tmp_path) not in card  # where the data lay is nobody else's business
    parts, whole = read_results(tmp_path / "parts"), read_results(tmp_path / "whole")
    assert parts is not None
    assert whole is not None
    assert (parts.metrics, parts.deviations, parts.recipe) == (whole.metrics, whole.deviations, whole.recipe)
    other = tmp_path / "other"
    assert_fails(mae("finetune", other, data, "--out", tmp_path / "parts", "--resume"), "began with", str(pretrained))
    os.rename(tmp_path / "parts", tmp_path / "elsewhere")  # with the split that the recipe names by its path
    code, _, err = mae(*typed, "--out", tmp_path / "elsewhere", "--resume")
    assert code == 0, err
    assert_fails(mae(*typed, "data.image.labels=folders", "--out", tmp_path / "elsewhere", "--resume"), "labels")


def test_several_seeds_are_joined_and_the_finished_ones_are_not_run_again(mae, pretrained, labelled, tmp_path):
    typed = ["probe", pretrained, labelled, *SHORT, "--seeds", 2, "--out", tmp_path / "seeds"]
    assert mae(*typed)[0] == 0
    results = read_results(tmp_path / "seeds")
    assert results is not None
    assert results.seeds == [0, 1]
    assert len(results.metrics["accuracy"]) == 2
    assert (tmp_path / "seeds/report.html").is_file()
    first = (tmp_path / "seeds/seed-0/results.json").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "seeds/seed-1")
    code, out, err = mae(*typed, "--resume")
    assert code == 0, err
    assert "±" in out
    assert (tmp_path / "seeds/seed-0/results.json").stat().st_mtime_ns == first
    assert read_results(tmp_path / "seeds") is not None


def test_several_seeds_on_two_devices(pretrained, labelled, tmp_path, monkeypatch):
    """No device goes on to the next seed before the first one has written what the last one found."""
    write = results_module.save_results

    def write_late(folder, results):
        time.sleep(0.5)
        write(folder, results)

    def probe():
        with pytest.raises(SystemExit) as stop:
            main(
                [
                    *map(
                        str,
                        ("probe", pretrained, labelled, *SHORT, "train.epochs=1", "--seeds", 2, "--out", tmp_path / "seeds"),
                    )
                ]
            )
        return stop.value.code

    monkeypatch.setattr(results_module, "save_results", write_late)
    assert on_ranks(2, probe) == [0, 0]
    results = read_results(tmp_path / "seeds")
    assert results is not None
    assert results.seeds == [0, 1]


def test_report_compares_runs(mae, pretrained, labelled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        mae("probe", pretrained, labelled, *SHORT, f"train.seed={seed}", "--out", tmp_path / f"probe-{seed}")
    runs = [pretrained, tmp_path / "probe-0", tmp_path / "probe-1"]
    code, out, err = mae("report", *runs)
    assert code == 0, err
    assert "probe-0" in out
    assert (tmp_path / "comparison.html").is_file()
    told = json.loads(mae("report", *runs, "--json", "-o", "other.html")[1])
    assert [len(group["runs"]) for group in told["groups"]] == [1, 2]
    assert (told["groups"][1]["seeds"], len(told["groups"][1]["metrics"]["accuracy"]["values"])) == ([0, 1], 2)
    assert told["page"] == "other.html"
    assert_fails(mae("report", pretrained, tmp_path), "is not the folder of a run")


# ---- what is wrong is said before anything is trained


def test_a_wrong_checkpoint_data_or_recipe_leaves_nothing_behind(mae, pretrained, labelled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_fails(mae("finetune", tmp_path / "nowhere", labelled), "nowhere")
    assert_fails(mae("finetune", pretrained, tmp_path / "nothing"), "nothing does not exist", "train/")
    assert_fails(mae("finetune", pretrained, labelled, "--recipe", "image/finetune_bas"), "Did you mean 'image/finetune_base'")
    assert_fails(mae("finetune", pretrained, labelled, "train.epoch=3"), "train.epoch: unknown")
    assert_fails(mae("finetune", pretrained, labelled), "16 samples an epoch do not fill one batch", "train.batch_size=2")
    assert_fails(mae("finetune", pretrained, labelled / "train", "train.batch_size=1024"), "train.batch_size=1")
    assert_fails(mae("finetune", pretrained, labelled, *SHORT, "--modality", "sound"), "no modality 'sound'")
    assert list(tmp_path.iterdir()) == []
    assert mae("finetune", pretrained, labelled, "--resume", "--overwrite")[0] == 2
    assert mae("finetune", pretrained)[0] == 2


def test_data_that_cannot_be_learned_from(mae, pretrained, labelled, tmp_path):
    leak = tmp_path / "leak"
    shutil.copytree(labelled, leak)
    shutil.copy(leak / "train/red/0.png", leak / "val/red/copy.png")
    assert_fails(mae("finetune", pretrained, leak, *SHORT, "--out", tmp_path / "run"), "copy.png")
    shutil.rmtree(leak / "val/red")
    assert_fails(mae("probe", pretrained, leak, *SHORT, "--out", tmp_path / "run"), "red")
    assert not (tmp_path / "run").exists()


def test_inputs_that_do_not_match(mae, pretrained, labelled, tmp_path):
    run = ["finetune", pretrained, labelled, *SHORT, "--out", tmp_path / "run"]
    size, patch, channels = (f"model.modalities.image.tokenizer.{key}" for key in ("input_size", "patch_size", "channels"))
    assert_fails(mae(*run, f"{size}=[48,32]"), "init.checkpoint", "interpolate")
    assert mae(*run, f"{size}=[48,32]", "init.interpolate=true")[0] == 0
    run[-1] = tmp_path / "other"
    assert_fails(mae(*run, f"{patch}=[4,4]"), "init.checkpoint")
    assert_fails(
        mae("probe", *run[1:], f"{channels}=1", f"{channels[:-8]}mean=[0.5]", f"{channels[:-8]}std=[0.5]"), "init.checkpoint"
    )
    assert not (tmp_path / "other").exists()


def test_an_encoder_alone_is_not_enough_where_a_decoder_is_needed(mae, pretrained, labelled, tmp_path):
    encoder, recipe = pretrained / "encoder.safetensors", pretrained.parent / "recipe.yaml"
    assert_fails(mae("reconstruct", encoder, "-o", tmp_path / "out.png"), "encoder.safetensors", "decoder")
    started = ["pretrain", recipe, f"init.checkpoint={encoder}", "--out", tmp_path / "run"]
    assert_fails(mae(*started), "init.checkpoint", "init.backbone_only=true")
    assert mae(*started, "init.backbone_only=true")[0] == 0
