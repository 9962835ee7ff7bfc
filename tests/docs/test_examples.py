"""docs/examples/: plugins as others write them, each installed from its own folder; and the tutorial that quotes them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import EXAMPLES, PAGES, ROOT, blocks, shows

TUTORIAL = ROOT / "docs" / "tutorial.md"
NAME = "mae-timeseries"
SMALLER = {"mae pretrain": "train.epochs=1 train.num_workers=0 train.num_pictures=1 schedule.warmup_epochs=0"}
"""What is appended to the tutorial's commands so that they take seconds."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a command in a copy of the example's folder, with the example installed elsewhere; returns (exit code, output)."""
    place = tmp_path_factory.mktemp("example")
    folder, site = place / NAME, place / "site"
    shutil.copytree(EXAMPLES / NAME, folder, ignore=shutil.ignore_patterns("__pycache__"))
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, str(folder)], check=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(site), "PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}

    def run(command):
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(["bash", "-ec", command], cwd=folder, env=environment, **pipes)
        return done.returncode, done.stdout

    return run


@pytest.fixture(scope="module")
def folder(run) -> Path:
    return Path(run("pwd")[1].strip())


def test_its_tests_pass(run):
    code, output = run("python -W error -m pytest -q -p no:cacheprovider")
    assert code == 0, output


def test_it_is_listed_and_imports_no_torch(run):
    (found,) = (plugin for plugin in json.loads(run("mae plugins --json")[1]) if plugin["name"] == "timeseries")
    assert (found["status"], found["distribution"]) == ("loaded", NAME)
    code, output = run("""python -c "import sys, mae_timeseries.plugin; assert 'torch' not in sys.modules" """)
    assert code == 0, output


def test_the_tutorials_commands_work_one_after_the_other(run, folder):
    commands = [(block, *each) for block in blocks(TUTORIAL) if block.example == NAME for each in block.commands()]
    assert len(commands) >= 6
    for block, command, shown in commands:
        smaller = next((more for start, more in SMALLER.items() if command.startswith(start)), "")
        code, output = run(f"{command} {smaller}")
        assert code == 0, f"{block.where}: {command}\n{output}"
        assert shows(output, shown), f"{block.where}: {command}\nshown:\n{shown}\ngiven:\n{output}"
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")
    damaged = folder / "damaged.csv"
    damaged.write_text("buoy_1,buoy_2,buoy_3\n1,2,3\n4,five,6\n")
    code, output = run("mae reconstruct run damaged.csv -o damaged.png")
    assert code == 1
    assert "damaged.csv:3: column 'buoy_2' holds 'five'" in " ".join(output.split())
    assert "Traceback" not in output


def test_what_pages_quote_stands_where_they_say():
    quoted = [block for page in PAGES for block in blocks(page) if block.source]
    assert {block.source.parent.name for block in quoted} >= {"mae_timeseries", "tests", "recipes", "model", "training"}
    for block in quoted:
        assert block.source.is_file(), f"{block.where}: there is no {block.source}"
        text = "\n" + block.source.read_text(encoding="utf-8")
        assert "\n" + block.text in text, f"{block.where}: these lines do not stand in {block.source} one after the other"


def test_its_readme_names_every_file():
    readme = (EXAMPLES / NAME / "README.md").read_text(encoding="utf-8")
    for path in (EXAMPLES / NAME).glob("mae_*/**/*"):
        if path.suffix in (".py", ".yaml") and path.name != "__init__.py":
            assert f"`{path.relative_to(EXAMPLES / NAME).as_posix()}`" in readme
