"""`mae new-plugin`: what it writes works as it is, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mae_core.cli import main

ROOT = Path(__file__).parents[2]
KINDS = {"modality": "wave-forms", "masker": "runs", "target": "smooth_l1"}
IMAGES = ["data.image.repeats=1", "train.batch_size=5"]
SMALL = {
    "modality": ["data.wave_forms.count=8", "train.batch_size=4"],
    "masker": IMAGES,
    "target": IMAGES,
}
"""Overrides for two steps of each template's recipe."""
TESTS = "import pytest, sys; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider']))"


@pytest.fixture
def new_plugin(capfd, monkeypatch, tmp_path):
    """Runs `mae new-plugin` in an empty folder; returns (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["new-plugin", *arguments])
        out, err = capfd.readouterr()
        return stop.value.code or 0, out, err

    return run


@pytest.fixture(scope="module", params=KINDS)
def generated(request, tmp_path_factory, forks):
    """(kind, its folder, how to run `mae` or Python in it, with it installed)"""
    kind, name = request.param, KINDS[request.param]
    place = tmp_path_factory.mktemp(kind)
    folder, site = place / name, place / "site"
    with pytest.raises(SystemExit) as stop:
        main(["new-plugin", name, f"--{kind}", "--out", str(folder)])
    assert not stop.value.code
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, str(folder)], check=True)

    def run(**step):
        (done,) = forks.steps([step], folder=folder, site=site)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return kind, folder, run


def test_its_tests_pass_as_generated(generated):
    _, _, run = generated
    assert " passed" in run(python=TESTS)


def test_it_is_listed_and_imports_no_torch(generated):
    _, folder, run = generated
    name = folder.name.replace("-", "_")
    (found,) = (p for p in json.loads(run(mae=["plugins", "--json"])) if p["name"] == name)
    assert (found["status"], found["distribution"]) == ("loaded", f"mae-{name.replace('_', '-')}")
    run(shell=f"python -c \"import sys, mae_{name}.plugin; assert 'torch' not in sys.modules\"")


def test_its_recipe_trains(generated):
    kind, folder, run = generated
    recipe = f"{folder.name.replace('-', '_')}/demo"
    two_steps = [*SMALL[kind], "train.epochs=1", "train.num_workers=0", "schedule.warmup_epochs=0"]
    run(mae=["pretrain", recipe, *two_steps, "--out", "run"])
    assert len((folder / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    assert list((folder / "run" / "pictures").glob("*.png"))


def test_it_is_clean(generated):
    _, folder, _ = generated
    rules = ["--config", ROOT / "pyproject.toml", "--no-cache"]
    for command in (["check", *rules], ["format", "--check", *rules]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_its_readme_names_every_file_and_command(generated):
    _, folder, _ = generated
    readme = (folder / "README.md").read_text()
    for path in folder.glob("mae_*/**/*"):
        if path.suffix in (".py", ".yaml") and path.name != "__init__.py":
            assert f"`{path.relative_to(folder)}`" in readme
    assert "choose a licence" in readme


def test_a_modality_brings_its_statistics(generated):
    kind, _, run = generated
    if kind == "modality":
        measured = run(mae=["statistics", "wave_forms/demo", *SMALL[kind]])
        keys = [line.partition("=")[0] for line in measured.splitlines()]
        assert keys == [f"model.modalities.wave_forms.tokenizer.{key}" for key in ("mean", "std")]
        run(mae=["config", "check", "wave_forms/demo", *measured.split()])


def test_it_says_what_to_do_next(new_plugin, tmp_path):
    code, out, _ = new_plugin("Time-Series", "--out", "some where")
    assert code == 0
    first, *_ = out.splitlines()
    assert "time_series" in first
    assert "some where/" in first
    assert [line for line in out.splitlines() if line.startswith("  ")] == [
        "  cd 'some where'",
        "  mae install .",
        "  python -m pytest",
        "  mae pretrain time_series/demo",
    ]
    assert 'name = "mae-time-series"' in (tmp_path / "some where" / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", ["mae-waves", "waves", "mae_waves"])
def test_the_distributions_name_does_as_well(new_plugin, name, tmp_path):
    assert new_plugin(name)[0] == 0
    assert 'name = "mae-waves"' in (tmp_path / name / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["3d"], "'3d' cannot be a plugin's name: it must begin with a letter and consist of ASCII letters and digits"),
        (["a b"], "'a b' cannot be a plugin's name"),
        (["../a"], "'../a' cannot be a plugin's name"),
        (["wave-"], "'wave-' cannot be a plugin's name"),
        (["a--b"], "'a--b' cannot be a plugin's name"),
        (["größe"], "'größe' cannot be a plugin's name"),
        ([""], "'' cannot be a plugin's name"),
        (["mae-3d"], "'mae-3d' cannot be a plugin's name"),
        (["null"], "YAML would not read 'null'"),
        (["image"], "a plugin 'image' is already installed"),
        (["mae-core"], "a plugin 'core' is already installed"),
        (["registry"], "mae_registry"),
        (["random", "--masker"], "maskers 'random' is already registered by plugin 'core'"),
        (["pixels", "--target"], "targets 'pixels' is already registered by plugin 'core'"),
        (["depth"], "tokenizers 'depth_patches' is already registered by plugin 'image'"),
    ],
    ids=str,
)
def test_names_that_it_refuses(new_plugin, arguments, message, tmp_path):
    code, _, err = new_plugin(*arguments)
    assert code == 1
    assert err.count("error: ") == 1
    assert message in " ".join(err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_taken_for_what_it_registers_only(new_plugin):
    assert new_plugin("random", "--target")[0] == 0


def test_a_folder_that_exists(new_plugin, tmp_path):
    (tmp_path / "waves").mkdir()
    code, _, err = new_plugin("waves")
    assert code == 1
    assert f"{tmp_path}/waves" in err
    assert "--out" in err
    assert list((tmp_path / "waves").iterdir()) == []


def test_one_kind_at_a_time(new_plugin):
    code, _, err = new_plugin("waves", "--masker", "--target")
    assert code == 2
    assert "--masker and --target" in " ".join(err.split())


def test_it_imports_no_torch(tmp_path):
    program = (
        "import sys\nfrom mae_core.cli import main\n"
        f"try: main(['new-plugin', 'waves', '--out', {str(tmp_path / 'waves')!r}])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
