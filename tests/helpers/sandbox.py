"""An environment of its own, in which plugins are installed and removed for real, without a network."""

import contextlib
import os
import subprocess
import sysconfig
import venv
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mae_core
import mae_registry

PLUGIN = """
from mae_registry import hookimpl

MAE_API = 1


@hookimpl
def register_maskers(register):
    register("{masker}", "{package}.maskers:Mine")
"""
MASKERS = "class Mine:\n    pass\n"

LIGHT = """
import sys
from mae_core.cli import main
try:
    main(sys.argv[1:])
finally:
    heavy = {"torch", "timm", "numpy"} & set(sys.modules)
    assert not heavy, heavy
"""

INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background, where it is ignored
from mae_core.cli import main
main()
"""


def plugin_files(name: str, *, plugin: str = PLUGIN) -> dict[str, str]:
    """The modules of a plugin `name`, with a masker of its name."""
    package = f"mae_{name}"
    return {
        f"{package}/__init__.py": "",
        f"{package}/plugin.py": plugin.format(masker=name, package=package),
        f"{package}/maskers.py": MASKERS,
    }


def metadata_files(
    distribution: str, version: str, *, requires: Sequence[str] = (), plugins: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What stands in a distribution's dist-info folder, without the record of its files."""
    info = f"{distribution.replace('-', '_')}-{version}.dist-info"
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {distribution}",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    points = "".join(f"{name} = {module}\n" for name, module in (plugins or {}).items())
    return {
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **({f"{info}/entry_points.txt": f"[mae.plugins]\n{points}"} if points else {}),
    }


def record(files: Mapping[str, str]) -> dict[str, str]:
    """The record of these files, by its name."""
    info = next(name for name in files if name.endswith("METADATA")).partition("/")[0]
    return {f"{info}/RECORD": "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])}


def make_wheel(folder: Path, distribution: str, version: str, files: Mapping[str, str], **metadata) -> Path:
    """A wheel of pure Python, written by hand."""
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"{distribution.replace('-', '_')}-{version}-py3-none-any.whl"
    content = {**files, **metadata_files(distribution, version, **metadata)}
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in (content | record(content)).items():
            wheel.writestr(name, text)
    return path


@dataclass(frozen=True)
class Sandbox:
    """Everything that is installed where the tests run, but the plugins, can be imported; installing changes this alone."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        return next((self.folder / "venv" / "lib").glob("python*")) / "site-packages"

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAE_", "PYTHON", "UV_"))}
        offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        return kept | offline | more

    def mae(self, *arguments: object, light: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `mae`. `light`: and fail if that imports torch."""
        start = ["-c", LIGHT] if light else ["-m", "mae_core.cli"]
        return subprocess.run(
            [self.python, "-P", *start, *map(str, arguments)],
            capture_output=True,
            text=True,
            env=self.environment(**environment),
            cwd=self.folder,
        )

    def place(self, distribution: str, files: Mapping[str, str], *, version: str = "1.0", **metadata) -> None:
        """As an installer would have: the modules, the metadata and the record of both."""
        content = {**files, **metadata_files(distribution, version, **metadata)}
        for name, text in (content | record(content)).items():
            path = self.site_packages / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


@contextlib.contextmanager
def stopped_at_last(process: subprocess.Popen[str]) -> Iterator[None]:
    """Also if the test fails."""
    with process:
        try:
            yield
        finally:
            process.kill()


def make_sandbox(folder: Path) -> Sandbox:
    """Links to the packages of the tests' own environment stand beside an empty one."""
    packages = folder / "packages"
    packages.mkdir(parents=True)
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        ours = entry.name.startswith(("mae_", "_editable_impl_mae_")) and not entry.name.startswith("mae_core-")
        if not ours and entry.suffix != ".pth":
            (packages / entry.name).symlink_to(entry)
    sandbox = Sandbox(folder)
    venv.create(folder / "venv", symlinks=True)
    # the core that is tested, whether it is installed or a checkout
    own = [str(Path(str(module.__file__)).parents[1]) for module in (mae_core, mae_registry)]
    (sandbox.site_packages / "tests.pth").write_text("\n".join([*own, str(packages)]) + "\n")
    return sandbox
