"""The package installer of this environment, run as a program. Does not import torch."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from mae_registry import MaeError

UNREACHABLE = re.compile(
    r"Failed to establish a new connection|NameResolution|name resolution|dns error|[Cc]onnect ?[Tt]imeout|Proxy"
    r"|Connection refused|error sending request"
)
_NOISE = re.compile(
    r"\[notice\]|WARNING: (Retrying|You are using pip)|Looking in |To fix this|\d\. |"
    r"ERROR: ResolutionImpossible|note: |hint: |\[end of"
)


class InstallerFailed(MaeError):
    """The installer ended with an error. `lines` are its output."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(_last_meaningful(lines)))
        self.lines = lines


def installer() -> list[str]:
    """The start of its command line: pip's, or uv's where there is no pip. Raises MaeError where there is neither."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip"]  # -P: do not import a folder named "pip" from here
    if uv := shutil.which("uv"):
        return [uv, "pip"]
    raise MaeError(
        f"this environment ({sys.prefix}) has neither pip nor uv, so nothing can be installed or removed; "
        f"get pip with: {sys.executable} -m ensurepip"
    )


def install(requirement: str, *options: str, besides: str) -> None:
    """Install or replace `requirement`, and add what it needs. Raises InstallerFailed if that would change what is there.

    Every other distribution that is installed is pinned to its version: a plugin that wants another torch is not worth an
    environment in which earlier runs cannot be repeated, and whoever wants it all the same has the installer itself. `besides`
    is the distribution that is being installed, which alone may change.
    """
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder, "installed.txt")
        pins.write_text("\n".join(_pins(besides)) + "\n", encoding="utf-8")
        # uv's --upgrade would look every other package up too
        upgrade = ["--upgrade"] if installer()[0] == sys.executable else ["--upgrade-package", canonical(besides)]
        _run("install", [*upgrade, "--constraint", str(pins), *options, requirement], doing=f"installing {requirement}")


def reinstall(requirement: str, *options: str) -> None:
    """Write the files of `requirement` again, though this version of it is installed, and nothing else."""
    _run("install", ["--force-reinstall", "--no-deps", *options, requirement], doing=f"installing {requirement} again")


def uninstall(distribution: str) -> None:
    """Remove one distribution. Raises InstallerFailed."""
    _run("uninstall", [distribution], doing=f"removing {distribution}")


def _pins(besides: str) -> list[str]:
    versions = {canonical(d.name): d.version for d in metadata.distributions() if d.name and d.version}
    return [f"{name}=={version}" for name, version in sorted(versions.items()) if name != canonical(besides)]


def canonical(distribution: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _run(verb: str, arguments: Sequence[str], *, doing: str) -> None:
    base = installer()
    here = [] if base[0] == sys.executable else ["--python", sys.executable]
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_YES": "1", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [*base, verb, *here, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | quiet,
        start_new_session=True,  # a terminal's Ctrl-C reaches it once, through us, and lets it put back what it has changed
    )
    lines = []
    with process, Console(stderr=True).status(escape(doing)) as status:
        assert process.stdout
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                status.update(escape(f"{doing}: {line.strip()}"))
            code = process.wait()
        except KeyboardInterrupt:
            _interrupt(process)
            raise
    if code:
        raise InstallerFailed(lines)


def _interrupt(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _last_meaningful(lines: Sequence[str]) -> list[str]:
    """At most eight lines, from the first error on, or else the last ones. A traceback is cut down to its exception."""
    said = [line for line in _without_frames(lines) if line.strip() and not _NOISE.match(line.strip())]
    errors = [number for number, line in enumerate(said) if re.match(r"\s*(ERROR:|error:|×)", line)]
    return said[errors[0] :][:8] if errors else said[-5:]


def _without_frames(lines: Sequence[str]) -> Iterator[str]:
    frames_after = None  # the indentation of a traceback's first line; what is indented more are its frames
    for line in lines:
        indentation = len(line) - len(line.lstrip())
        if line.strip().startswith("Traceback (most recent call last)"):
            frames_after = indentation
        elif frames_after is None or indentation <= frames_after:
            frames_after = None
            yield line
