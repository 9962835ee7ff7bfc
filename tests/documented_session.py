"""Runs a page's commands one after the other, each in a fork of a process that has imported what is slow to import.

Standard input is a JSON list of steps: {"mae": [words]}, {"python": text}, {"shell": line}, {"file": name, "text": text}; standard
output a list of their exit codes and outputs.
"""

import json
import os
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import mae_core.train.loop  # noqa: F401 - for the sake of the forks, as the next two
import mae_image.datasets
import mae_image.pictures  # noqa: F401
from mae_core.cli import main

OUTPUT = Path(".output").absolute()


def in_fork(action) -> int:
    sys.stdout.flush()
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    code = 1
    try:
        file = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
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
        done = subprocess.run(["bash", "-ec", step["shell"]], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout
    code = in_fork(lambda: run_mae(step["mae"]) if "mae" in step else run_python(step["python"]))
    return code, OUTPUT.read_text()


if __name__ == "__main__":
    print(json.dumps([run(step) for step in json.load(sys.stdin)]))
