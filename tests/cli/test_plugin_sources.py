"""What `mae install WHAT` means."""

from pathlib import Path

import pytest
from sandbox import make_wheel

from mae_core.cli import sources
from mae_core.cli.sources import Source, can_build_here, find_source, known_plugins
from mae_registry import MaeError

PLUGINS = Path(__file__).parents[2] / "plugins"


def test_the_short_names_are_those_of_our_plugins():
    projects = {path: sources._pyproject(path)["project"] for path in PLUGINS.glob("*/pyproject.toml")}
    names = {name: p["name"] for p in projects.values() for name in p["entry-points"]["mae.plugins"]}
    assert names
    assert names.items() <= known_plugins().items()
    assert set(known_plugins().values()) == set(names.values())
    first = {}
    for name, distribution in known_plugins().items():
        assert name in names or distribution in first  # a plugin's own name comes before its other modalities'
        first.setdefault(distribution, name)


def test_every_modality_of_ours_has_a_short_name():
    from mae_core.registry import registry

    ours = {plugin.name for plugin in registry().plugins if plugin.distribution in known_plugins().values()}
    modalities = [c for c in registry() if c.kind == "modalities" and c.plugin in ours]
    assert len(modalities) >= 3
    distributions = {plugin.name: plugin.distribution for plugin in registry().plugins}
    assert {c.name: distributions[c.plugin] for c in modalities}.items() <= known_plugins().items()


@pytest.mark.parametrize(
    ("what", "requirement", "distribution"),
    [
        ("lidar", "mae-lidar", "mae-lidar"),
        ("some-dist", "some-dist", "some-dist"),
        ("some_dist[fast]>=1", "some_dist[fast]>=1", "some_dist"),
        ("lidar==2", "lidar==2", "lidar"),
        ("mae-video==0.1.0", "mae-video==0.1.0", "mae-video"),
        ("mae-lidar @ git+https://example.org/lidar", "mae-lidar @ git+https://example.org/lidar", "mae-lidar"),
    ],
)
def test_what_is_meant(what, requirement, distribution):
    assert find_source(what) == Source(requirement, distribution)


def test_a_plugin_of_ours_comes_from_the_checkout():
    for what in ("video", "Video", "mae-video", "mae_video"):
        assert find_source(what).folder == PLUGINS / "video"
        assert find_source(what, checkout=False).folder is None
    assert find_source("depth").folder == PLUGINS / "image"
    assert find_source("depth", checkout=False) == Source("mae-image", "mae-image")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("./nowhere", "there is no folder or wheel {here}/nowhere"),
        (".", "{here} is not a plugin: it has no pyproject.toml; `mae new-plugin NAME` writes a plugin to start from"),
        ("./text", "{here}/text is neither a folder nor a wheel (.whl)"),
        ("text.whl", "{here}/text.whl is damaged, or not a wheel"),
        (
            "empty-1-py3-none-any.whl",
            "empty-1-py3-none-any.whl is not an MAE plugin: it has no entry point in the group mae.plugins",
        ),
        (
            "./project",
            '{here}/project is not a plugin: its pyproject.toml has no table [project.entry-points."mae.plugins"]; '
            "docs/plugins.md explains what to write there",
        ),
        ("./garbled", "{here}/garbled/pyproject.toml is not valid TOML: "),
        (
            "git+https://x.org/y",
            "git+https://x.org/y is an address; give the name of the distribution too: "
            "mae install 'NAME @ git+https://x.org/y'",
        ),
        ("mae_core", "mae-core is the core and not a plugin; to change its version, use pip itself"),
        (
            "=1",
            "'=1' is neither a plugin's short name nor the name of a distribution nor a path; known short names: {known}",
        ),
    ],
)
def test_what_cannot_be_meant(tmp_path, monkeypatch, what, message):
    monkeypatch.chdir(tmp_path)
    for name, project in {"project": "[project]\nname = 'x'\n", "garbled": "not toml"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "pyproject.toml").write_text(project)
    (tmp_path / "text").touch()
    (tmp_path / "text.whl").touch()
    make_wheel(tmp_path, "empty", "1", {}).rename(tmp_path / "empty-1-py3-none-any.whl")
    with pytest.raises(MaeError) as error:
        find_source(what)
    assert str(error.value).startswith(message.format(here=tmp_path, known=", ".join(known_plugins())))


@pytest.mark.parametrize(
    ("requires", "here"), [('["hatchling>=1"]', True), ("[]", True), ('["hatchling", "no-such-thing-here >= 2"]', False)]
)
def test_a_build_is_isolated_only_where_its_tools_are_missing(tmp_path, requires, here):
    (tmp_path / "pyproject.toml").write_text(f"[build-system]\nrequires = {requires}\n")
    assert can_build_here(tmp_path) == here
