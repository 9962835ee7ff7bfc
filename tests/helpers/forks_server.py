"""Runs steps one after the other, each in a fork of this process, which has imported what is slow to import. See forks.py.

Reads lines of JSON, {"folder": where, "environment": {name: value}, "site": a folder to import from too or null, "together":
whether both outputs are one, "steps": [...]}; answers each with a line, a list of [exit code, output, errors]. A step is
{"mae": [words]}, {"mae": [words], "into": the file that its output goes to}, {"python": text}, {"shell": line} or
{"file": name, "text": text}. What `mae` would do in a fresh process, `mae doctor` above all, it does in a fork, too.
"""

import contextlib
import importlib
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
from mae_core.cli import doctor, fresh_process, main

with contextlib.suppress(ImportError):  # where no plugin is installed
    import mae_image.datasets
    import mae_image.pictures  # noqa: F401


def in_fork(action, *, together) -> tuple[int, str, str]:
    """Exit code, output and errors of `action`."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = os.fork()
        if not process:
            _act(action, out.fileno(), (out if together else err).fileno())
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        return code, _written(out), _written(err)


def _written(file) -> str:
    file.seek(0)
    return file.read()


def _act(action, out: int, err: int) -> NoReturn:
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
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


def fresh_in_fork(call, *arguments, timeout, environment):
    """In place of `fresh_process.run_fresh`, but that it waits for as long as it takes."""

    def action():
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["-c", *arguments]
        module, _, function = call.partition(":")
        getattr(importlib.import_module(module), function)()

    code, out, err = in_fork(action, together=False)
    return f"ended with {code}" if code else "", out, err


fresh_process.run_fresh = doctor.run_fresh = fresh_in_fork


def run_python(text):
    warnings.simplefilter("error")
    exec(compile(text, "example", "exec"), {"__name__": "__main__"})


def prepared(request, action):
    """`action` with the environment and the modules of the request."""

    def run():
        os.environ.update(request["environment"])
        if request["site"]:
            sys.path.insert(0, request["site"])
        importlib.invalidate_caches()
        action()

    return run


def run(step, request) -> tuple[int, str, str]:
    if "file" in step:
        path = Path(step["file"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step["text"])
        return 0, "", ""
    if "shell" in step:
        words = step["shell"].split()
        if words[0] == "cd":
            os.chdir(words[1])
            return 0, "", ""
        return run_shell(step["shell"], request)
    action = (lambda: run_mae(step["mae"])) if "mae" in step else (lambda: run_python(step["python"]))
    code, out, err = in_fork(prepared(request, action), together=request["together"] and "into" not in step)
    if "into" in step:
        Path(step["into"]).write_text(out)
        return code, "", err
    return code, out, err


def run_shell(line, request) -> tuple[int, str, str]:
    environment = os.environ | request["environment"] | ({"PYTHONPATH": request["site"]} if request["site"] else {})
    errors = subprocess.STDOUT if request["together"] else subprocess.PIPE
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": errors, "text": True}
    done = subprocess.run(["bash", "-ec", line], env=environment, **pipes)
    return done.returncode, done.stdout, done.stderr or ""


if __name__ == "__main__":
    for line in sys.stdin:
        request = json.loads(line)
        os.chdir(request["folder"])
        print(json.dumps([run(step, request) for step in request["steps"]]), flush=True)
