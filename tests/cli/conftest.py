"""The command line, called in this process; and a run that it can work on."""

import sys

import pytest
from small_recipes import train_tiny

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
    size = "model.modalities.image.tokenizer.input_size=[32, 32]"
    return train_tiny(tmp_path_factory.mktemp("trained"), photos, size, "train.batch_size=24")
