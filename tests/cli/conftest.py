"""The command line, called in this process; and a run that it can work on."""

import sys

import pytest

from mae_core.cli import main


@pytest.fixture
def mae(capfd, monkeypatch):
    """Runs a command in this process; returns (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mae", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return stop.value.code or 0, out, err

    return run


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
