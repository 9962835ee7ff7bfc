"""The command line as a person meets it: exit codes, messages, files."""

import argparse
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mae_core.cli import main
from mae_core.registry import registry
from mae_core.runs.weights import read_weights


@pytest.fixture(scope="session")
def trained(tmp_path_factory, photos):
    """A finished run of one step, made once."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    recipe = folder.parent / "recipe.yaml"
    recipe.write_text(
        f"""
extends: image/mae_vit_base
model:
  encoder: {{width: 32, depth: 2, heads: 2}}
  modalities:
    image: {{tokenizer: {{input_size: [32, 32], patch_size: [8, 8]}}, decoder: {{width: 32, depth: 2, heads: 2}}}}
data: {{image: {{root: {photos}}}}}
schedule: {{warmup_epochs: 0}}
train: {{epochs: 1, batch_size: 24, num_workers: 0}}
"""
    )
    with pytest.raises(SystemExit) as stop:
        main(["pretrain", str(recipe), "--out", str(folder)])
    assert not stop.value.code
    return folder


def assert_fails(result, *phrases):
    """Exit code 1, one message on standard error that holds every phrase, no traceback."""
    code, out, err = result
    assert code == 1, (out, err)
    assert err.count("error: ") == 1
    assert "Traceback" not in err
    for phrase in phrases:
        assert phrase in err, err


# ---- pretrain


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


def test_a_duplicate_key_is_named_with_file_and_lines(mae, tmp_path):
    recipe = tmp_path / "twice.yaml"
    recipe.write_text("extends: image/mae_vit_base\ntrain:\n  epochs: 3\n  seed: 1\n  epochs: 4\n")
    assert_fails(mae("config", "check", recipe), f"{recipe}:5", "epochs", "line 3")


def test_an_unknown_recipe_is_named(mae):
    assert_fails(mae("pretrain", "image/mae_vit_bse"), "image/mae_vit_bse", "image/mae_vit_base")


def test_an_empty_folder_and_a_file_for_a_folder(mae, tiny_recipe, tmp_path):
    (tmp_path / "empty").mkdir()
    assert_fails(mae("pretrain", tiny_recipe, f"data.image.root={tmp_path / 'empty'}"), str(tmp_path / "empty"), ".jpg")
    assert_fails(mae("pretrain", tiny_recipe, f"data.image.root={tiny_recipe}"), str(tiny_recipe))


def test_an_unwritable_output(mae, tiny_recipe, trained, photos):
    assert_fails(mae("pretrain", tiny_recipe, "--out", "/dev/null/run"), "cannot write to /dev/null/run", "--out")
    photo = next(photos.iterdir())
    assert_fails(mae("reconstruct", trained, photo, "-o", "/dev/null/out.png"), "cannot write /dev/null/out.png")


def test_wrong_usage_exits_with_2(mae):
    assert mae("pretrain")[0] == 2
    assert mae("pretrain", "demo/image", "--resume", "--overwrite")[0] == 2
    assert mae("pretrian")[0] == 2
    assert mae("convert", "x")[0] == 2


# ---- reconstruct


def test_reconstruct_draws_a_row_for_each_photograph_and_ratio(mae, trained, photos, tmp_path):
    files = sorted(photos.iterdir())[:2]
    out = tmp_path / "out.png"
    code, text, err = mae(
        "reconstruct", trained, *files, "-o", out, "--mask-ratio", "0.5", "--mask-ratio", "0.8", "--seed", "3"
    )
    assert code == 0, err
    assert text == f"{out}: 4 rows\n"
    first = out.read_bytes()
    again = ["reconstruct", trained, *files, "-o", out, "--mask-ratio", "0.5", "--mask-ratio", "0.8", "--overwrite"]
    mae(*again, "--seed", "3")
    assert out.read_bytes() == first
    mae(*again, "--seed", "4")
    assert out.read_bytes() != first


def test_reconstruct_takes_a_checkpoint_file_a_folder_of_files_and_no_input(mae, trained, photos, tmp_path):
    checkpoint = next((trained / "checkpoints").iterdir())
    assert mae("reconstruct", checkpoint, photos, "-o", tmp_path / "folder.png")[1].endswith(": 24 rows\n")
    assert mae("reconstruct", trained, "-o", tmp_path / "examples.png")[1].endswith(": 4 rows\n")
    with Image.open(tmp_path / "examples.png") as picture:
        assert picture.width > picture.height / 2


def test_reconstruct_refuses_what_it_cannot_read(mae, trained, tmp_path):
    letter = tmp_path / "letter.jpg"
    letter.write_text("Dear reader")
    assert_fails(mae("reconstruct", trained, letter), str(letter))
    assert_fails(mae("reconstruct", trained, tmp_path / "absent.jpg"), "absent.jpg")
    assert_fails(mae("reconstruct", trained, "--mask-ratio", "1.5"), "masker.ratio: 1.5 is not allowed")
    assert_fails(mae("reconstruct", tmp_path / "nowhere", letter), "there is no checkpoint", "nowhere")
    assert_fails(mae("reconstruct", tmp_path, letter), "is a folder without checkpoints/step-*.pt")


def test_reconstruct_goes_on_past_bad_files_of_a_folder_and_names_them(mae, trained, photos, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(photos, folder)
    (folder / "letter.jpg").write_text("Dear reader")
    code, out, err = mae("reconstruct", trained, folder, "-o", tmp_path / "out.png")
    assert code == 0
    assert out.endswith(": 24 rows\n")
    assert f"left out: {folder / 'letter.jpg'}" in err
    for photo in photos.iterdir():
        (folder / photo.name).unlink()
    assert_fails(mae("reconstruct", trained, folder, "-o", tmp_path / "none.png"), "none of the files can be read")


def test_reconstruct_destroys_no_file(mae, trained, photos, tmp_path):
    photo = tmp_path / "photo.png"
    Image.open(next(photos.iterdir())).save(photo)
    (tmp_path / "note.png").write_text("to be kept")
    for output, reason in {
        photo: "it is what the command reads",
        tmp_path / "photo.jpg": "must end in .png",
        trained / "pictures" / "mine.png": f"lies in the folder of the run {trained}",
        tmp_path / "note.png": "replace it with --overwrite",
        tmp_path: "must end in .png",
    }.items():
        assert_fails(mae("reconstruct", trained, photo, "-o", output), str(output), reason)
    assert (tmp_path / "note.png").read_text() == "to be kept"
    with Image.open(photo) as image:
        image.load()


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


def test_reconstruct_without_a_name_takes_a_free_one(mae, trained, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo = next(photos.iterdir())
    names = [mae("reconstruct", trained, photo)[1].partition(":")[0] for _ in range(3)]
    assert names == ["reconstruction.png", "reconstruction-2.png", "reconstruction-3.png"]
    assert all((tmp_path / name).is_file() for name in names)


# ---- checkpoints that are none


def test_a_damaged_checkpoint_is_named(mae, trained, tmp_path):
    whole = next((trained / "checkpoints").iterdir()).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    for name, data in {
        "cut": whole[: len(whole) // 2],
        "flipped": bytes(flipped),
        "empty": b"",
        "text": b"hello",
        "zeros": bytes(99),
    }.items():
        path = tmp_path / f"{name}.pt"
        path.write_bytes(data)
        result = mae("reconstruct", path)
        assert_fails(result, f"{path} is damaged")
        assert "(" not in result[2].replace(str(path), ""), "what torch says of such bytes means nothing to a person"


def test_published_files_hold_arguments_and_may_be_of_the_old_format(tmp_path):
    weights = {"weight": torch.arange(3.0)}
    for modern in (True, False):
        path = tmp_path / f"{modern}.pth"
        content = {"model": weights, "args": argparse.Namespace(lr=1.0)}
        torch.save(content, path, _use_new_zipfile_serialization=modern)
        assert torch.equal(read_weights(path).tensors["weight"], weights["weight"])


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_malicious_checkpoint_is_refused_and_not_run(mae, tmp_path):
    trace = tmp_path / "trace"
    evil = {"model": Malicious(f"touch {trace}")}
    torch.save(evil, tmp_path / "evil.pt")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(evil))
    assert_fails(mae("reconstruct", tmp_path / "evil.pt"), "was refused", "would call posix.system")
    assert_fails(mae("reconstruct", tmp_path / "evil.pkl"), "evil.pkl", "is not a checkpoint")
    assert_fails(
        mae("convert", tmp_path / "evil.pt", "-o", tmp_path / "out.pt", "--from", "mae", "--recipe", "image/mae_vit_base"),
        "refused",
    )
    assert not trace.exists()


def test_published_weights_come_in_and_go_out(mae, forks, trained, tiny_recipe, tmp_path):
    recipe = trained.parent / "recipe.yaml"
    exported, back = tmp_path / "published.pth", tmp_path / "back.pt"
    assert mae("convert", trained, "-o", exported, "--to", "mae")[0] == 0
    code, _, err = mae("convert", exported, "-o", back, "--from", "mae", "--recipe", recipe)
    assert (code, err) == (0, "")
    again = tmp_path / "again.safetensors"
    assert mae("convert", back, "-o", again, "--to", "timm")[0] == 0
    done = forks.mae("convert", again, "-o", tmp_path / "encoder.pt", "--from", "timm", "--recipe", recipe)
    assert done.returncode == 0, done.stderr
    assert re.search(r"warning: .*again\.safetensors covers a part of the model only", done.stderr)
    # of another shape: the other tests' recipe has another grid
    result = mae("convert", exported, "-o", back, "--from", "mae", "--recipe", tiny_recipe, "--overwrite")
    assert_fails(result, "pos_embed: the checkpoint has the shape (1, 17, 32), but this model has (1, 13, 32)")
    result = mae("convert", again, "-o", back, "--from", "mae", "--recipe", recipe, "--overwrite")
    assert_fails(result, "holds an encoder alone", "layout 'timm'")
    assert_fails(mae("convert", trained, "-o", tmp_path / "x.onnx", "--to", "mae"), ".safetensors or .pth")
    assert_fails(mae("convert", trained, "-o", exported, "--to", "maee", "--overwrite"), "'maee'", "Did you mean 'mae'")
    save_file({"cls_token": torch.zeros(1)}, tmp_path / "other.safetensors")
    result = mae("convert", tmp_path / "other.safetensors", "-o", back, "--from", "mae", "--recipe", recipe, "--overwrite")
    assert_fails(result, "the checkpoint lacks")


# ---- the others


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


LOCAL_PLUGIN = """
from mae_core.interfaces import Mask, Masker
from mae_registry import hookimpl

MAE_API = 1


class TopHalf(Masker):
    def __init__(self, *, ratio: float = 0.5):
        super().__init__()
        self.ratio = ratio

    def forward(self, grid, batch_size, *, generator):
        hidden = grid.coordinates()[:, 0] < grid["h"] * self.ratio
        return Mask.from_hidden(hidden.expand(batch_size, -1))


@hookimpl
def register_maskers(register):
    register("top_half", "{module}:TopHalf")
"""


def test_local_code_enters_by_an_explicit_option(forks, tiny_recipe, tmp_path):
    file = tmp_path / "my_masker.py"
    file.write_text(LOCAL_PLUGIN.replace("{module}", "my_masker"))
    chosen = "model.modalities.image.masker=top_half"
    run = ["pretrain", tiny_recipe, chosen, "train.epochs=2", "--out", tmp_path / "run"]
    assert "unknown maskers name 'top_half'" in forks.mae(*run).stderr
    done = forks.mae(*run, "--plugin", file)
    assert done.returncode == 0, done.stderr
    picture = tmp_path / "out.png"
    assert forks.mae(f"--plugin={file}", "reconstruct", tmp_path / "run", "-o", picture).returncode == 0
    refused = forks.mae("reconstruct", tmp_path / "run", "-o", picture, "--overwrite")
    assert refused.returncode == 1
    assert "was made with plugin my_masker local file, which is not loaded" in refused.stderr


@pytest.mark.parametrize(
    ("name", "text", "phrase"),
    [
        ("absent.py", None, "No such file"),
        ("broken.py", "import nonsense_that_is_not_there", "No module named 'nonsense_that_is_not_there'"),
        ("old.py", "MAE_API = 0", "is written for MAE_API = 0; this mae-core has MAE_API = 1"),
        ("json.py", "MAE_API = 1", "there is a module 'json' already"),
        ("notes.txt", "MAE_API = 1", "not a Python file"),
    ],
)
def test_a_broken_local_plugin_is_named(forks, tmp_path, name, text, phrase):
    if text is not None:
        (tmp_path / name).write_text(text)
    done = forks.mae("plugins", "--plugin", tmp_path / name)
    assert done.returncode == 1
    assert f"--plugin {tmp_path / name}: " in done.stderr
    assert phrase in done.stderr
    assert "Traceback" not in done.stderr


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


def test_the_help_of_convert_lists_all_layouts(mae):
    _, out, _ = mae("convert", "-h")
    listed = out.partition("Layouts: ")[2].strip().removesuffix(".").replace(",", "").split()
    assert listed == registry().names("layouts")


def test_what_is_no_checkpoint_is_told_as_such(mae, trained, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("a: 1\n")
    assert_fails(mae("reconstruct", recipe, "-o", tmp_path / "o.png"), "recipe.yaml is damaged, or is not a checkpoint")


def test_a_misspelt_modality_is_told_the_near_one(mae):
    assert_fails(
        mae("config", "check", "demo/image", "model.modalities.imgae={}"), "did you mean 'image'?", "mae install imgae"
    )


def test_a_folder_is_no_recipe(mae, trained, tmp_path):
    assert_fails(mae("config", "check", tmp_path), "is a folder; name a YAML file")
    assert_fails(mae("config", "check", trained), "is a folder of a run; its recipe is config.yaml in it")


def test_a_layout_of_another_encoder_is_told_as_such(mae, tmp_path):
    out = tmp_path / "run"
    few = ["train.epochs=3", "data.image.repeats=1", "train.num_pictures=0", "train.num_workers=0"]
    assert mae("pretrain", "methods/hiera_demo", *few, "--out", out)[0] == 0
    assert_fails(mae("convert", out, "--to", "timm", "-o", tmp_path / "o.safetensors"), "another kind of model")


def test_a_warm_up_longer_than_the_run_names_the_key_to_change(mae, tmp_path):
    result = mae("pretrain", "demo/image", "train.epochs=1", "--out", tmp_path / "run")
    assert_fails(result, "schedule.warmup_epochs is 3", "give schedule.warmup_epochs=0 too")
