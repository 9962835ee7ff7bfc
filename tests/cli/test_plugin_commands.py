"""`mae plugins`, `mae hooks` and `mae doctor`, with plugins that are broken in every way there is."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
from forks import serve
from sandbox import INTERRUPTIBLE, MASKERS, PLUGIN, Sandbox, make_sandbox, plugin_files, stopped_at_last

from mae_core.cli import doctor, fresh_process
from mae_core.cli.fresh_process import Report
from mae_core.interfaces import Modality
from mae_core.registry import registry
from mae_registry import KINDS, Component, MaeError

ROOT = Path(__file__).parents[2]
OTHER_FIX = "reinstall it, or remove it with: mae uninstall {}"
HOOKS = ", ".join(sorted(f"register_{kind}" for kind in KINDS))

BROKEN = {
    "needy": (
        "import nonsense_decoder.video",
        "ModuleNotFoundError: No module named 'nonsense_decoder' (mae_needy/plugin.py:1)",
        "install 'nonsense_decoder', which it needs, or remove it with: mae uninstall needy",
    ),
    "unlinked": (
        "raise ImportError('libsound.so.6: cannot open shared object file')",
        "ImportError: libsound.so.6: cannot open shared object file (mae_unlinked/plugin.py:1)",
        None,
    ),
    "garbled": ("def broken(:", "SyntaxError: invalid syntax (plugin.py, line 1)", None),
    "exiting": ("import sys\nsys.exit('no licence')", "SystemExit: no licence (mae_exiting/plugin.py:2)", None),
    "panicking": (
        "class Panic(BaseException): ...\nraise Panic('rust')",
        "Panic: rust (mae_panicking/plugin.py:2)",
        None,
    ),
    "misspelt": (
        PLUGIN.replace("register_maskers", "register_masker"),
        f"plugin 'misspelt' implements the unknown hook 'register_masker'. Did you mean 'register_maskers'? Known: {HOOKS}.",
        None,
    ),
    "arguing": (
        PLUGIN.replace("(register)", "(register, config)"),
        "plugin 'arguing' has a hook register_maskers(register, config); it must take one argument: register_maskers(register)",
        None,
    ),
    "unmarked": (
        PLUGIN.replace("@hookimpl", ""),
        "plugin 'unmarked' has a function register_maskers that is not decorated with @hookimpl",
        None,
    ),
    "raising": (
        PLUGIN.replace('register("', "raise KeyError('lost') #"),
        "KeyError: 'lost' (mae_raising/plugin.py:9)",
        None,
    ),
    "addressing": (
        PLUGIN.replace(":Mine", ".Mine"),
        "plugin 'addressing' registers maskers 'addressing' as 'mae_addressing.maskers.Mine'; "
        'it must register a name and an import string, "package.module:Object"',
        None,
    ),
    "newer": (
        PLUGIN.replace("MAE_API = 1", "MAE_API = 2"),
        "plugin 'newer' is written for MAE_API = 2; this mae-core has MAE_API = 1",
        "install a version of it for MAE_API = 1, or remove it with: mae uninstall newer",
    ),
    "nameless": (
        PLUGIN.replace("MAE_API = 1", ""),
        "plugin 'nameless' states no MAE_API; this mae-core has MAE_API = 1",
        "install a version of it for MAE_API = 1, or remove it with: mae uninstall nameless",
    ),
    "greedy": (
        PLUGIN.replace("{masker}", "random"),
        "maskers 'random' is registered by plugin 'core' (mae_core.masking:RandomMasker) "
        "and by plugin 'greedy' (mae_greedy.maskers:Mine)",
        "leave one out with MAE_PLUGINS, or remove it: mae uninstall greedy",
    ),
    "vain": (
        PLUGIN.replace("{masker}", "fine"),
        "maskers 'fine' is registered by plugin 'fine' (mae_fine.maskers:Mine) and by plugin 'vain' (mae_vain.maskers:Mine)",
        "leave one out with MAE_PLUGINS, or remove it: mae uninstall fine or mae uninstall vain",
    ),
}
"""Name -> the plugin's module, the cause, and the fix where it is not the usual one."""

COMPONENTS = {
    "hollow": (
        "raise RuntimeError('no GPU')",
        "maskers 'hollow' of plugin 'hollow' cannot be loaded from 'mae_hollow.maskers:Mine': "
        "RuntimeError: no GPU (mae_hollow/maskers.py:1)",
    ),
    "crashing": (
        "print('noise')\nimport os\nos.kill(os.getpid(), 11)",
        "the process ended by signal 11 while importing maskers 'crashing' from 'mae_crashing.maskers:Mine'",
    ),
    "leaving": (
        "import os\nos._exit(7)",
        "the process ended with exit code 7 while importing maskers 'leaving' from 'mae_leaving.maskers:Mine'",
    ),
}
"""Plugins that load, of which a component does not: the components' module, and what doctor says."""

MODALITY = """
from mae_core.interfaces import Modality
from mae_image.modality import IMAGE
MODALITY = Modality(name='handless', defaults=IMAGE.defaults, read='mae_handless.nowhere:f', picture='os:open')
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory) -> Sandbox:
    """All of them are installed, a plugin that is fine, and the one for images."""
    sandbox = make_sandbox(tmp_path_factory.mktemp("broken"))
    add(sandbox, "fine")
    for name, (text, _, _) in BROKEN.items():
        add(sandbox, name, plugin=text)
    for name, (text, _) in COMPONENTS.items():
        add(sandbox, name, components=text)
    registering = PLUGIN.replace("register_maskers", "register_modalities").replace(":Mine", ":MODALITY")
    add(sandbox, "handless", plugin=registering, components=MODALITY)
    sandbox.place("mae-gone", {}, plugins={"gone": "mae_gone.plugin"}, requires=["numpy<1", "no-such-package>=2"])
    sandbox.place("other-fine", {}, plugins={"fine": "mae_fine.plugin"}, version="2.0")
    sandbox.place("mae-image", {}, plugins={"image": "mae_image.plugin"})
    (sandbox.site_packages / "image.pth").write_text(f"{ROOT / 'plugins' / 'image'}\n")
    return sandbox


def add(sandbox, name, *, plugin=PLUGIN, components=MASKERS):
    files = plugin_files(name, plugin=PLUGIN)
    files[f"mae_{name}/plugin.py"] = textwrap.dedent(
        plugin.replace("{masker}", name).replace("{package}", f"mae_{name}")
    ).lstrip("\n" if "\n\n\n" not in plugin else "")
    files[f"mae_{name}/maskers.py"] = components
    sandbox.place(f"mae-{name}", files, plugins={name: f"mae_{name}.plugin"})


def expected_fix(name):
    return BROKEN[name][2] or OTHER_FIX.format(name)


@pytest.fixture(scope="module")
def listed(sandbox):
    process = sandbox.mae("plugins", "--json", light=True)
    assert (process.returncode, process.stderr) == (0, "")
    return json.loads(process.stdout)


@pytest.mark.parametrize("name", BROKEN)
def test_plugins_says_what_is_broken_and_what_to_do(listed, name):
    plugin = next(plugin for plugin in listed if plugin["name"] == name)
    assert (plugin["status"], plugin["cause"], plugin["fix"]) == ("broken", BROKEN[name][1], expected_fix(name))
    assert (plugin["distribution"], plugin["version"], plugin["components"]) == (f"mae-{name}", "1.0", [])


def test_what_is_not_broken_is_loaded_all_the_same(listed):
    assert [(p["name"], p["components"]) for p in listed if p["status"] == "loaded" and p["name"] in ("fine", *COMPONENTS)] == [
        (name, [f"maskers:{name}"]) for name in sorted(["fine", *COMPONENTS])
    ]
    twice = [(p["distribution"], p["status"]) for p in listed if p["name"] == "fine"]
    assert twice == [("mae-fine", "loaded"), ("other-fine", "broken")]
    (second,) = [p for p in listed if p["distribution"] == "other-fine"]
    assert second["cause"] == "the plugin name 'fine' is claimed by mae-fine 1.0 and by other-fine 2.0"
    assert second["fix"] == "remove one of them with: mae uninstall other-fine"
    (gone,) = [p for p in listed if p["name"] == "gone"]
    assert (gone["cause"], gone["fix"]) == ("ModuleNotFoundError: No module named 'mae_gone'", OTHER_FIX.format("gone"))


def test_the_json_of_plugins_has_these_keys(listed):
    for plugin in listed:
        assert list(plugin) == ["name", "distribution", "version", "status", "components", "cause", "fix", "seconds"]


def test_the_table_of_plugins(sandbox):
    out = sandbox.mae("plugins", light=True).stdout
    assert "ImportError: libsound.so.6: cannot open shared object file (mae_unlinked/plugin.py:1)" in out
    assert "fix: reinstall it, or remove it with: mae uninstall unlinked" in out


def test_all_plugins_also_those_left_out_and_those_not_installed(sandbox):
    process = sandbox.mae("plugins", "--all", "--json", light=True, MAE_PLUGINS="fine,image")
    listed = {plugin["name"]: plugin for plugin in json.loads(process.stdout)}
    assert (listed["needy"]["status"], listed["needy"]["fix"]) == ("excluded", "add it to MAE_PLUGINS")
    assert (listed["video"]["status"], listed["video"]["fix"]) == ("not installed", "mae install video")
    assert listed["image"]["status"] == "loaded"
    assert "depth" not in listed  # a modality of the image plugin, no plugin
    table = sandbox.mae("plugins", "--all", MAE_PLUGINS="fine,image").stdout
    assert "mae install video" in table
    assert "add it to MAE_PLUGINS" in table
    short = sandbox.mae("plugins", "--json", MAE_PLUGINS="image").stdout
    assert [plugin["name"] for plugin in json.loads(short)] == ["core", "image"]


@pytest.fixture(scope="module")
def forks_there(sandbox):
    with serve(sandbox.python, sandbox.environment()) as server:
        yield server


def test_a_run_that_needs_no_broken_plugin_is_not_troubled(forks_there):
    process = forks_there.mae("config", "check", "image/mae_vit_base")
    assert (process.returncode, process.stderr) == (0, "")


def test_a_run_that_needs_a_broken_plugin_says_so_in_one_line(forks_there, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "model:\n  encoder: {name: vit, width: 48, depth: 1, heads: 3}\n  modalities: {needy: {}}\ndata: {needy: {name: x}}\n"
    )
    process = forks_there.mae("config", "show", recipe)
    assert (process.returncode, process.stderr) == (
        1,
        f"error: {recipe}:3: model.modalities.needy: modality 'needy' is not loaded: plugin 'needy' is broken: "
        f"{BROKEN['needy'][1]}; to fix this, {BROKEN['needy'][2]}\n",
    )
    masker = "model.modalities.image.masker"
    two = {"MAE_PLUGINS": "image,needy"}
    process = forks_there.mae("config", "show", "image/mae_vit_base", f"{masker}=needy", environment=two)
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert f"Plugin 'needy' is broken: {BROKEN['needy'][1]}; to fix this, {BROKEN['needy'][2]}." in line
    process = forks_there.mae("config", "show", "image/mae_vit_base", f"{masker}=hollow")
    assert (process.returncode, process.stderr) == (
        1,
        f"error: {COMPONENTS['hollow'][1]}; to fix this, {OTHER_FIX.format('hollow')}\n",
    )


@pytest.fixture(scope="module")
def examined(sandbox):
    """What doctor finds."""
    process = sandbox.mae("doctor", "--json", light=True)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    found = json.loads(process.stdout)
    failed = [check for check in found["checks"] if check["status"] == "failed"]
    assert process.stderr == f"error: {len(failed)} of {len(found['checks'])} checks failed; each line says what to do\n"
    assert found["ok"] is False
    return found["checks"]


def findings(examined, name):
    return [(check["status"], check["detail"], check["fix"]) for check in examined if check["name"] == name]


@pytest.mark.parametrize("name", BROKEN)
def test_doctor_says_the_same(examined, name):
    assert findings(examined, f"plugin {name}") == [("failed", BROKEN[name][1], expected_fix(name))]


@pytest.mark.parametrize("name", COMPONENTS)
def test_doctor_finds_components_that_cannot_be_imported(examined, name):
    assert findings(examined, f"plugin {name}") == [("failed", COMPONENTS[name][1], OTHER_FIX.format(name))]


def test_doctor_finds_a_modality_that_does_not_work(examined):
    """Which needs the tokenizer of another plugin."""
    ((status, detail, fix),) = findings(examined, "plugin handless")
    assert (status, fix) == ("failed", OTHER_FIX.format("handless"))
    assert detail.startswith(
        "resolving the defaults of modality 'handless' failed: ModuleNotFoundError: No module named 'mae_handless.nowhere'"
    )


@pytest.mark.parametrize(
    ("modality", "said"),
    [
        (Modality(name="partless", defaults={}, read="os:open", picture="os:open"), r"partless\.tokenizer: is missing"),
        ({"name": "partless"}, "is a dict; it must be a mae_core.interfaces.Modality"),
    ],
)
def test_modalities_that_make_no_recipe(monkeypatch, modality, said):
    component = Component("modalities", "partless", "plugin_of_a_test:MODALITY", "core")
    monkeypatch.setitem(sys.modules, "plugin_of_a_test", SimpleNamespace(MODALITY=modality))
    monkeypatch.setitem(registry()._components, ("modalities", "partless"), component)
    with pytest.raises(MaeError, match=said):
        fresh_process._check_modality(component)


def test_doctor_looks_at_packages_devices_and_the_machine(examined):
    assert findings(examined, "plugin core")[0][0] == findings(examined, "plugin image")[0][0] == "ok"
    assert ("failed", "is not installed; mae-gone needs no-such-package>=2", "pip install 'no-such-package>=2'") in findings(
        examined, "no-such-package"
    )
    ((status, detail, fix),) = findings(examined, "numpy")
    assert status == "failed"
    assert detail.endswith(" is installed; mae-gone needs numpy<1")
    assert fix == "pip install 'numpy<1'"
    ((status, detail, _),) = findings(examined, "torch")
    assert status == "ok"
    assert detail.endswith("tested: >=2.11,<2.12")
    names = {check["name"] for check in examined}
    assert {"Python", "installer", "timm", "device", "cores", "memory", "disk"} <= names


def test_doctor_of_an_environment_that_is_fine(tmp_path):
    sandbox = make_sandbox(tmp_path)
    local = tmp_path / "mine.py"
    local.write_text("MAE_API = 1\n")
    process = sandbox.mae("doctor", "--plugin", local)
    assert (process.returncode, process.stderr) == (0, "")
    assert f"ok      plugin {local}: 0 components, all of which can be imported" in process.stdout.splitlines()


def test_doctor_tells_people_in_lines(mae, monkeypatch):
    found = [doctor.Finding("Python", "ok", "3"), doctor.Finding("plugin garbled", "failed", "SyntaxError", "remove it")]
    monkeypatch.setattr(doctor, "_checks", lambda timeout: iter([("everything", iter(found))]))
    code, out, err = mae("doctor")
    assert out.splitlines() == ["ok      Python: 3", "failed  plugin garbled: SyntaxError; to fix this, remove it"]
    assert code == 1
    assert "error: 1 of 2 checks failed; each line says what to do\n" in err
    monkeypatch.setattr(doctor, "_checks", lambda timeout: iter([("everything", iter(found[:1]))]))
    code, out, _ = mae("doctor", "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)


def test_a_plugin_that_is_slow_to_import_is_told_of(monkeypatch):
    monkeypatch.setattr(doctor, "check_plugin", lambda name, **_: Report(name, seconds=3.21))
    (finding,) = doctor._plugin("snail", doctor.Registry(), 60)
    assert (finding.name, finding.status) == ("plugin snail", "warning")
    assert "3.2 s" in finding.detail
    assert finding.fix


def test_plugins_of_an_environment_that_is_wrong(monkeypatch):
    monkeypatch.setenv("MAE_PLUGINS", "image, vidoe")
    (finding,) = doctor._environment()
    assert (finding.name, finding.status) == ("MAE_PLUGINS", "failed")
    assert finding.detail.startswith("'image, vidoe' names vidoe, ")
    assert finding.fix


def test_little_memory_and_no_place_on_the_disk(monkeypatch):
    monkeypatch.setattr(doctor, "LITTLE_DISK", 2**62)
    monkeypatch.setattr(doctor, "LITTLE_MEMORY", 2**62)
    assert {finding.name: finding.status for finding in doctor._machine()} == {
        "cores": "ok",
        "memory": "warning",
        "disk": "warning",
    }


def test_a_torch_that_cannot_be_imported(monkeypatch):
    monkeypatch.setattr(doctor, "run_fresh", lambda *_, **__: ("ended by signal 11", "", "x\nundefined symbol: ncclFoo\n"))
    (finding,) = doctor._devices(1)
    assert (finding.status, finding.detail) == (
        "failed",
        "the process that imports torch ended by signal 11: undefined symbol: ncclFoo",
    )


def test_broken_ones_can_be_removed(tmp_path_factory):
    sandbox = make_sandbox(tmp_path_factory.mktemp("removed"))
    names = ["needy", "garbled", "exiting", "panicking", "newer", "greedy"]
    for name in names:
        add(sandbox, name, plugin=BROKEN[name][0])
    add(sandbox, "crashing", components=COMPONENTS["crashing"][0])
    sandbox.place("mae-gone", {}, plugins={"gone": "mae_gone.plugin"})
    for name in [*names, "crashing", "gone"]:
        process = sandbox.mae("uninstall", name, light=True)
        assert process.stdout.startswith(f"plugin {name} was removed (mae-{name} 1.0)"), process.stderr
    assert len(json.loads(sandbox.mae("plugins", "--json").stdout)) == 1
    assert not list(sandbox.site_packages.glob("mae_*"))


def test_two_plugins_of_one_name_are_removed_by_their_distributions(tmp_path):
    sandbox = make_sandbox(tmp_path)
    add(sandbox, "fine")
    sandbox.place("other", {}, plugins={"fine": "mae_fine.plugin", "more": "mae_fine.plugin"}, version="2.0")
    process = sandbox.mae("uninstall", "fine", light=True)
    assert process.returncode == 1
    assert "mae-fine 1.0 and other 2.0; name the distribution to remove" in process.stderr
    out = sandbox.mae("uninstall", "other", light=True).stdout
    assert out.startswith("plugin fine was removed, and with it more (other 2.0)")
    assert [plugin["distribution"] for plugin in json.loads(sandbox.mae("plugins", "--json").stdout)] == [
        "mae-core",
        "mae-fine",
    ]


def test_a_plugin_whose_import_never_ends(tmp_path):
    """It is told of while it hangs, Ctrl-C ends it, doctor does not wait for it, and it can be removed."""
    sandbox = make_sandbox(tmp_path)
    add(sandbox, "endless", plugin="import time\nprint('one moment', flush=True)\ntime.sleep(600)\n")
    process = subprocess.Popen(
        [sandbox.python, "-c", INTERRUPTIBLE, "plugins"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=sandbox.environment(),
    )
    with stopped_at_last(process):
        assert process.stderr
        assert process.stderr.readline() == (
            "plugin 'endless' (mae-endless 1.0) is still being imported after 2 s; "
            "to remove it: mae uninstall endless; to leave it out, name others in MAE_PLUGINS\n"
        )
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    report = sandboxed_check(sandbox, "endless", timeout=2.5)
    assert report == "the process was stopped after 2.5 s while importing plugin 'endless'"
    assert "plugin endless was removed" in sandbox.mae("uninstall", "endless", light=True).stdout


def sandboxed_check(sandbox, name, *, timeout):
    program = f"from mae_core.cli.fresh_process import *; print(check_plugin({name!r}, timeout={timeout}).problems[0].cause)"
    done = subprocess.run(
        [sandbox.python, "-c", program], capture_output=True, text=True, check=True, env=sandbox.environment()
    )
    return done.stdout.rstrip("\n")


def test_what_grandchildren_hold_open_is_not_waited_for(tmp_path):
    (tmp_path / "holding.py").write_text(
        "import subprocess, sys\n"
        "def hold(): print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    end, out, _ = fresh_process.run_fresh("holding:hold", timeout=60, environment=environment)
    os.kill(int(out), signal.SIGKILL)  # it is there still
    assert end == ""


def test_hooks_lists_every_hook_and_who_implements_it(sandbox):
    process = sandbox.mae("hooks", "--json", light=True, MAE_PLUGINS="image,fine")
    assert process.returncode == 0, process.stderr
    hooks = {hook["name"]: hook for hook in json.loads(process.stdout)}
    assert list(hooks) == [f"register_{kind}" for kind in KINDS]
    masker_hook = hooks["register_maskers"]
    assert "mae_core.interfaces.Masker" in masker_hook.pop("for")
    assert masker_hook == {"name": "register_maskers", "signature": "(register)", "plugins": ["core", "fine"]}
    table = sandbox.mae("hooks", light=True, MAE_PLUGINS="image,fine").stdout
    for kind in KINDS:
        assert f"register_{kind}" in table


def test_help_groups_the_commands(sandbox):
    out = sandbox.mae("--help", light=True).stdout
    places = [out.index(f" {command} ") for command in ("pretrain", "report", "install", "uninstall", "config")]
    assert places == sorted(places)
    assert out.count("╭") >= 5  # a box of options, and one for each group
