import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest

from mae_registry import (
    API_VERSION,
    KINDS,
    Component,
    ConfigError,
    PluginError,
    PluginRecord,
    Registry,
    discovery,
    hookimpl,
    hookspecs,
    load_registry,
)


@dataclass
class FakePoint:
    """What `importlib.metadata` gives for one installed plugin."""

    name: str
    module: ModuleType | Exception
    version: str = "1.2"

    @property
    def dist(self) -> SimpleNamespace:
        return SimpleNamespace(name=f"mae-{self.name}", version=self.version)

    def load(self) -> ModuleType:
        if isinstance(self.module, Exception):
            raise self.module
        return self.module


def plugin(api: object = API_VERSION, **hooks: dict[str, str]) -> ModuleType:
    """A plugin module: `plugin(register_maskers={"mine": "mine.masking:Mine"})`."""
    module = ModuleType("fake_plugin")
    if api is not None:
        module.MAE_API = api  # type: ignore[attr-defined]
    for hook, components in hooks.items():
        setattr(module, hook, _implementation(hook, components))
    return module


def _implementation(hook: str, components: dict[str, str]) -> Callable:
    def implementation(register: hookspecs.Register) -> None:
        for name, target in components.items():
            register(name, target)

    implementation.__name__ = hook
    return hookimpl(implementation)


MINE = {"mine": "mine.masking:Mine"}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Registry]:
    """`load_registry` with these plugins installed, and a core that has the masker `random`."""
    monkeypatch.setitem(sys.modules, "fake_core", plugin(register_maskers={"random": "core.masking:Random"}))
    monkeypatch.delenv("MAE_PLUGINS", raising=False)

    def load(**plugins: ModuleType | Exception) -> Registry:
        points = [FakePoint(name, module) for name, module in plugins.items()]
        monkeypatch.setattr(discovery.metadata, "entry_points", lambda group: points if group == "mae.plugins" else [])
        return load_registry(core="fake_core")

    return load


def record(registry: Registry, name: str) -> PluginRecord:
    return next(plugin for plugin in registry.plugins if plugin.name == name)


def cause(registry: Registry, name: str = "mine") -> str:
    """Why the plugin is broken."""
    assert record(registry, name).status == "broken"
    return record(registry, name).cause


@pytest.mark.parametrize("kind", KINDS)
def test_every_hook_is_documented_and_registers_its_kind(load: Callable[..., Registry], kind: str) -> None:
    hook = getattr(hookspecs, f"register_{kind}")
    assert hook.__doc__
    assert len(hook.__doc__) > 20
    assert "mae_core.interfaces." in hook.__doc__
    registry = load(mine=plugin(**{f"register_{kind}": MINE}))
    assert registry.get(kind, "mine") == Component(kind, "mine", "mine.masking:Mine", "mine")


def test_kinds_and_hooks_are_the_same_list() -> None:
    assert [f"register_{kind}" for kind in KINDS] == [name for name in vars(hookspecs) if name.startswith("register_")]


def test_a_loaded_plugin_is_on_record(load: Callable[..., Registry]) -> None:
    registry = load(mine=plugin(register_maskers=MINE))
    component = Component("maskers", "mine", "mine.masking:Mine", "mine")
    assert record(registry, "mine") == PluginRecord("mine", "mae-mine", "1.2", "loaded", (component,))
    assert [p.name for p in registry.plugins] == ["core", "mine"]
    assert registry.names("maskers") == ["mine", "random"]
    assert component in list(registry)


@pytest.mark.parametrize(
    ("wanted", "loaded"), [("", []), ("b", ["b"]), ("a,b", ["a", "b"]), (" b , ,a", ["a", "b"]), (None, ["a", "b"])]
)
def test_the_environment_restricts_what_is_loaded(
    load: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch, wanted: str | None, loaded: list[str]
) -> None:
    if wanted is not None:
        monkeypatch.setenv("MAE_PLUGINS", wanted)
    registry = load(b=plugin(), a=plugin())
    assert [p.name for p in registry.plugins] == ["core", *loaded]


def test_a_plugin_left_out_is_not_even_imported(load: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_PLUGINS", "b")
    assert [p.status for p in load(a=ImportError("no"), b=plugin()).plugins] == ["loaded", "loaded"]


def test_the_environment_names_a_plugin_that_is_not_installed(
    load: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAE_PLUGINS", "image,vidoe")
    message = r"^MAE_PLUGINS names 'vidoe', which is not installed\. Did you mean 'video'\? Known: image, video\.$"
    with pytest.raises(PluginError, match=message):
        load(image=plugin(), video=plugin())


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ImportError("No module named 'decoder'"), "ImportError: No module named 'decoder'"),
        (RuntimeError("two\n   lines"), "RuntimeError: two lines"),
    ],
)
def test_a_broken_plugin_harms_nothing_else(load: Callable[..., Registry], error: Exception, text: str) -> None:
    registry = load(broken=error, mine=plugin(register_maskers=MINE))
    assert cause(registry, "broken") == text
    assert record(registry, "broken").fix == "reinstall it, or remove it with: pip uninstall mae-broken"
    assert record(registry, "broken").components == ()
    assert registry.names("maskers") == ["mine", "random"]


def test_a_hook_that_fails_breaks_its_plugin_alone(load: Callable[..., Registry]) -> None:
    @hookimpl
    def register_targets(register: hookspecs.Register) -> None:
        raise KeyError("lost")

    broken = plugin(register_maskers=MINE)
    broken.register_targets = register_targets  # type: ignore[attr-defined]
    registry = load(broken=broken)
    assert cause(registry, "broken") == "KeyError: 'lost'"
    assert registry.names("maskers") == ["random"]


def test_a_hook_of_another_signature_breaks_its_plugin(load: Callable[..., Registry]) -> None:
    @hookimpl
    def register_targets(wrong: object) -> None: ...

    broken = plugin()
    broken.register_targets = register_targets  # type: ignore[attr-defined]
    assert "wrong" in cause(load(mine=broken))


@pytest.mark.parametrize(
    ("api", "stated"), [(2, "is written for MAE_API = 2"), ("1", "is written for MAE_API = 1"), (None, "states no MAE_API")]
)
def test_a_plugin_of_another_api_version(load: Callable[..., Registry], api: object, stated: str) -> None:
    registry = load(mine=plugin(api, register_maskers=MINE))
    assert cause(registry) == f"plugin 'mine' {stated}; this mae-core has MAE_API = 1"
    assert registry.names("maskers") == ["random"]


def test_a_misspelt_hook_names_the_right_one(load: Callable[..., Registry]) -> None:
    registry = load(mine=plugin(register_masker=MINE))
    assert cause(registry).startswith(
        "plugin 'mine' implements the unknown hook 'register_masker'. Did you mean 'register_maskers'? "
        "Known: register_datasets,"
    )


def test_two_plugins_with_one_name_both_named_and_the_second_registers_nothing(load: Callable[..., Registry]) -> None:
    first = plugin(register_maskers=MINE)
    second = plugin(register_encoders={"fine": "other:Fine"}, register_maskers={"also": "other:Also", "mine": "other:Mine"})
    registry = load(a=first, b=second)
    assert cause(registry, "b") == (
        "maskers 'mine' is registered by plugin 'a' (mine.masking:Mine) and by plugin 'b' (other:Mine); "
        "uninstall one of them or set MAE_PLUGINS"
    )
    assert record(registry, "a").status == "loaded"
    assert (registry.names("encoders"), registry.names("maskers")) == ([], ["mine", "random"])


def test_one_name_of_two_kinds_is_no_clash(load: Callable[..., Registry]) -> None:
    registry = load(a=plugin(register_encoders={"vit": "a:E"}, register_decoders={"vit": "a:D"}))
    assert registry.get("encoders", "vit").target == "a:E"
    assert registry.get("decoders", "vit").target == "a:D"


def test_the_cores_names_cannot_be_taken(load: Callable[..., Registry]) -> None:
    registry = load(mine=plugin(register_maskers={"random": "mine:Random"}))
    assert "registered by plugin 'core' (core.masking:Random) and by plugin 'mine' (mine:Random)" in cause(registry)
    assert registry.get("maskers", "random").plugin == "core"


def test_an_unknown_name_gives_the_nearest_and_the_broken_plugins(load: Callable[..., Registry]) -> None:
    registry = load(mine=ImportError("no torch"))
    with pytest.raises(ConfigError) as error:
        registry.get("maskers", "randon")
    assert str(error.value) == (
        "unknown maskers name 'randon'. Did you mean 'random'? Known: random. "
        "Plugin 'mine' is broken and was not loaded: ImportError: no torch."
    )
    with pytest.raises(ConfigError, match=r"^unknown layouts name 'x'\. Known: \(none\)\. Plugin 'mine'"):
        registry.get("layouts", "x")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no_such_module:X", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("math:Missing", "AttributeError: module 'math' has no attribute 'Missing'"),
    ],
)
def test_a_component_that_cannot_be_imported_names_its_plugin(target: str, reason: str) -> None:
    with pytest.raises(PluginError) as error:
        Component("maskers", "m", target, "mine").load()
    assert str(error.value) == f"maskers 'm' of plugin 'mine' cannot be loaded from {target!r}: {reason}"


def test_a_component_is_imported_on_use() -> None:
    import math

    assert Component("maskers", "m", "math:pi", "mine").load() == math.pi


@pytest.mark.parametrize("plugin_name", ["core", "image"])
def test_every_component_of_a_plugin_of_ours_can_be_loaded(plugin_name: str) -> None:
    from mae_core.registry import registry

    components = [component for component in registry() if component.plugin == plugin_name]
    assert components
    for component in components:
        assert component.load() is not None, component
