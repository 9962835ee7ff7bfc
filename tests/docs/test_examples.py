"""docs/examples/: plugins as others write them, each installed from its own folder; and the tutorial that quotes them."""

import json
import shlex
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
def place(tmp_path_factory) -> Path:
    """`site`, where the example is installed, and a copy of its folder."""
    place = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLES / NAME, place / NAME, ignore=shutil.ignore_patterns("__pycache__"))
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(place / "site")]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, str(place / NAME)], check=True)
    return place


@pytest.fixture(scope="module")
def run(forks, place):
    """Runs a step in that folder, see forks_server.py; returns (exit code, output)."""

    def run(**step):
        environment = {"COLUMNS": "120"}
        (done,) = forks.steps([step], folder=place / NAME, site=place / "site", environment=environment, together=True)
        return done.returncode, done.stdout

    return run


def typed(command):
    """A step that does what a command does."""
    words = shlex.split(command)
    if words[0] == "mae":
        return {"mae": words[1:]}
    if words[:2] == ["python", "-m"] and "*" not in command:
        program = (
            f"import runpy, sys; sys.argv = {words[2:]!r}; runpy.run_module({words[2]!r}, run_name='__main__', alter_sys=True)"
        )
        return {"python": program}
    return {"shell": command}


def test_its_tests_pass(run):
    code, output = run(**typed("python -m pytest -q -p no:cacheprovider"))
    assert code == 0, output


def test_it_is_listed_and_imports_no_torch(run):
    (found,) = (plugin for plugin in json.loads(run(mae=["plugins", "--json"])[1]) if plugin["name"] == "timeseries")
    assert (found["status"], found["distribution"]) == ("loaded", NAME)
    code, output = run(shell="""python -c "import sys, mae_timeseries.plugin; assert 'torch' not in sys.modules" """)
    assert code == 0, output


def test_the_tutorials_commands_work_one_after_the_other(run, place):
    commands = [(block, *each) for block in blocks(TUTORIAL) if block.example == NAME for each in block.commands()]
    assert len(commands) >= 6
    for block, command, shown in commands:
        smaller = next((more for start, more in SMALLER.items() if command.startswith(start)), "")
        code, output = run(**typed(f"{command} {smaller}"))
        assert code == 0, f"{block.where}: {command}\n{output}"
        assert shows(output, shown), f"{block.where}: {command}\nshown:\n{shown}\ngiven:\n{output}"
    assert (place / NAME / "out.png").read_bytes().startswith(b"\x89PNG")
    (place / NAME / "damaged.csv").write_text("buoy_1,buoy_2,buoy_3\n1,2,3\n4,five,6\n")
    code, output = run(mae=["reconstruct", "run", "damaged.csv", "-o", "damaged.png"])
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
