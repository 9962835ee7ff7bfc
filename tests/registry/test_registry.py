import importlib
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from types import ModuleType, SimpleNamespace

import pytest

from mae_registry import (
    API_VERSION,
    KINDS,
    Component,
    ConfigError,
    InstalledPlugin,
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
    module: ModuleType | BaseException
    version: str = "1.2"
    value: str = "fake.plugin"

    @property
    def dist(self) -> SimpleNamespace:
        return SimpleNamespace(name=f"mae-{self.name}", version=self.version)

    def load(self) -> ModuleType:
        if isinstance(self.module, BaseException):
            raise self.module
        return self.module


RAISES = FakePoint.load.__code__.co_firstlineno + 2
"""The line that a plugin's error comes from."""


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

    def load(**plugins: ModuleType | BaseException) -> Registry:
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
    assert len(hook.__doc__) > 50
    module, _, interface = hook.__doc__.split("`")[-2].rpartition(".")
    assert hasattr(importlib.import_module(module), interface)
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
    assert [p.name for p in registry.plugins] == ["core", "a", "b"]
    assert [p.name for p in registry.plugins if p.status == "loaded"] == ["core", *loaded]
    assert [p.name for p in registry.plugins if p.status == "excluded"] == sorted({"a", "b"} - set(loaded))


def test_a_plugin_left_out_is_not_even_imported(load: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_PLUGINS", "b")
    registry = load(a=ImportError("no"), b=plugin())
    assert [p.status for p in registry.plugins] == ["loaded", "excluded", "loaded"]
    assert registry.why_not_loaded("a") == "plugin 'a' is left out by MAE_PLUGINS"
    assert registry.why_not_loaded("b") is registry.why_not_loaded("absent") is None


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
        (ImportError("No module named 'decoder'"), "ImportError: No module named 'decoder' ({})"),
        (RuntimeError("two\n   lines"), "RuntimeError: two lines ({})"),
        (RuntimeError(), "RuntimeError ({})"),
        (SystemExit(3), "SystemExit: 3 ({})"),
        (
            GeneratorExit("neither Exception nor KeyboardInterrupt"),
            "GeneratorExit: neither Exception nor KeyboardInterrupt ({})",
        ),
        (SyntaxError("invalid syntax", ("plugin.py", 3, 1, "x y")), "SyntaxError: invalid syntax (plugin.py, line 3)"),
    ],
)
def test_a_broken_plugin_harms_nothing_else(load: Callable[..., Registry], error: BaseException, text: str) -> None:
    registry = load(broken=error, mine=plugin(register_maskers=MINE))
    assert cause(registry, "broken") == text.format(f"registry/test_registry.py:{RAISES}")
    assert record(registry, "broken").fix == "reinstall it, or remove it with: mae uninstall broken"
    assert record(registry, "broken").components == ()
    assert registry.names("maskers") == ["mine", "random"]


def test_ctrl_c_is_no_mistake_of_a_plugin(load: Callable[..., Registry]) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(mine=KeyboardInterrupt())


@pytest.mark.parametrize(
    ("missing", "fix"),
    [
        ("decoder.video", "install 'decoder', which it needs, or remove it with: mae uninstall mine"),
        ("fake.plugin", "reinstall it, or remove it with: mae uninstall mine"),
    ],
)
def test_a_module_that_is_missing_is_one_to_install_unless_it_is_the_plugins_own(
    load: Callable[..., Registry], missing: str, fix: str
) -> None:
    registry = load(mine=ModuleNotFoundError(f"No module named {missing!r}", name=missing))
    assert record(registry, "mine").fix == fix


def test_a_core_that_is_broken_is_not_to_be_uninstalled(load: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch) -> None:
    registry = load()
    monkeypatch.setitem(sys.modules, "fake_core", plugin(api=7))
    monkeypatch.setattr(discovery, "installed_plugins", list)
    registry = load_registry(core="fake_core")
    assert (record(registry, "core").status, record(registry, "core").fix) == ("broken", "reinstall mae-core")


def test_a_hook_that_fails_breaks_its_plugin_alone(load: Callable[..., Registry]) -> None:
    @hookimpl
    def register_targets(register: hookspecs.Register) -> None:
        raise KeyError("lost")

    broken = plugin(register_maskers=MINE)
    broken.register_targets = register_targets  # type: ignore[attr-defined]
    registry = load(broken=broken)
    line = register_targets.__code__.co_firstlineno + 2
    assert cause(registry, "broken") == f"KeyError: 'lost' (registry/test_registry.py:{line})"
    assert registry.names("maskers") == ["random"]


def no_arguments() -> None: ...


def another(wrong: object) -> None: ...


def one_more(register: object, config: object) -> None: ...


@pytest.mark.parametrize(
    ("function", "signature"),
    [
        (no_arguments, "() -> None"),
        (another, "(wrong: object) -> None"),
        (one_more, "(register: object, config: object) -> None"),
    ],
)
def test_a_hook_of_another_signature_breaks_its_plugin(
    load: Callable[..., Registry], function: Callable, signature: str
) -> None:
    broken = plugin()
    broken.register_targets = hookimpl(function)  # type: ignore[attr-defined]
    assert cause(load(mine=broken)) == (
        f"plugin 'mine' has a hook register_targets{signature}; it must take one argument: register_targets(register)"
    )


def test_a_hook_without_its_decorator_would_be_passed_over(load: Callable[..., Registry]) -> None:
    broken = plugin()
    broken.register_targets = lambda register: None  # type: ignore[attr-defined]
    assert cause(load(mine=broken)) == "plugin 'mine' has a function register_targets that is not decorated with @hookimpl"


@pytest.mark.parametrize("target", ["mine.masking.Mine", "mine/masking.py:Mine", ":Mine", "mine:", "", None, ModuleType])
def test_what_is_no_import_string_is_refused_when_it_is_registered(load: Callable[..., Registry], target: object) -> None:
    registry = load(mine=plugin(register_maskers={"mine": target}))  # type: ignore[dict-item]
    assert cause(registry).startswith(
        f"plugin 'mine' registers maskers 'mine' as {target!r}; it must register a name and an import string"
    )


@pytest.mark.parametrize(
    ("api", "stated"), [(2, "is written for MAE_API = 2"), ("1", "is written for MAE_API = 1"), (None, "states no MAE_API")]
)
def test_a_plugin_of_another_api_version(load: Callable[..., Registry], api: object, stated: str) -> None:
    registry = load(mine=plugin(api, register_maskers=MINE))
    assert cause(registry) == f"plugin 'mine' {stated}; this mae-core has MAE_API = 1"
    assert record(registry, "mine").fix == ("install a version of it for MAE_API = 1, or remove it with: mae uninstall mine")
    assert registry.names("maskers") == ["random"]


def test_a_misspelt_hook_names_the_right_one(load: Callable[..., Registry]) -> None:
    registry = load(mine=plugin(register_masker=MINE))
    assert cause(registry).startswith(
        "plugin 'mine' implements the unknown hook 'register_masker'. Did you mean 'register_maskers'? "
        "Known: register_certificates, register_datasets,"
    )


def test_two_plugins_with_one_name_both_named_and_the_second_registers_nothing(load: Callable[..., Registry]) -> None:
    first = plugin(register_maskers=MINE)
    second = plugin(register_encoders={"fine": "other:Fine"}, register_maskers={"also": "other:Also", "mine": "other:Mine"})
    registry = load(a=first, b=second)
    assert cause(registry, "b") == (
        "maskers 'mine' is registered by plugin 'a' (mine.masking:Mine) and by plugin 'b' (other:Mine)"
    )
    assert record(registry, "b").fix == "leave one out with MAE_PLUGINS, or remove it: mae uninstall a or mae uninstall b"
    assert record(registry, "a").status == "loaded"
    assert (registry.names("encoders"), registry.names("maskers")) == ([], ["mine", "random"])


def test_one_name_of_two_kinds_is_no_clash(load: Callable[..., Registry]) -> None:
    registry = load(a=plugin(register_encoders={"vit": "a:E"}, register_decoders={"vit": "a:D"}))
    assert registry.get("encoders", "vit").target == "a:E"
    assert registry.get("decoders", "vit").target == "a:D"


def test_the_cores_names_cannot_be_taken(load: Callable[..., Registry]) -> None:
    registry = load(mine=plugin(register_maskers={"random": "mine:Random"}))
    assert "registered by plugin 'core' (core.masking:Random) and by plugin 'mine' (mine:Random)" in cause(registry)
    assert record(registry, "mine").fix == "leave one out with MAE_PLUGINS, or remove it: mae uninstall mine"
    assert registry.get("maskers", "random").plugin == "core"


def test_a_plugin_that_registers_a_name_twice(load: Callable[..., Registry]) -> None:
    @hookimpl
    def register_maskers(register: hookspecs.Register) -> None:
        register("mine", "a:A")
        register("mine", "b:B")

    twice = plugin()
    twice.register_maskers = register_maskers  # type: ignore[attr-defined]
    assert cause(load(mine=twice)) == "plugin 'mine' registers maskers 'mine' twice, as 'a:A' and as 'b:B'"


def test_two_distributions_with_a_plugin_of_one_name(load: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch) -> None:
    load()
    points = [FakePoint("mine", plugin(register_maskers=MINE)), FakePoint("mine", plugin(), "9.9"), FakePoint("core", plugin())]
    monkeypatch.setattr(discovery.metadata, "entry_points", lambda group: points)
    registry = load_registry(core="fake_core")
    assert [(p.name, p.status) for p in registry.plugins] == [
        ("core", "loaded"),
        ("core", "broken"),
        ("mine", "loaded"),
        ("mine", "broken"),
    ]
    assert registry.plugins[1].cause.startswith("the plugin name 'core' is claimed by mae-core ")
    assert registry.plugins[3].cause == "the plugin name 'mine' is claimed by mae-mine 1.2 and by mae-mine 9.9"
    assert registry.plugins[3].fix == "remove one of them with: mae uninstall mae-mine"


def test_a_plugin_that_is_slow_to_import_is_told_of_meanwhile(
    monkeypatch: pytest.MonkeyPatch, load: Callable[..., Registry]
) -> None:
    load()
    told = threading.Event()
    plugins = []

    def on_slow(slow: InstalledPlugin) -> None:
        plugins.append(slow.name)
        told.set()

    def import_slowly() -> ModuleType:
        assert told.wait(60)
        return plugin(register_maskers=MINE)

    found = [InstalledPlugin("slow", "mae-slow", "1", "slow", import_slowly)]
    monkeypatch.setattr(discovery, "installed_plugins", lambda: found)
    registry = load_registry(core="fake_core", slow_after=0.01, on_slow=on_slow)
    assert plugins == ["slow"]
    assert record(registry, "slow").status == "loaded"
    assert record(registry, "slow").seconds > 0.005


def test_metadata_that_are_damaged_harm_nothing(monkeypatch: pytest.MonkeyPatch, load: Callable[..., Registry]) -> None:
    load()

    def entry_points(group: str) -> list[EntryPoint]:
        point = EntryPoint("odd", "not an object reference", group)
        nameless = SimpleNamespace(name=None, version=None)
        return [point, EntryPoint("gone", "no_such_module_here", group)._for(nameless)]  # type: ignore[attr-defined]

    monkeypatch.setattr(discovery.metadata, "entry_points", entry_points)
    registry = load_registry(core="fake_core")
    assert (record(registry, "odd").status, record(registry, "gone").status) == ("broken", "broken")
    assert cause(registry, "gone") == "ModuleNotFoundError: No module named 'no_such_module_here'"
    assert (record(registry, "gone").distribution, record(registry, "gone").version) == ("no_such_module_here", "unknown")


def test_an_unknown_name_gives_the_nearest_and_the_broken_plugins(load: Callable[..., Registry]) -> None:
    registry = load(mine=ImportError("no torch"))
    with pytest.raises(ConfigError) as error:
        registry.get("maskers", "randon")
    assert str(error.value) == (
        "unknown maskers name 'randon'. Did you mean 'random'? Known: random. "
        f"Plugin 'mine' is broken: ImportError: no torch (registry/test_registry.py:{RAISES}); "
        "to fix this, reinstall it, or remove it with: mae uninstall mine."
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
    assert str(error.value) == (
        f"maskers 'm' of plugin 'mine' cannot be loaded from {target!r}: {reason}; "
        "to fix this, reinstall it, or remove it with: mae uninstall mine"
    )


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
