"""docs/cost.md: its table of the paper's figures beside ours, and what it says about them."""

import functools
import re
from pathlib import Path

import pytest
import yaml

from mae_core import load_config
from mae_core.cost.estimate import Cost, cost
from mae_core.cost.run import HARDWARE

PAGE = (Path(__file__).parents[2] / "docs" / "cost.md").read_text(encoding="utf-8")
ROWS = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in re.findall(r"^\| `image/paper.*$", PAGE, re.M)]
PEAK = 128 * 61.5e12


def cost_of(recipe: str) -> Cost:
    return cost_of_text(load_config(recipe).to_yaml())


@functools.cache
def cost_of_text(recipe: str) -> Cost:
    """Some rows are of the same recipe."""
    return cost(load_config(yaml.safe_load(recipe)), hardware=HARDWARE["h100"], samples=["1281167"])


def test_the_table_has_every_row_of_the_papers():
    assert len(ROWS) == 6
    assert {name.split("/")[-1].split("_")[0] for name, *_ in ROWS} == {"table2"}


@pytest.mark.parametrize(("recipe", "hours", "speed_up", "flops", "fewer"), ROWS)
def test_the_table_is_what_is_measured(recipe, hours, speed_up, flops, fewer):
    slowest = next(row for row in ROWS if row[0] == f"{recipe[: recipe.index('vit_')]}vit_{recipe.split('_')[2]}_mask_tokens")
    assert float(flops) == round(cost_of(recipe).model.training("image") / 1e9)
    ours = cost_of(slowest[0]).model.training("image") / cost_of(recipe).model.training("image")
    assert float(fewer) == round(ours, 1)
    assert float(speed_up) == round(float(slowest[1].split()[0]) / float(hours.split()[0]), 1)
    assert ours / float(speed_up) == pytest.approx(1, abs=0.04 if "huge" in recipe else 0.17)


def test_mask_tokens_in_the_encoder_take_3_point_3_times_the_flops():
    """Table 1c."""
    with_tokens, without = (cost_of(f"image/paper/table1c_{which}_mask_tokens").model for which in ("with", "without"))
    assert round(with_tokens.training("image") / without.training("image"), 1) == 3.3


def test_the_decoder_takes_9_percent_of_the_encoder_for_each_token():
    parts = cost_of("image/paper/table1").model.samples["image"]
    assert round(parts["decoder"].forward / 197 / (parts["encoder"].forward / 50), 2) == 0.09


def test_what_the_page_says_of_the_share_of_the_peak():
    shares = {}
    for recipe, hours, *_ in ROWS:
        found = cost_of(recipe)
        assert found.time is not None
        shares[recipe.removeprefix("image/paper/table2_vit_")] = found.time.flops / (float(hours.split()[0]) * 3600 * PEAK)
    assert round(shares["large_mask_tokens"], 2) == 0.34
    assert {round(shares["large"], 2), round(shares["large_depth1"], 2)} == {0.29, 0.3}
    assert all(0.295 < shares[name] < 0.325 for name in ("huge_mask_tokens", "huge", "huge_depth1"))
