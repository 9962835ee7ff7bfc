"""`mae install` and `mae uninstall`, for real, in an environment of their own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sandbox import INTERRUPTIBLE, Sandbox, make_sandbox, make_wheel, plugin_files, stopped_at_last

from mae_core.cli import installer
from mae_core.cli.install import _explained
from mae_core.cli.sources import Source
from mae_registry import MaeError

PLUGINS = Path(__file__).parents[2] / "plugins"
LIDAR = {"lidar": "mae_lidar.plugin"}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory) -> Sandbox:
    return make_sandbox(tmp_path_factory.mktemp("sandbox"))


@pytest.fixture
def clean(sandbox):
    """What a test installs is gone after it."""
    yield
    for plugin in listed(sandbox):
        if plugin["name"] != "core":
            assert sandbox.mae("uninstall", plugin["distribution"]).returncode == 0


def listed(sandbox):
    return json.loads(sandbox.mae("plugins", "--json").stdout)


def installed(sandbox):
    """Name -> version and status of what is installed beside the core."""
    return {plugin["name"]: (plugin["version"], plugin["status"]) for plugin in listed(sandbox) if plugin["name"] != "core"}


def done(process):
    assert process.returncode == 0, process.stderr
    return process.stdout


def failure(process):
    assert process.returncode == 1, process.stdout
    assert "Traceback" not in process.stderr
    return process.stderr


@pytest.fixture
def wheels(sandbox, tmp_path) -> Path:
    folder = tmp_path / "wheels"
    make_wheel(folder, "mae-lidar", "1.0", plugin_files("lidar"), plugins=LIDAR, requires=["mae-core==0.1.0", "numpy"])
    return folder


def test_a_short_name_is_installed_from_the_checkout_and_removed(sandbox, clean):
    out = done(sandbox.mae("install", "video", light=True))
    first, second = out.splitlines()
    assert first.startswith(
        f"plugin video is installed (mae-video 0.1.0, editable from {PLUGINS / 'video'}): tokenizers tubelets;"
    )
    assert first.endswith("; modalities video; certificates video")
    assert second == "try next: mae pretrain demo/video, or: mae verify video"
    assert installed(sandbox) == {"video": ("0.1.0", "loaded")}
    assert "is fine" in done(sandbox.mae("config", "check", "video/videomae_small"))
    assert done(sandbox.mae("uninstall", "video", light=True)).startswith("plugin video was removed (mae-video 0.1.0)")
    assert installed(sandbox) == {}
    assert "install it with: mae install video" in failure(sandbox.mae("config", "check", "video/videomae_small"))


def test_a_wheel_from_a_folder_of_wheels(sandbox, clean, wheels):
    out = done(sandbox.mae("install", "lidar", "--find-links", wheels, light=True))
    assert out == "plugin lidar is installed (mae-lidar 1.0): maskers lidar\ntry next: name it in a recipe, masker: lidar\n"
    # a newer one that would change numpy is not taken, and the reason is told when it is asked for
    make_wheel(wheels, "mae-lidar", "2.0", plugin_files("lidar"), plugins=LIDAR, requires=["numpy<1"])
    message = failure(sandbox.mae("install", "mae-lidar==2.0", "--find-links", wheels, light=True))
    assert message.startswith("error: mae-lidar was not installed: ")
    assert message.splitlines()[0].endswith(": pip install mae-lidar==2.0")
    assert "mae-lidar 2.0 depends on numpy<1" in message
    assert installed(sandbox) == {"lidar": ("1.0", "loaded")}
    make_wheel(wheels, "mae-lidar", "1.5", plugin_files("lidar"), plugins=LIDAR)
    assert "(mae-lidar 1.5)" in done(sandbox.mae("install", "lidar", "--find-links", wheels, light=True))
    assert done(sandbox.mae("uninstall", "mae_lidar", light=True)).startswith("plugin lidar was removed (mae-lidar 1.5)")


def test_installing_again_mends_files(sandbox, clean, wheels):
    wheel = wheels / "mae_lidar-1.0-py3-none-any.whl"
    done(sandbox.mae("install", wheel, light=True))
    module = sandbox.site_packages / "mae_lidar" / "plugin.py"
    module.write_text("import nonsense_that_is_not_there")
    assert installed(sandbox) == {"lidar": ("1.0", "broken")}
    assert "plugin lidar is installed" in done(sandbox.mae("install", wheel, light=True))
    module.unlink()
    assert "plugin lidar is installed" in done(sandbox.mae("install", "lidar", "--find-links", wheels, light=True))
    assert installed(sandbox) == {"lidar": ("1.0", "loaded")}


@pytest.fixture
def folder(tmp_path) -> Path:
    """The source of a plugin."""
    source = tmp_path / "my lidar"
    for name, text in plugin_files("lidar").items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    (source / "pyproject.toml").write_text(
        """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "acme.Lidar"
version = "3"
[project.entry-points."mae.plugins"]
lidar = "mae_lidar.plugin"
[tool.hatch.build.targets.wheel]
packages = ["mae_lidar"]
"""
    )
    return source


def test_a_folder_takes_effect_as_it_changes_unless_it_is_copied(sandbox, clean, folder):
    assert f"(acme.Lidar 3, editable from {folder}): maskers lidar\n" in done(sandbox.mae("install", folder, light=True))
    module = folder / "mae_lidar" / "plugin.py"
    module.write_text(module.read_text().replace('register("lidar"', 'register("radar"'))
    assert listed(sandbox)[1]["components"] == ["maskers:radar"]
    assert f"(acme.Lidar 3, copied from {folder}): maskers radar\n" in done(
        sandbox.mae("install", folder, "--copy", light=True)
    )
    module.unlink()
    assert listed(sandbox)[1]["components"] == ["maskers:radar"]
    assert done(sandbox.mae("uninstall", "acme-lidar", light=True)).startswith("plugin lidar was removed (acme.Lidar 3)")


def test_a_plugin_that_does_not_work_is_told_of_at_once(sandbox, clean, folder):
    (folder / "mae_lidar" / "maskers.py").write_text("import nonsense_that_is_not_there")
    assert failure(sandbox.mae("install", folder, light=True)) == (
        "error: acme.Lidar 3 is installed, but plugin 'lidar' is broken: maskers 'lidar' of plugin 'lidar' cannot be loaded "
        "from 'mae_lidar.maskers:Mine': ModuleNotFoundError: No module named 'nonsense_that_is_not_there' "
        "(mae_lidar/maskers.py:1); to fix this, install 'nonsense_that_is_not_there', which it needs, "
        "or remove it with: mae uninstall lidar\n"
    )


def test_a_folder_that_cannot_be_built(sandbox, folder):
    project = folder / "pyproject.toml"
    project.write_text(project.read_text().replace('version = "3"', 'version = "three"'))
    message = failure(sandbox.mae("install", folder, light=True))
    assert message.startswith("error: acme.Lidar was not installed:\n")
    assert "Invalid version `three`" in message
    assert installed(sandbox) == {}


def test_ctrl_c_leaves_nothing_behind(sandbox, folder):
    (folder / "slow_build.py").write_text(
        "import pathlib, time\n"
        f"def prepare_metadata_for_build_editable(*_): pathlib.Path({str(folder / 'started')!r}).touch(); time.sleep(300)\n"
        "def build_editable(*_): ...\n"
        "build_wheel = build_editable\n"
    )
    project = folder / "pyproject.toml"
    text = project.read_text().replace('requires = ["hatchling"]', "requires = []")
    project.write_text(text.replace('"hatchling.build"', '"slow_build"\nbackend-path = ["."]'))
    process = subprocess.Popen(
        [sandbox.python, "-c", INTERRUPTIBLE, "install", folder],
        stderr=subprocess.PIPE,
        text=True,
        env=sandbox.environment(),
        start_new_session=True,
    )
    with stopped_at_last(process):
        while not (folder / "started").exists() and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (130, "interrupted; acme.Lidar is not installed")
    assert "Traceback" not in err
    assert installed(sandbox) == {}


def test_what_does_not_exist_and_what_is_no_plugin(sandbox, wheels):
    message = failure(sandbox.mae("install", "vidoe", light=True))
    assert message.startswith("error: there is no distribution mae-vidoe on the package index. Did you mean 'video'?")
    make_wheel(wheels, "some-dist", "1.1", {"nothing.py": ""})
    message = failure(sandbox.mae("install", "some-dist", "--find-links", wheels, light=True))
    assert message.startswith("error: some-dist 1.1 is installed, but it is not an MAE plugin")
    assert message.endswith(": pip uninstall some-dist\n")
    for other in ("some-dist", "torch"):
        assert failure(sandbox.mae("uninstall", other, light=True)).endswith("not an MAE plugin; nothing was removed\n")
    assert failure(sandbox.mae("uninstall", "lidar", light=True)) == "error: no plugin 'lidar' is installed. Known: (none).\n"
    for name in ("core", "mae_core"):
        assert failure(sandbox.mae("uninstall", name)).endswith(": pip uninstall mae-core\n")


def test_a_plugin_in_a_folder_that_the_installer_does_not_manage(sandbox, wheels, tmp_path):
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheels / "mae_lidar-1.0-py3-none-any.whl", tmp_path], check=True)
    message = failure(sandbox.mae("uninstall", "lidar", PYTHONPATH=str(tmp_path)))
    assert message.startswith("error: mae-lidar")
    assert str(tmp_path) in message


def test_neither_pip_nor_uv(monkeypatch):
    monkeypatch.setattr(installer.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(installer.shutil, "which", lambda name: None)
    with pytest.raises(MaeError, match=r"has neither pip nor uv, .* get pip with:"):
        installer.installer()


def test_uv_where_there_is_no_pip(monkeypatch, tmp_path):
    uv = tmp_path / "uv"
    uv.write_text(f'#!/bin/sh\nprintf \'%s\\n\' "$@" > {tmp_path}/arguments\ncat "$8" > {tmp_path}/pins 2>/dev/null || true\n')
    uv.chmod(0o755)
    monkeypatch.setattr(installer.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    installer.install("mae-video", "--find-links", "wheels", besides="mae_video")
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments[:4] == ["pip", "install", "--python", sys.executable]
    assert arguments[4:7] == ["--upgrade-package", "mae-video", "--constraint"]
    assert arguments[8:] == ["--find-links", "wheels", "mae-video"]
    pins = (tmp_path / "pins").read_text().splitlines()
    assert any(re.fullmatch(r"torch==2\.\d+\.\d+.*", pin) for pin in pins)
    assert "mae-core==0.1.0" in pins
    assert not any(pin.startswith("mae-video") for pin in pins)
    installer.uninstall("mae-video")
    assert (tmp_path / "arguments").read_text().split() == ["pip", "uninstall", "--python", sys.executable, "mae-video"]


@pytest.mark.parametrize(
    ("lines", "meant"),
    [
        (["Collecting x", "ERROR: no", "because", "", "[notice] a new pip"], "ERROR: no\nbecause"),
        (["one", "two", "three", "four", "five", "six"], "two\nthree\nfour\nfive\nsix"),
        (
            [
                "error: failed",
                "  Traceback (most recent call last):",
                "    File x",
                "      line",
                "  ValueError: y",
                "  [end of output]",
            ],
            "error: failed\n  ValueError: y",
        ),
        (["  × No solution found:", "  ╰─▶ x needs y"], "  × No solution found:\n  ╰─▶ x needs y"),
    ],
)
def test_the_last_meaningful_lines(lines, meant):
    assert str(installer.InstallerFailed(lines)) == meant


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [
                "WARNING: Retrying ... Failed to establish a new connection",
                "ERROR: No matching distribution found for mae-video",
            ],
            "mae-video was not installed: the package index cannot be reached\n"
            "ERROR: No matching distribution found for mae-video",
        ),
        (
            [
                "ERROR: Could not find a version that satisfies the requirement mae-video (from versions: none)",
                "ERROR: No matching distribution found for mae-video",
            ],
            "there is no distribution mae-video in wheels or on the package index; "
            "name the folder of its source (mae install ./PATH), or a folder of wheels (--find-links DIR)",
        ),
        (
            [
                "  × No solution found",
                "  ╰─▶ Because mae-video was not found in the package registry and you require mae-video",
            ],
            "there is no distribution mae-video in wheels or on the package index; "
            "name the folder of its source (mae install ./PATH), or a folder of wheels (--find-links DIR)",
        ),
        (["error: externally-managed-environment"], "mae-video was not installed:\nerror: externally-managed-environment"),
    ],
)
def test_what_installers_say_is_explained(lines, message):
    assert str(_explained(installer.InstallerFailed(lines), Source("mae-video", "mae-video"), ["wheels"])) == message
