"""A run that SLURM interrupts asks to be run again, where its user wants that."""

import signal

import pytest
from running import world_of

from mae_core import load_config
from mae_core.cli.requeue import requeue
from mae_core.cli.training import run_training
from mae_core.training.interrupts import Interrupted

SCONTROL = """#!/bin/sh
echo "$@" >> {folder}/asked
if [ $1 = show ]; then echo "JobId=$4 JobName=a b JobState={state} Reason=None"; exit 0; fi
{end}
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """`slurm(state=..., end=...)` puts a scontrol on the path; what it was asked is in the list that it returns."""

    def install(state="RUNNING", end="exit 0", job="17"):
        path = tmp_path / "bin" / "scontrol"
        path.parent.mkdir()
        path.write_text(SCONTROL.format(folder=tmp_path, state=state, end=end))
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setenv("MAE_SLURM_REQUEUE", "1")
        asked = tmp_path / "asked"
        return lambda: asked.read_text().splitlines() if asked.exists() else []

    for name in ("SLURM_JOB_ID", "MAE_SLURM_REQUEUE"):
        monkeypatch.delenv(name, raising=False)
    return install


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_the_job_is_requeued_after_the_run_was_saved(slurm, monkeypatch, tiny_recipe, tmp_path, capsys, number):
    asked = slurm()

    def train(*_, **__):
        assert not asked()  # nothing is asked before it is saved
        raise Interrupted("interrupted after step 5 of 12; saved in here", signal=number)

    monkeypatch.setattr("mae_core.training.run.train", train)
    config = load_config(tiny_recipe)
    with pytest.raises(SystemExit) as ended:
        run_training(config, tmp_path / "run", ["pretrain"], world=world_of(config), resume=False, overwrite=False)
    assert ended.value.code == 128 + number
    assert asked()[-1] == "requeue 17"
    assert "job 17" in capsys.readouterr().err


@pytest.mark.parametrize("changed", [{"MAE_SLURM_REQUEUE": ""}, {"SLURM_JOB_ID": ""}], ids=str)
def test_nothing_is_asked_unless_wanted_and_by_the_first_process_alone(slurm, monkeypatch, changed):
    asked = slurm()
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    assert requeue(signal.SIGTERM) == ""
    assert not asked()


def test_ctrl_c_is_the_users_own_wish(slurm):
    asked = slurm()
    assert requeue(signal.SIGINT) == requeue(signal.SIGHUP) == ""
    assert not asked()


def test_a_job_that_is_requeued_already_is_left_alone(slurm):
    asked = slurm(state="REQUEUED")
    assert "by itself" in requeue(signal.SIGTERM)
    assert not any(line.startswith("requeue") for line in asked())


def test_what_slurm_refuses_is_told(slurm):
    slurm(end="echo 'Requested operation is disabled' >&2; exit 1")
    assert "Requested operation is disabled" in requeue(signal.SIGTERM)


def test_slurm_without_its_commands_is_told(slurm, monkeypatch, tmp_path):
    slurm()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no command scontrol" in requeue(signal.SIGTERM)
