"""`mae convert`, and files of weights that are damaged, malicious or of another kind."""

import argparse
import os
import pickle
import re

import torch
from failing import assert_fails
from safetensors.torch import save_file

from mae_core.registry import registry
from mae_core.runs.weights import read_weights


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
    recipe = trained / "config.yaml"
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


def test_the_help_of_convert_lists_all_layouts(mae):
    _, out, _ = mae("convert", "-h")
    listed = out.partition("Layouts: ")[2].strip().removesuffix(".").replace(",", "").split()
    assert listed == registry().names("layouts")


def test_what_is_no_checkpoint_is_told_as_such(mae, trained, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("a: 1\n")
    assert_fails(mae("reconstruct", recipe, "-o", tmp_path / "o.png"), "recipe.yaml is damaged, or is not a checkpoint")


def test_a_layout_of_another_encoder_is_told_as_such(mae, tmp_path):
    out = tmp_path / "run"
    few = ["train.epochs=3", "data.image.repeats=1", "train.num_pictures=0", "train.num_workers=0"]
    assert mae("pretrain", "methods/hiera_demo", *few, "--out", out)[0] == 0
    assert_fails(mae("convert", out, "--to", "timm", "-o", tmp_path / "o.safetensors"), "another kind of model")
