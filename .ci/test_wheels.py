"""What users get: the five wheels in an environment of their own, outside of the checkout. Run by `make wheels-test`.

Nothing is downloaded. The environment has its own pip and the wheels; everything else (torch, pytest, ...) it borrows from the
environment that runs this file, by links to each package but ours, so that no editable install can be found.
"""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "mae-core": {"mae_core", "mae_registry"},
    "mae-image": {"mae_image"},
    "mae-video": {"mae_video"},
    "mae-audio": {"mae_audio"},
    "mae-methods": {"mae_methods"},
}
FOLDERS = ("registry", "plugins", "configs", "tests", "bench", "docs")
"""Of the checkout; a wheel must claim none of these names."""
OFFLINE = ["--no-index", "--no-deps", "--quiet", "--disable-pip-version-check"]


class Environment:
    """An environment, and an empty folder to run commands in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv" / "bin"
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()

    def run(self, *command, cwd=None):
        """The standard output of a command of this environment, which must succeed."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MAE_", "VIRTUAL_ENV"))}
        environment = inherited | {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # so spelt, it turns isolation off
        }
        words = [str(self.bin / command[0]), *map(str, command[1:])]
        done = subprocess.run(words, cwd=cwd or self.elsewhere, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
        return done.stdout

    def require_nothing_of_the_checkout(self):
        """Everything of ours is imported from here, and the checkout's folders are not to be found."""
        imports = f"import {', '.join(sorted(set.union(*PACKAGES.values())))}"
        names = f"{FOLDERS!r}"
        program = f"""{imports}
import importlib.util, json, sys
files = [module.__file__ for name, module in sys.modules.items() if name.startswith("mae_")]
print(json.dumps([files, [name for name in {names} if importlib.util.find_spec(name)], sys.path]))"""
        files, found, path = json.loads(self.run("python", "-c", program))
        assert files
        assert [file for file in files if not Path(file).is_relative_to(self.folder / "venv")] == []
        assert found == []
        assert [entry for entry in path if Path(entry).is_relative_to(ROOT)] == []


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """By distribution."""
    folder = tmp_path_factory.mktemp("wheels")
    sources = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
    build = [sys.executable, "-m", "pip", "wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*build, *map(str, sources)], check=True)
    return {path.name.split("-")[0].replace("_", "-"): path for path in folder.glob("*.whl")}


@pytest.fixture(scope="session")
def environment(tmp_path_factory, wheels):
    folder = tmp_path_factory.mktemp("outside")
    made = Environment(folder)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    borrowed = folder / "borrowed"
    borrowed.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("mae_", "_editable", "__editable__", "pip", "__pycache__")) and entry.suffix != ".pth":
            (borrowed / entry.name).symlink_to(entry)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    made.run("python", "-m", "pip", "install", *OFFLINE, *wheels.values())
    return made


def test_wheels_claim_their_own_names_only(wheels):
    assert wheels.keys() == PACKAGES.keys()
    for distribution, wheel in wheels.items():
        tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
        assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES[distribution]


def test_nothing_comes_from_the_checkout(environment):
    environment.require_nothing_of_the_checkout()


def test_every_plugin_is_found(environment):
    plugins = json.loads(environment.run("mae", "plugins", "--json"))
    assert {(p["distribution"], p["status"]) for p in plugins} == {(name, "loaded") for name in PACKAGES}


def test_every_recipe_is_shipped_and_fine(environment):
    names = json.loads(
        environment.run(
            "python", "-c", "import json; from mae_core.config import list_recipes; print(json.dumps(list_recipes()))"
        )
    )
    shipped = {path.relative_to(ROOT / "configs").with_suffix("").as_posix() for path in ROOT.glob("configs/**/*.yaml")}
    of_methods = {f"methods/{path.stem}" for path in ROOT.glob("plugins/methods/mae_methods/recipes/*.yaml")}
    assert of_methods
    assert names == sorted(shipped | of_methods)
    program = f"from mae_core import load_config\nfor name in {names!r}: load_config(name)"
    environment.run("python", "-c", program)


@pytest.mark.parametrize(
    ("modality", "overrides"),
    [
        ("image", ["data.image.repeats=1", "train.batch_size=5"]),
        ("video", ["data.video.repeats=1", "train.batch_size=96", "model.modalities.video.tokenizer.input_size=[4,16,16]"]),
        ("audio", ["data.audio.count=4", "train.batch_size=2"]),
    ],
)
def test_a_packaged_recipe_trains(environment, modality, overrides):
    run = environment.elsewhere / modality
    two_steps = ["train.epochs=1", "train.num_workers=0", "train.num_pictures=1", "schedule.warmup_epochs=0"]
    environment.run("mae", "pretrain", f"demo/{modality}", *overrides, *two_steps, "--out", run)
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    assert list((run / "pictures").glob("*.png"))


def test_the_published_numbers_are_shipped(environment):
    checks = json.loads(environment.run("mae", "verify", "audio", "--json"))
    assert checks
    assert all(check["passed"] for check in checks)


def test_the_life_of_a_new_plugin(environment):
    environment.run("mae", "new-plugin", "waves")
    folder = environment.elsewhere / "waves"
    environment.run("mae", "install", "./waves", "--copy")
    environment.require_nothing_of_the_checkout()
    assert " passed" in environment.run("python", "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    small = ["data.waves.count=8", "train.batch_size=4", "train.epochs=1", "train.num_workers=0", "schedule.warmup_epochs=0"]
    environment.run("mae", "pretrain", "waves/demo", *small, "--out", "run")
    assert (environment.elsewhere / "run" / "report.html").exists()
    environment.run("mae", "uninstall", "waves")
    assert "waves" not in environment.run("mae", "plugins", "--json")
    environment.require_nothing_of_the_checkout()
