"""A pytest plugin: commands in processes of their own that need not import torch anew, since each is a fork of one that has."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

SERVER = Path(__file__).with_name("forks_server.py")


class Forks:
    """Where a test looks at what a command does, and not at how its process starts, this takes seconds less.

    `site`: a folder with modules that are imported as if they were installed. `environment` is added to that of the tests.
    """

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self.server = server

    def mae(self, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """`mae WORDS`, with the options of `steps`."""
        (done,) = self.steps([{"mae": [str(word) for word in words]}], **options)
        return done

    def python(self, text: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A program in which each warning is an error, with the options of `steps`."""
        (done,) = self.steps([{"python": text}], **options)
        return done

    def steps(
        self,
        steps: Sequence[Mapping[str, Any]],
        *,
        folder: Path | str = ".",
        site: Path | str | None = None,
        environment: Mapping[str, str] | None = None,
        together: bool = False,
    ) -> list[subprocess.CompletedProcess[str]]:
        """How each of these ended: see forks_server.py. `together`: their standard output has their errors too."""
        request = {
            "folder": str(Path(folder).absolute()),
            "site": site and str(site),
            "environment": dict(environment or {}),
            "together": together,
            "steps": steps,
        }
        assert self.server.stdin
        assert self.server.stdout
        print(json.dumps(request), file=self.server.stdin, flush=True)
        answer = json.loads(self.server.stdout.readline())
        return [subprocess.CompletedProcess(step, *ended) for step, ended in zip(steps, answer, strict=True)]


@contextlib.contextmanager
def serve(python: Path | str, environment: Mapping[str, str]) -> Iterator[Forks]:
    """Starts the process that is forked."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([python, "-P", SERVER], env=environment, **pipes) as server:
        yield Forks(server)


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Forks of one process for all tests."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with serve(sys.executable, os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}) as server:
        yield server
