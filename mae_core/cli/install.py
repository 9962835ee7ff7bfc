"""`mae install` and `mae uninstall`. They import neither torch nor plugins, because they also repair broken ones."""

import importlib
import shlex
from collections import defaultdict
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from mae_core.cli.fresh_process import Report, check_plugin
from mae_core.cli.installer import UNREACHABLE, InstallerFailed, canonical, reinstall
from mae_core.cli.installer import install as run_install
from mae_core.cli.installer import uninstall as run_uninstall
from mae_core.cli.sources import Source, can_build_here, find_source, known_plugins, no_such_distribution
from mae_core.cli.training import INTERRUPTED
from mae_registry import ENTRY_POINT_GROUP, InstalledPlugin, MaeError, did_you_mean, installed_plugins


def install(
    what: Annotated[
        str, typer.Argument(help="The short name of a plugin, the name of a distribution, or the path of a folder or wheel.")
    ],
    find_links: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="Also look for wheels in this folder. Repeat the option for more folders."),
    ] = None,
    copy: Annotated[
        bool,
        typer.Option(
            "--copy", help="Copy the code of a folder. Without this option, changes in the folder take effect at once."
        ),
    ] = False,
) -> None:
    """Install or reinstall a plugin, and check that it works. Other installed packages are never changed."""
    source = find_source(what, checkout=not find_links)
    options = [word for folder in find_links or [] for word in ("--find-links", folder)]
    try:
        _install(source, options, editable=not copy)
    except InstallerFailed as error:
        raise _explained(error, source, find_links or []) from error
    except KeyboardInterrupt:
        is_installed = "is" if _version(source.distribution) else "is not"
        typer.echo(f"interrupted; {source.distribution} {is_installed} installed", err=True)
        raise typer.Exit(INTERRUPTED) from None
    version = _version(source.distribution)
    plugins = [p for p in installed_plugins() if canonical(p.distribution) == canonical(source.distribution)]
    if not plugins:
        raise MaeError(
            f"{source.distribution} {version} is installed, but it is not an MAE plugin: "
            f"it has no entry point in the group {ENTRY_POINT_GROUP}; "
            f"to remove it: pip uninstall {source.distribution}"
        )
    place = "" if source.folder is None else f", {'copied' if copy else 'editable'} from {source.folder}"
    for plugin in plugins:
        report = check_plugin(plugin.name)
        if report.problems:
            first = report.problems[0]
            raise MaeError(
                f"{plugin.distribution} {plugin.version} is installed, but plugin {plugin.name!r} is broken: {first.cause}; "
                f"to fix this, {first.fix}"
            )
        typer.echo(f"plugin {plugin.name} is installed ({plugin.distribution} {plugin.version}{place}): {_summary(report)}")
        typer.echo(f"try next: {_next(report)}")


def _install(source: Source, options: Sequence[str], *, editable: bool) -> None:
    before = _version(source.distribution)
    if source.folder:
        isolation = ["--no-build-isolation"] if can_build_here(source.folder) else []
        editing = ["--editable"] if editable else []
        run_install(source.requirement, *options, *isolation, *editing, besides=source.distribution)
        return
    run_install(source.requirement, *options, besides=source.distribution)
    after = _version(source.distribution)
    if before is not None and before == after:  # the installer did nothing, but the files may be old or damaged
        same = source.requirement if Path(source.requirement).is_file() else f"{source.distribution}=={after}"
        reinstall(same, *options)


def _version(distribution: str) -> str | None:
    importlib.invalidate_caches()
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _explained(error: InstallerFailed, source: Source, find_links: Sequence[str]) -> MaeError:
    said = "\n".join(error.lines)
    nothing = f"{source.distribution} was not installed"
    if UNREACHABLE.search(said):
        return MaeError(f"{nothing}: the package index cannot be reached\n{error}")
    absent = f"No matching distribution found for {source.requirement}" in said and "from versions: none" in said
    if absent or f"{canonical(source.distribution)} was not found in the" in said:
        where = "".join(f"in {folder} or " for folder in find_links)
        hint = no_such_distribution(source.distribution)
        return MaeError(f"there is no distribution {source.distribution} {where}on the package index{hint}")
    if "constraint" in said or "conflict" in said or "unsatisfiable" in said:
        return MaeError(
            f"{nothing}: it does not fit what is installed here, which `mae install` never changes; "
            f"to change it all the same: pip install {shlex.quote(source.requirement)}\n{error}"
        )
    return MaeError(f"{nothing}:\n{error}")


def _summary(report: Report) -> str:
    by_kind = defaultdict(list)
    for component in report.components:
        by_kind[component.kind].append(component.name)
    return "; ".join(f"{kind} {', '.join(names)}" for kind, names in by_kind.items()) or "it registers no components"


def _next(report: Report) -> str:
    certificates = [component.name for component in report.components if component.kind == "certificates"]
    commands = [f"mae pretrain {name}" for name in report.recipes if "demo" in name.split("/")]
    if certificates:
        commands.append(f"mae verify {' '.join(certificates)}")
    if commands:
        return ", or: ".join(commands)
    parts = [component for component in report.components if component.kind != "layouts"]
    if parts:
        return f"name it in a recipe, {parts[0].kind.removesuffix('s')}: {parts[0].name}"
    return "mae plugins"


def uninstall(
    name: Annotated[str, typer.Argument(help="The name of a plugin, or of its distribution.")],
) -> None:
    """Remove a plugin, even a broken one. The packages that it needed stay installed."""
    plugin = _find(name)
    others = [p.name for p in installed_plugins() if p.distribution == plugin.distribution and p.name != plugin.name]
    try:
        run_uninstall(plugin.distribution)
    except InstallerFailed as error:
        raise MaeError(f"{plugin.distribution} was not removed:\n{error}") from error
    importlib.invalidate_caches()
    if any((p.name, p.distribution) == (plugin.name, plugin.distribution) for p in installed_plugins()):
        place = metadata.distribution(plugin.distribution).locate_file("")
        raise MaeError(f"{plugin.distribution} is still there, in a folder that the package installer does not manage: {place}")
    also = f", and with it {', '.join(others)}" if others else ""
    typer.echo(
        f"plugin {plugin.name} was removed{also} ({plugin.distribution} {plugin.version}); "
        "the packages that it needed stay installed"
    )


def _find(name: str) -> InstalledPlugin:
    """The installed plugin of that name. Raises MaeError for anything else, because only plugins are removed."""
    installed = installed_plugins()
    if canonical(name) in ("core", "mae-core"):
        raise MaeError("mae-core is the core and not a plugin; to remove it: pip uninstall mae-core")
    found = [p for p in installed if p.name == name] or [p for p in installed if canonical(p.distribution) == canonical(name)]
    if not found and name in (known := known_plugins()):
        found = [p for p in installed if canonical(p.distribution) == known[name]]
    if len({p.distribution for p in found}) > 1:
        distributions = " and ".join(f"{p.distribution} {p.version}" for p in found)
        raise MaeError(f"there are two plugins {name!r}, from {distributions}; name the distribution to remove")
    if found:
        return found[0]
    if (version := _version(name)) is not None:
        raise MaeError(f"{name} {version} is installed, but it is not an MAE plugin; nothing was removed")
    raise MaeError(f"no plugin {name!r} is installed.{did_you_mean(name, [p.name for p in installed])}")
