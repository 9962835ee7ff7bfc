"""Steps, samples, hours and money; and `mae cost` on the command line."""

import json

import pytest

from mae_core.cli import main
from mae_core.cost.data import parse_sizes
from mae_core.cost.run import HARDWARE, UTILIZATION, count_run, estimate
from mae_core.training.plan import Plan
from mae_registry import ConfigError, MaeError

SETTINGS = {"batch_size": 4, "epochs": 3, "weights": None}


@pytest.mark.parametrize("weights", [None, {"a": 1.0, "b": 3.0}])
def test_a_run_is_that_of_the_plan(weights):
    sizes, views = {"a": 4001, "b": 1003}, {"a": 1, "b": 2}
    plan = Plan(sizes, batch_size=4, num_epochs=3, seed=0, weights=weights)
    run = count_run(SETTINGS | {"weights": weights}, sizes, views)
    assert run.steps == plan.num_steps
    rows = dict.fromkeys(sizes, 0)
    for step in range(plan.num_steps):
        rows[plan.source(step)] += 4 * views[plan.source(step)]
    assert run.samples == pytest.approx(sum(rows.values()), rel=0.02)
    assert run.shares["a"] == pytest.approx(rows["a"] / sum(rows.values()), abs=0.02)


def test_hours_and_price():
    run = count_run(SETTINGS, {"a": 1000}, {"a": 1})
    assumed = estimate(run, 2e12, peak=1e15, devices=2, price=3.0)
    assert assumed.rate == pytest.approx(2 * 1e15 * UTILIZATION / 2e12)
    assert assumed.hours == pytest.approx(3000 / assumed.rate / 3600)
    assert assumed.price == pytest.approx(assumed.hours * 2 * 3.0)
    measured = estimate(run, 2e12, peak=1e15, devices=2, rate=10.0)
    assert measured.hours == pytest.approx(300 / 3600)
    assert measured.price is None


def test_sizes():
    assert parse_sizes(["7"], ["a", "b"]) == {"a": 7, "b": 7}
    assert parse_sizes(["a=1", "b=2"], ["a", "b"]) == {"a": 1, "b": 2}
    assert parse_sizes([], ["a"]) == {}
    for given, said in ((["-1"], "'-1'"), (["a=0"], "'a=0'"), (["1e6"], "1e6"), (["c=3"], "'c'"), (["a=3"], "of b")):
        with pytest.raises(MaeError, match=said):
            parse_sizes(given, ["a", "b"])


def test_weights_of_other_data_are_refused():
    with pytest.raises(ConfigError, match=r"train\.weights names z"):
        count_run(SETTINGS | {"weights": {"z": 1.0}}, {"a": 1000}, {"a": 1})


@pytest.fixture
def mae_cost(capfd):
    """`mae cost` in this process: exit code, standard output, standard error with its lines joined."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["cost", *arguments])
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return run


def test_the_numbers_as_json(mae_cost):
    code, out, _ = mae_cost("demo/image", "--samples", "800", "--rate", "50", "--price", "2", "--devices", "2", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["run"]["steps"] == 90 * 100
    assert found["time"]["hours"] == pytest.approx(90 * 800 / 50 / 3600)
    assert found["time"]["price"] == pytest.approx(found["time"]["hours"] * 4)
    assert set(found["model"]["samples"]["image"]) >= {"encoder", "decoder", "target"}


def test_data_that_are_here_are_counted(mae_cost, tiny_recipe):
    code, out, _ = mae_cost(str(tiny_recipe), "--json")
    assert code == 0
    assert json.loads(out)["run"]["steps"] == 12


def test_what_cannot_be_known_is_said(mae_cost, tmp_path):
    code, out, _ = mae_cost("image/cifar10_small", "data.image.root=nowhere")
    assert code == 0
    assert "--samples" in out
    recipe = tmp_path / "model.yaml"
    small = "{name: vit, width: 32, depth: 1, heads: 2}"
    recipe.write_text(f"model: {{encoder: {small}, modalities: {{image: {{decoder: {small}}}}}}}\n")
    code, out, _ = mae_cost(str(recipe), "--samples", "100")
    assert code == 0
    assert "`train`" in out
    assert "encoder" in out


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--hardware", "h10"], "h100", 1),
        (["--rate", "-1"], "--rate", 2),
        (["--price", "nan"], "--price", 2),
        (["--devices", "0"], "--devices", 2),
        (["--samples", "3"], "train.batch_size=", 1),
        (["--samples", "few"], "'few'", 1),
    ],
)
def test_wrong_options(mae_cost, arguments, said, code):
    found = mae_cost("demo/image", *arguments)
    assert found[0] == code
    assert said in found[2]


def test_samples_that_have_to_say_more(mae_cost):
    code, _, err = mae_cost("methods/satmae_temporal_large", "--samples", "10000")
    assert code == 1
    assert "timestamps" in err
    assert "data.dated_images.root" in err


def test_every_device_has_a_peak_in_both_precisions():
    assert all(device.half > device.single > 1e12 for device in HARDWARE.values())
