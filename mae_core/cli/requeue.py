"""Asking SLURM to run a job again that it has interrupted. Only for those who want it: REQUEUE is set in the environment."""

import os
import shutil
import signal
import subprocess

REQUEUE = "MAE_SLURM_REQUEUE"
"""The environment variable that asks for it, by the value 1."""
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What SLURM sends before a job's time is up, or when another job needs its place."""
SECONDS = 30
"""Longer than a busy scheduler takes to answer."""


def requeue(number: int) -> str:
    """Have SLURM run this job again, after a run has been saved because of signal `number`. One process of a run calls it.

    Returns what a person should know of it; empty where nobody asked for it, or there is no job.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    if os.environ.get(REQUEUE) != "1" or number not in SIGNALS or not job:
        return ""
    if shutil.which("scontrol") is None:
        return f"SLURM is not asked to run job {job} again: there is no command scontrol here"
    if "REQUEUE" in _state(job):
        return f"SLURM runs job {job} again by itself"
    failed, said = _scontrol("requeue", job)
    if failed:
        return f"SLURM was asked to run job {job} again, and refused: {said}"
    return f"SLURM will run job {job} again"


def _state(job: str) -> str:
    """REQUEUED, for example; empty where SLURM does not say."""
    failed, said = _scontrol("show", "job", "--oneliner", job)
    words = dict(word.split("=", 1) for word in said.split() if "=" in word)
    return "" if failed else words.get("JobState", "")


def _scontrol(*words: str) -> tuple[bool, str]:
    """Whether the command failed, and what it said."""
    try:
        done = subprocess.run(["scontrol", *words], capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return True, str(error)
    return done.returncode != 0, (done.stderr.strip() or done.stdout.strip()) if done.returncode else done.stdout
