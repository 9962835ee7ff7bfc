"""The command line, called in this process."""

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
