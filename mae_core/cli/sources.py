"""What `mae install WHAT` means: a short name, a distribution, a folder or a wheel. Only metadata are read."""

import re
import tomllib
import zipfile
from configparser import ConfigParser
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from mae_core.cli.installer import canonical
from mae_registry import ENTRY_POINT_GROUP, MaeError, did_you_mean


@dataclass(frozen=True)
class Source:
    """What the installer is given, and the name of its distribution."""

    requirement: str
    """A requirement ("mae-lidar==1.2"), or the absolute path of a folder or a wheel."""
    distribution: str
    folder: Path | None = None


def known_plugins() -> dict[str, str]:
    """The short names, and the distribution that each stands for."""
    return tomllib.loads(Path(__file__).with_name("known_plugins.toml").read_text(encoding="utf-8"))


def find_source(what: str, *, checkout: bool = True) -> Source:
    """What the argument of `mae install` means. With `checkout`, our own plugins come from the checkout, if there is one.

    Raises MaeError for a path without a plugin. Whether a distribution exists is not known yet.
    """
    if " @ " not in what and (re.search(r"[/\\]|\.whl$", what) or what.startswith(".")):
        if "://" in what:
            raise MaeError(f"{what} is an address; give the name of the distribution too: mae install 'NAME @ {what}'")
        return _path(Path(what).expanduser().absolute())
    if re.fullmatch(r"[A-Za-z0-9]+", what):
        what = known_plugins().get(what.lower(), f"mae-{what.lower()}")
    found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", what)
    if not found:
        raise MaeError(f"{what!r} is neither a plugin's short name nor the name of a distribution nor a path{_known()}")
    distribution = found[0].rstrip("._-")
    if canonical(distribution) == "mae-core":
        raise MaeError("mae-core is the core and not a plugin; to change its version, use pip itself")
    folder = _in_checkout(distribution) if checkout and what == distribution else None
    return Source(str(folder), distribution, folder) if folder else Source(what, distribution)


def no_such_distribution(distribution: str) -> str:
    """The end of a sentence about a distribution that was not found: the nearest known name, or where to look for it."""
    known = known_plugins()
    if distribution in known.values():
        return "; name the folder of its source (mae install ./PATH), or a folder of wheels (--find-links DIR)"
    short = distribution.removeprefix("mae-")
    return f".{did_you_mean(short, known)}"


def _known() -> str:
    return f"; known short names: {', '.join(known_plugins())}"


def _path(path: Path) -> Source:
    if path.is_dir():
        return Source(str(path), _plugin_of_folder(path), path)
    if path.suffix == ".whl" and path.is_file():
        return Source(str(path), _plugin_of_wheel(path))
    if path.exists():
        raise MaeError(f"{path} is neither a folder nor a wheel (.whl)")
    raise MaeError(f"there is no folder or wheel {path}")


def _plugin_of_folder(folder: Path) -> str:
    """The name of the distribution. Raises MaeError if pyproject.toml declares no plugin."""
    file = folder / "pyproject.toml"
    if not file.is_file():
        raise MaeError(
            f"{folder} is not a plugin: it has no pyproject.toml; `mae new-plugin NAME` writes a plugin to start from"
        )
    project = _pyproject(file).get("project", {})
    if not project.get("entry-points", {}).get(ENTRY_POINT_GROUP) or not isinstance(project.get("name"), str):
        raise MaeError(
            f'{folder} is not a plugin: its pyproject.toml has no table [project.entry-points."{ENTRY_POINT_GROUP}"]; '
            "docs/plugins.md explains what to write there"
        )
    return project["name"]


def _pyproject(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MaeError(f"{file} is not valid TOML: {error}") from None


def _plugin_of_wheel(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as wheel:
            tables = [wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
    except zipfile.BadZipFile:
        raise MaeError(f"{path} is damaged, or not a wheel") from None
    parser = ConfigParser(delimiters=("=",), interpolation=None)
    for table in tables:
        parser.read_string(table)
    if not parser.has_section(ENTRY_POINT_GROUP):
        raise MaeError(f"{path.name} is not an MAE plugin: it has no entry point in the group {ENTRY_POINT_GROUP}")
    return path.name.partition("-")[0]


def _in_checkout(distribution: str) -> Path | None:
    """The folder of one of this project's own plugins, if the core runs from a checkout."""
    for file in sorted((Path(__file__).parents[2] / "plugins").glob("*/pyproject.toml")):
        if canonical(_pyproject(file).get("project", {}).get("name", "")) == canonical(distribution):
            return file.parent
    return None


def can_build_here(folder: Path) -> bool:
    """Whether everything that its build needs is installed, so that nothing has to be downloaded."""
    needed = _pyproject(folder / "pyproject.toml").get("build-system", {}).get("requires", ["setuptools"])
    installed = {canonical(d.name) for d in metadata.distributions() if d.name}
    return all(canonical(re.split(r"[^A-Za-z0-9._-]", requirement)[0]) in installed for requirement in needed)
