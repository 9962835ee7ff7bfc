"""Every benchmark runs at its smallest size, and says something. What they measure there means nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("plan", ["speed", "reliability", "gpu"])
def test_a_plan_writes_one_table(plan, tmp_path):
    out = tmp_path / "bench.md"
    command = [sys.executable, BENCH / "run_all.py", plan, "--tiny", "--minutes", "25", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout
    lines = out.read_text().splitlines()
    assert lines[0].startswith("Measured on ")
    assert sum(line.startswith("| ") for line in lines[:40]) > 3


def test_a_difference_is_found_by_the_kill_test(tmp_path):
    """Two runs of different seeds are not the same."""
    script = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from kill_test import differences
from runs_to_break import load, run_silently, tiny_recipe
place = Path(sys.argv[2])
recipe = tiny_recipe(place, epochs=2)
for name, seed in (("one", 3), ("same", 3), ("other", 4)):
    run_silently(load(recipe, [f"train.seed={seed}"]), place / name, resume=False)
print(json.dumps([differences(place / "one", place / name) for name in ("same", "other")]))
"""
    done = subprocess.run([sys.executable, "-c", script, BENCH, tmp_path], capture_output=True, text=True, check=True)
    same, other = json.loads(done.stdout.splitlines()[-1])
    assert same == []
    assert {"not the same: weights", "not the same: metrics", "not the same: encoder.safetensors"} <= set(other)
