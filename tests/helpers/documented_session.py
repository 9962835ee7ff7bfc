"""Runs the steps of examples one after the other, each in a fork of this process, which has imported what is slow to import.

Reads lines of JSON, {"folder": where, "steps": [...]}; answers each with a line, a list of [exit code, output]. A step is
{"mae": [words]}, {"python": text}, {"shell": line} or {"file": name, "text": text}.
"""

import json
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import NoReturn

# for the sake of the forks
import timm  # noqa: F401
import torch.utils.tensorboard  # noqa: F401

import mae_core.training.run  # noqa: F401
import mae_image.datasets
import mae_image.pictures  # noqa: F401
from mae_core.cli import main


def in_fork(action) -> tuple[int, str]:
    """Exit code and output of `action`."""
    with tempfile.TemporaryFile("w+") as file:
        process = os.fork()
        if not process:
            _act(action, file.fileno())
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        file.seek(0)
        return code, file.read()


def _act(action, output: int) -> NoReturn:
    code = 1
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout.reconfigure(line_buffering=True)
        action()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_mae(words):
    sys.argv = [str(Path(sys.executable).with_name("mae")), *words]
    main(words)


def run_python(text):
    warnings.simplefilter("error")
    exec(compile(text, "example", "exec"), {"__name__": "__main__"})


def run(step) -> tuple[int, str]:
    if "file" in step:
        path = Path(step["file"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step["text"])
        return 0, ""
    if "shell" in step:
        words = step["shell"].split()
        if words[0] == "cd":
            os.chdir(words[1])
            return 0, ""
        command = ["bash", "-ec", step["shell"]]
        done = subprocess.run(command, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout
    return in_fork(lambda: run_mae(step["mae"]) if "mae" in step else run_python(step["python"]))


if __name__ == "__main__":
    for line in sys.stdin:
        request = json.loads(line)
        os.chdir(request["folder"])
        print(json.dumps([run(step) for step in request["steps"]]), flush=True)
