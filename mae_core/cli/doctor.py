"""`mae doctor` checks that everything a run needs works here. It imports torch only in separate processes."""

import json
import os
import platform
import shlex
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from mae_core.cli.fresh_process import TIMEOUT, Report, check_plugin, run_fresh
from mae_core.cli.installer import canonical, installer
from mae_core.registry import plugin_files
from mae_registry import SLOW, MaeError, PluginError, Registry, installed_plugins

GIB = 2**30
LITTLE_DISK = 5 * GIB
LITTLE_MEMORY = 2 * GIB


@dataclass(frozen=True)
class Finding:
    """One line of the report. `status` is "ok", "warning" or "failed", and `fix` says what to do."""

    name: str
    status: str
    detail: str
    fix: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for other programs to read.")] = False,
    timeout: Annotated[float, typer.Option(help="The number of seconds that checking one plugin may take.", min=0.1)] = TIMEOUT,
) -> None:
    """Check Python, packages, plugins, devices and memory. Exit with 1 if something that is needed does not work."""
    findings = []
    with Console(stderr=True).status("") as status:
        for name, check in _checks(timeout):
            status.update(escape(f"checking {name}"))
            for finding in check:
                findings.append(finding)
                if not as_json:
                    _show(finding)
    failed = sum(finding.status == "failed" for finding in findings)
    if as_json:
        typer.echo(json.dumps({"ok": not failed, "checks": [asdict(finding) for finding in findings]}, indent=2))
    if failed:
        raise MaeError(f"{failed} of {len(findings)} checks failed; each line says what to do")


def _show(finding: Finding) -> None:
    colour = {"ok": "green", "warning": "yellow", "failed": "bold red"}[finding.status]
    fix = f"; to fix this, {finding.fix}" if finding.fix else ""
    line = f"[{colour}]{finding.status:<8}[/]{escape(f'{finding.name}: {finding.detail}{fix}')}"
    Console(soft_wrap=True, highlight=False).print(line)


def _checks(timeout: float) -> Iterator[tuple[str, Iterator[Finding]]]:
    yield "Python", _python()
    yield "packages", _packages()
    yield "devices", _devices(timeout)
    registered = Registry()
    for name in dict.fromkeys(["core", *(plugin.name for plugin in installed_plugins())]):
        yield f"plugin {name}", _plugin(name, registered, timeout)
    for file in plugin_files():
        yield f"plugin {file}", _plugin(file.stem, registered, timeout, file=file)
    yield "MAE_PLUGINS", _environment()
    yield "machine", _machine()


def _python() -> Iterator[Finding]:
    # a Python that is too old could not have imported this module
    yield Finding("Python", "ok", f"{platform.python_version()} in {sys.prefix}, on {platform.platform()}")
    try:
        yield Finding("installer", "ok", "uv" if installer()[0] != sys.executable else f"pip {metadata.version('pip')}")
    except MaeError as error:
        yield Finding("installer", "warning", str(error))


def _packages() -> Iterator[Finding]:
    """What the core and the plugins require. Packages with bounds get a line each, since those versions were tested."""
    num_others = 0
    for name, wanted in sorted(_required().items()):
        failed = [finding for by, specifier in wanted if (finding := _missing(name, specifier, by))]
        yield from failed
        if failed:
            continue
        tested = sorted({part for _, specifier in wanted for part in specifier.split(",") if part}, reverse=True)
        if any(part.startswith(("<", "==")) for part in tested):
            yield Finding(name, "ok", f"{metadata.version(name)}, tested: {','.join(tested)}")
        else:
            num_others += 1
    yield Finding("other packages", "ok", f"{num_others} packages, as required")


def _missing(name: str, specifier: str, by: str) -> Finding | None:
    from packaging.specifiers import SpecifierSet

    needs = f"{by} needs {name}{specifier}"
    fix = shlex.join(["pip", "install", name + specifier])
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "failed", f"is not installed; {needs}", fix)
    fits = SpecifierSet(specifier).contains(version, prereleases=True)
    return None if fits else Finding(name, "failed", f"{version} is installed; {needs}", fix)


def _required() -> dict[str, list[tuple[str, str]]]:
    """Package -> (by which distribution, version specifier) for everything that is required here without an extra."""
    from packaging.requirements import Requirement

    required = defaultdict(list)
    for distribution in dict.fromkeys(["mae-core", *(plugin.distribution for plugin in installed_plugins())]):
        try:
            lines = metadata.requires(distribution) or []
        except metadata.PackageNotFoundError:  # damaged metadata; the line of the plugin itself says more
            lines = []
        for line in lines:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                required[canonical(requirement.name)].append((distribution, str(requirement.specifier)))
    return required


def _devices(timeout: float) -> Iterator[Finding]:
    end, out, err = run_fresh(f"{__name__}:_describe_devices", timeout=timeout, environment=dict(os.environ))
    if end:
        last = (err.strip().splitlines() or ["it printed nothing"])[-1]
        fix = "reinstall torch (pip install --force-reinstall --no-deps torch==VERSION)"
        yield Finding("devices", "failed", f"the process that imports torch {end}: {last}", fix)
        return
    devices, build = json.loads(out)
    if devices:
        yield from (Finding("device", "ok", device) for device in devices)
    elif shutil.which("nvidia-smi"):
        last = (err.strip().splitlines() or ["torch does not say why"])[-1]
        fix = "install a newer NVIDIA driver, or torch for the driver's CUDA version"
        yield Finding("device", "warning", f"torch (CUDA {build}) cannot use the GPU of this machine: {last}", fix)
    else:
        yield Finding("device", "ok", "CPU; there is no GPU")


def _describe_devices() -> None:  # pyright: ignore[reportUnusedFunction] - by name, in a fresh process
    """Print the accelerators that torch can use, and the CUDA version it was built for. Runs in the fresh process."""
    import torch

    devices = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        devices.append(f"cuda:{index}, {properties.name}, {properties.total_memory / GIB:.0f} GiB, {bf16}")
    if torch.backends.mps.is_available():
        devices.append("mps")
    print(json.dumps([devices, torch.version.cuda]))


def _plugin(name: str, registered: Registry, timeout: float, *, file: Path | None = None) -> Iterator[Finding]:
    """Check one plugin. `registered` holds the components of the plugins that were checked before it."""
    report = check_plugin(name, file=file, alone=True, timeout=timeout)
    if report.problems and any(component.kind == "modalities" for component in report.components):
        together = check_plugin(name, file=file, timeout=timeout)  # its defaults may need the components of another plugin
        report = together if together.components else report  # if it has none, another plugin ended the process
    title = f"plugin {file or name}"
    for problem in report.problems:
        yield Finding(title, "failed", problem.cause, problem.fix)
    try:
        registered.add(*report.components)
    except PluginError as error:
        yield Finding(title, "failed", error.message, error.fix)
        return
    if not report.problems:
        yield _speed(title, report)


def _speed(title: str, report: Report) -> Finding:
    detail = f"{len(report.components)} components, all of which can be imported"
    if report.seconds > SLOW:
        fix = "import heavy packages in the modules of the components, not in the plugin module"
        return Finding(title, "warning", f"{detail}; every command spends {report.seconds:.1f} s on importing the plugin", fix)
    return Finding(title, "ok", detail)


def _environment() -> Iterator[Finding]:
    if (value := os.environ.get("MAE_PLUGINS")) is None:
        return
    installed = {plugin.name for plugin in installed_plugins()}
    wanted = {name.strip() for name in value.split(",") if name.strip()}
    if unknown := wanted - installed:
        yield Finding(
            "MAE_PLUGINS", "failed", f"{value!r} names {', '.join(sorted(unknown))}, which is not installed", "correct it"
        )
    else:
        yield Finding("MAE_PLUGINS", "ok", f"{value!r} leaves out: {', '.join(sorted(installed - wanted)) or 'none'}")


def _machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("cores", "ok", f"{cores}")
    memory, disk = _free_memory(), shutil.disk_usage(".").free
    if memory is not None:
        little = memory < LITTLE_MEMORY
        yield Finding(
            "memory",
            "warning" if little else "ok",
            f"{memory / GIB:.1f} GiB free",
            "close other programs, or train with a smaller train.device_batch_size" if little else "",
        )
    little = disk < LITTLE_DISK
    yield Finding(
        "disk",
        "warning" if little else "ok",
        f"{disk / GIB:.1f} GiB free in {os.getcwd()}",
        "write runs to another disk with --out" if little else "",
    )


def _free_memory() -> int | None:
    """The number of bytes available without swapping, or None if the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
