"""The figures of docs/scale.md: what they assume of the code, and the simulation of failures."""

import inspect
import math
from pathlib import Path

import numpy as np
import pytest

from mae_core import load_config
from mae_core.cli.shards import make
from mae_core.cost.estimate import cost
from mae_core.cost.run import UTILIZATION, find_hardware
from mae_core.data.ranges import MAX_OPEN
from mae_core.data.shard_index import Index, Places
from mae_core.data.stores import Names
from mae_core.training import saving, watch
from mae_core.training.plan import MAX_STEPS, Plan

BENCH, PAGE = Path(__file__).parents[2] / "bench", Path(__file__).parents[2] / "docs" / "scale.md"


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    import scale_model

    return scale_model


@pytest.mark.parametrize("minutes", [1, 20, 320])
@pytest.mark.parametrize("gpus", [64, 1024])
def test_simulated_failures_cost_what_the_formula_says(scale, gpus, minutes):
    """Failures of exponential distances: of a run that has restarted, so many checkpoints are complete on average."""
    interval, wait, write, restart, mean = 60 * minutes, 2.0, 4.0, 300.0, scale.between_failures(gpus)
    expected = interval / mean * math.exp(-(restart + write) / mean) / math.expm1((interval + wait) / mean)
    found = scale.goodput(interval, wait=wait, write=write, restart=restart, mean=mean)
    assert found == pytest.approx(expected, rel=0.005)


def test_the_best_interval_is_the_one_of_young_and_daly(scale):
    wait, mean = 4.0, scale.between_failures(1024)
    found = {
        minutes: scale.goodput(60 * minutes, wait=wait, write=8.0, restart=300.0, mean=mean) for minutes in scale.INTERVALS
    }
    best = max(found, key=found.__getitem__)
    assert 0.5 < 60 * best / scale.young_daly(wait, mean) < 2


def test_the_code_is_as_it_is_assumed(scale):
    plan = Plan({"image": 64}, batch_size=8, num_epochs=1, seed=0)
    assert plan._order("image", 0).element_size() == scale.ORDER
    for epoch in range(2):
        plan._order("image", epoch)
    assert sum(order.numel() for _, order in plan._orders.values()) == 64 * scale.KEPT_ORDERS
    assert scale.AUTO * 60 == saving.CHECKPOINT_SECONDS
    assert scale.BEAT == watch.BEAT
    assert inspect.signature(make).parameters["shard_size"].default == 256
    said = PAGE.read_text(encoding="utf-8")
    assert f"{MAX_STEPS:,}" in said
    assert f"keeps {MAX_OPEN} open" in said


def test_the_index_takes_so_many_bytes_a_sample(scale):
    number = 1000
    zeros = np.zeros(number, dtype=np.int64)
    index = Index(Names.of([b"x" * 38] * number), Places(zeros, zeros, zeros.astype(np.uint32)))
    assert len(index.to_bytes()) / number == pytest.approx(scale.INDEX, abs=1)  # the header


@pytest.mark.slow
def test_models_cost_what_mae_cost_says(scale):
    assert pytest.approx(UTILIZATION * find_hardware("h100").half) == scale.RATE
    for work in (scale.PHOTOS, scale.CLIPS):
        config = load_config(work.recipe)
        found = cost(config, hardware=find_hardware("h100"))
        (source,) = found.model.samples
        memory = found.model.memory
        assert work.flops == pytest.approx(found.model.training(source), rel=0.001)
        assert (work.weights, work.optimizer) == pytest.approx((memory.gradients, memory.optimizer), rel=0.001)
        assert work.batch == config["train"]["batch_size"]
        assert work.passes in (1, config["train"]["epochs"])
