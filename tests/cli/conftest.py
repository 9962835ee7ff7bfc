"""The command line, called in this process."""

import pytest

from mae_core.cli import main


@pytest.fixture
def mae(capfd):
    """Runs a command in this process; returns (exit code, standard output, standard error)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return stop.value.code or 0, out, err

    return run
