"""A quick check of a plugin in a separate process, so that nothing it does, not even a crash, affects this one."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mae_registry import Component, MaeError, PluginError, cause_of, resolve

TIMEOUT = 120.0
"""The number of seconds a check may take. Importing torch from a cold network disk takes one minute."""


@dataclass(frozen=True)
class Problem:
    """What is wrong, and what to do about it."""

    cause: str
    fix: str


@dataclass(frozen=True)
class Report:
    """What one plugin registered, its recipes, how long importing it took, and what is wrong with it."""

    plugin: str
    components: tuple[Component, ...] = ()
    recipes: tuple[str, ...] = ()
    seconds: float = 0.0
    problems: tuple[Problem, ...] = ()


def run_fresh(call: str, *arguments: str, timeout: float, environment: dict[str, str]) -> tuple[str, str, str]:
    """Call "package.module:function" in a fresh interpreter. Returns how it ended ("" if well), its stdout and its stderr."""
    module, _, function = call.partition(":")
    # -P: nothing is imported from the folder that happens to be the current one, as with the command `mae`
    command = [sys.executable, "-P", "-c", f"from {module} import {function}; {function}()", *arguments]
    # files, because a pipe would block for as long as any grandchild holds its other end
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
        try:
            code = process.wait(timeout)
            end = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}" if code else ""
        except subprocess.TimeoutExpired:
            end = f"was stopped after {timeout:g} s"
        finally:
            process.kill()
            process.wait()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return end, texts[0], texts[1]


def check_plugin(plugin: str, *, file: Path | None = None, alone: bool = False, timeout: float = TIMEOUT) -> Report:
    """Load a plugin (by its name, or from `file`), import its components, and resolve the defaults of its modalities.

    With `alone`, no other plugin is loaded. Otherwise all installed ones are, whatever MAE_PLUGINS says.
    """
    environment = {name: value for name, value in os.environ.items() if name != "MAE_PLUGINS"}
    if alone:
        environment["MAE_PLUGINS"] = "" if plugin == "core" or file else plugin
    arguments = [plugin, *([str(file)] if file else [])]
    end, out, _ = run_fresh(f"{__name__}:_check", *arguments, timeout=timeout, environment=environment)
    report, doing = Report(plugin), "starting"
    for line in out.splitlines():
        event = json.loads(line)
        if "doing" in event:
            doing = event["doing"]
        elif "components" in event:
            components = tuple(Component(*each) for each in event["components"])
            report = replace(report, components=components, recipes=tuple(event["recipes"]), seconds=event["seconds"])
        else:
            report = replace(report, problems=(*report.problems, Problem(event["cause"], event["fix"])))
    if end:
        problem = Problem(f"the process {end} while {doing}", _usual_fix(plugin))
        report = replace(report, problems=(*report.problems, problem))
    return report


def _usual_fix(plugin: str) -> str:
    return "reinstall mae-core" if plugin == "core" else f"reinstall it, or remove it with: mae uninstall {plugin}"


def _check() -> None:  # pyright: ignore[reportUnusedFunction] - by name, in a fresh process
    """Print one line of JSON per event. Runs in the fresh process, where the output of plugins goes to stderr."""
    plugin, *files = sys.argv[1:]
    fix = _usual_fix(plugin)
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(**event: Any) -> None:
        print(json.dumps(event), file=events, flush=True)

    def attempt(doing: str, action: Callable[[], object]) -> None:
        tell(doing=doing)
        try:
            action()
        except KeyboardInterrupt:
            raise
        except PluginError as error:
            tell(cause=error.message, fix=error.fix or fix)
        except BaseException as error:
            said = " ".join(str(error).split()) if isinstance(error, MaeError) else cause_of(error)
            tell(cause=f"{doing} failed: {said}", fix=fix)

    attempt(f"importing plugin {plugin!r}", lambda: _load(plugin, files, tell=tell, attempt=attempt))


def _load(plugin: str, files: list[str], *, tell: Callable[..., None], attempt: Callable[..., None]) -> None:
    from mae_core.config import list_recipes
    from mae_core.registry import registry, use_plugin_file

    for file in files:
        use_plugin_file(Path(file))
    records = [record for record in registry().plugins if record.name == plugin]
    components = [component for record in records for component in record.components]
    tell(
        components=[(c.kind, c.name, c.target, c.plugin) for c in components],
        recipes=[name for name in list_recipes() if name.startswith((f"{plugin}/", f"demo/{plugin}"))],
        seconds=max((record.seconds for record in records), default=0.0),
    )
    for record in records:
        if record.status == "broken":
            tell(cause=record.cause, fix=record.fix)
    for component in components:
        attempt(f"importing {component.kind} {component.name!r} from {component.target!r}", component.load)
        if component.kind == "modalities":
            attempt(f"resolving the defaults of modality {component.name!r}", lambda c=component: _check_modality(c))


def _check_modality(component: Component) -> None:
    """Check that its defaults make a valid recipe, and that its functions can be imported."""
    from mae_core.config import load_config
    from mae_core.interfaces import Modality

    modality = component.load()
    if not isinstance(modality, Modality):
        raise PluginError(f"{component.target} is a {type(modality).__name__}; it must be a mae_core.interfaces.Modality")
    load_config(
        {"model": {"encoder": {"name": "vit", "width": 48, "depth": 1, "heads": 3}, "modalities": {component.name: {}}}}
    )
    for function in (modality.read, modality.picture):
        resolve(function)
