"""The command line as a person meets it: exit codes, messages, files."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from failing import assert_fails


def test_a_duplicate_key_is_named_with_file_and_lines(mae, tmp_path):
    recipe = tmp_path / "twice.yaml"
    recipe.write_text("extends: image/mae_vit_base\ntrain:\n  epochs: 3\n  seed: 1\n  epochs: 4\n")
    assert_fails(mae("config", "check", recipe), f"{recipe}:5", "epochs", "line 3")


def test_an_unwritable_output(mae, tiny_recipe, trained, photos):
    assert_fails(mae("pretrain", tiny_recipe, "--out", "/dev/null/run"), "cannot write to /dev/null/run", "--out")
    photo = next(photos.iterdir())
    assert_fails(mae("reconstruct", trained, photo, "-o", "/dev/null/out.png"), "cannot write /dev/null/out.png")


def test_wrong_usage_exits_with_2(mae):
    assert mae("pretrain")[0] == 2
    assert mae("pretrain", "demo/image", "--resume", "--overwrite")[0] == 2
    assert mae("pretrian")[0] == 2
    assert mae("convert", "x")[0] == 2


@pytest.mark.parametrize(
    ("words", "suffix"),
    [
        (["masks", "show", "random", "ratio=0.5", "--draws", "2", "-o"], ".png"),
        (["report", "{run}", "{run}/../run/../run", "-o"], ".html"),
        (["statistics", "{run}/config.yaml", "--pca"], ".safetensors"),
        (["convert", "{run}", "-o"], ".safetensors"),
        (["embed", "{run}", "{photo}", "-o"], ".npy"),
    ],
)
def test_no_output_destroys_a_file(mae, trained, photos, tmp_path, words, suffix):
    command = [word.format(run=trained, photo=next(photos.iterdir())) for word in words]
    before = {path: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    (tmp_path / f"note{suffix}").write_text("to be kept")
    assert_fails(mae(*command, trained / f"report{suffix}"), f"lies in the folder of the run {trained}")
    assert_fails(mae(*command, trained / "config.yaml"), "must end in")
    assert_fails(mae(*command, tmp_path / f"note{suffix}"), "replace it with --overwrite")
    assert (tmp_path / f"note{suffix}").read_text() == "to be kept"
    assert {path: path.read_bytes() for path in trained.iterdir() if path.is_file()} == before
    code, _, err = mae(*command, tmp_path / f"note{suffix}", "--overwrite")
    assert code == 0, err
    assert (tmp_path / f"note{suffix}").read_bytes() != b"to be kept"


def test_plugins_lists_what_is_installed(mae):
    code, out, _ = mae("plugins")
    assert code == 0
    assert "image_folder" in out
    listed = {plugin["name"]: plugin for plugin in json.loads(mae("plugins", "--json")[1])}
    assert listed["image"]["status"] == "loaded"
    assert "maskers:random" in listed["core"]["components"]


def test_config_show_says_where_values_come_from(mae, tiny_recipe):
    code, out, _ = mae("config", "show", tiny_recipe, "train.seed=9")
    assert code == 0
    assert re.search(r"seed: 9 +# command line", out)
    assert re.search(rf"width: 32 +# .*{tiny_recipe.name}:4", out)
    assert re.search(r"mlp_ratio: 4.0 +# default of vit", out)


def test_config_check_finds_what_training_would(mae):
    assert_fails(mae("config", "check", "image/mae_vit_base", "train.epochs=10"), "schedule.warmup_epochs is 40")
    assert_fails(mae("config", "check", "image/mae_vit_base", "optimizer.lr=1"), "give base_lr, or an absolute lr")
    pairs = ["task={name: classify, mix: {}}", "train.device_batch_size=3"]
    assert_fails(mae("config", "check", "image/mae_vit_base", *pairs), "train.device_batch_size=3 must be divisible by 2")


def test_config_check_and_schema(mae):
    assert "111,655,680 trainable parameters; image on the grid h=14 w=14" in mae("config", "check", "image/mae_vit_base")[1]
    assert "properties" in json.loads(mae("config", "schema")[1])


def test_report_is_written_again(mae, trained):
    (trained / "report.html").unlink()
    assert mae("report", trained)[0] == 0
    assert (trained / "report.html").exists()
    assert_fails(mae("report", "/nowhere"), "/nowhere")


def test_a_traceback_only_with_debug(mae, tmp_path):
    assert "Traceback" in mae("--debug", "report", tmp_path)[2]


def test_a_closed_pipe_is_no_error():
    """The other end is closed long before anything is written."""
    command = f"set -o pipefail; {sys.executable} -m mae_core.cli plugins --json | true"
    done = subprocess.run([shutil.which("bash") or "bash", "-c", command], capture_output=True, text=True)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def test_a_terminal_that_is_not_utf8_loses_characters_and_nothing_else():
    command = [sys.executable, "-m", "mae_core.cli", "masks", "show", "random", "ratio=0.5", "--draws", "2"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "?" in done.stdout


def test_a_misspelt_modality_is_told_the_near_one(mae):
    assert_fails(
        mae("config", "check", "demo/image", "model.modalities.imgae={}"), "did you mean 'image'?", "mae install imgae"
    )


def test_a_folder_is_no_recipe(mae, trained, tmp_path):
    assert_fails(mae("config", "check", tmp_path), "is a folder; name a YAML file")
    assert_fails(mae("config", "check", trained), "is a folder of a run; its recipe is config.yaml in it")
