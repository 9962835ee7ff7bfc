"""Weights of one backbone in another: equal features where the sizes are equal, and resized positions where they are not."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mae_core import Grid, load_config
from mae_core.build import build_backbone
from mae_core.model.transfer import transfer
from mae_core.parts.positions import resize_table
from mae_registry import MaeError

PART = "model.modalities.image"


def backbone(recipe, *overrides, seed=0) -> Any:
    torch.manual_seed(seed)
    return build_backbone(load_config(recipe, list(overrides))).eval()


def positions_of(model) -> Any:
    return model.input("image").positions


def assert_same_features(one, other):
    x = torch.rand(2, 3, 24, 32)
    with torch.no_grad():
        torch.testing.assert_close(one.encode({"image": x}).x, other.encode({"image": x}).x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("old_positions", ["sincos", "learned", "none"])
def test_learned_positions_begin_at_those_of_the_checkpoint(tiny_recipe, old_positions):
    old = backbone(tiny_recipe, f"{PART}.positions={{name: {old_positions}}}")
    new = backbone(tiny_recipe, f"{PART}.positions={{name: learned}}", seed=1)
    taken = transfer(new, old)
    assert taken.left == taken.fresh == taken.notes == []
    assert_same_features(new, old)


def test_the_position_of_the_class_token_is_kept_wherever_it_may_be(tiny_recipe):
    plain = backbone(tiny_recipe)
    with_row = backbone(tiny_recipe, f"{PART}.positions={{name: learned, class_token: true}}", seed=1)
    without = backbone(tiny_recipe, f"{PART}.positions={{name: learned}}", seed=2)
    again = backbone(tiny_recipe, f"{PART}.positions={{name: learned, class_token: true}}", seed=3)
    transfer(with_row, plain)
    assert_same_features(with_row, plain)
    assert not positions_of(with_row).class_row.any()
    with torch.no_grad():
        positions_of(with_row).class_row.normal_()
    for new in (again, without):  # where there is no row for it, it becomes a part of the token
        transfer(new, with_row)
        assert_same_features(new, with_row)
    assert torch.equal(positions_of(again).class_row, positions_of(with_row).class_row)


def test_what_has_no_place_is_left_and_what_is_missing_stays_as_it_was(tiny_recipe):
    old = backbone(tiny_recipe, "model.encoder.final_norm=true")
    new = backbone(tiny_recipe, "model.encoder.final_norm=false", "model.encoder.mask_tokens=true", seed=1)
    before = new.encoder.mask_token.clone()
    taken = transfer(new, old)
    assert taken.left == ["encoder.norm.weight", "encoder.norm.bias"]
    assert taken.fresh == ["encoder.mask_token"]
    assert torch.equal(new.encoder.mask_token, before)


def test_an_entry_of_another_name_is_found_by_its_type(tiny_recipe):
    old = backbone(tiny_recipe)
    recipe = load_config(tiny_recipe).to_dict()
    recipe["model"]["modalities"] = {"scan": {**recipe["model"]["modalities"]["image"], "type": "image"}}
    recipe["data"] = {}
    torch.manual_seed(1)
    new = build_backbone(load_config(recipe)).eval()
    transfer(new, old)
    x = torch.rand(2, 3, 24, 32)
    assert torch.equal(new.encode({"scan": x}).x, old.encode({"image": x}).x)


@pytest.mark.parametrize("size", ["[48, 64]", "[40, 24]", "[24, 64]"])
def test_positions_are_resized_bicubically_to_any_other_input(tiny_recipe, size):
    old = backbone(tiny_recipe)
    larger = [f"{PART}.positions={{name: learned}}", f"{PART}.tokenizer.input_size={size}"]
    with pytest.raises(MaeError, match=r"h=3 w=4 in it and h=\d w=\d here.*init\.interpolate=true"):
        transfer(backbone(tiny_recipe, *larger), old)
    new = backbone(tiny_recipe, *larger)
    transfer(new, old, interpolate=True)
    planes = positions_of(old).table.T.reshape(1, -1, 3, 4)
    grid = new.input("image").tokenizer.grid
    expected = F.interpolate(planes, size=grid.sizes, mode="bicubic", align_corners=False)[0].flatten(1).T
    torch.testing.assert_close(positions_of(new).table.data, expected, rtol=0, atol=1e-6)


def test_every_axis_of_a_grid_is_resized_on_its_own():
    old, new = Grid(t=4, h=3, w=2), Grid(t=4, h=5, w=3)
    table = torch.randn(24, 7)
    resized = resize_table(table, old, new).reshape(4, 15, 7)
    frames = [resize_table(frame, Grid(h=3, w=2), Grid(h=5, w=3)) for frame in table.reshape(4, 6, 7)]
    torch.testing.assert_close(resized, torch.stack(frames))
    assert torch.equal(resize_table(table, old, old), table)
    longer = resize_table(table, old, Grid(t=9, h=3, w=2)).reshape(9, 42)
    lines = F.interpolate(table.reshape(4, 42).T[None, :, None], size=(1, 9), mode="bicubic", align_corners=False)
    torch.testing.assert_close(longer, lines[0, :, 0].T)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["model.encoder.width=64"], r"other sizes: width is 32 in it and 64 in model\.encoder"),
        (["model.encoder.depth=1"], r"num_layers is 2 in it and 1 in model\.encoder"),
        (["model.encoder.heads=4"], r"blocks\.0\.attn\.num_heads is 2 in it and 4"),
        ([f"{PART}.tokenizer.patch_size=[4, 4]"], r"patches of 3 x 8 x 8 \(192 values\).*patches of 3 x 4 x 4 \(48 values\)"),
        ([f"{PART}.tokenizer.patch_size=[12, 16]"], r"patches of 3 x 8 x 8 .*patches of 3 x 12 x 16"),
        (
            [f"{PART}.tokenizer.channels=1", f"{PART}.tokenizer.mean=[0.5]", f"{PART}.tokenizer.std=[0.5]"],
            r"patches of 1 x 8 x 8 \(64 values\); give it the same patch size and channels",
        ),
        ([f"{PART}.tokenizer.input_size=[24, 24]"], r"h=3 w=4 in it and h=3 w=3 here; set model.*name: learned.*interpolate"),
        ([f"{PART}.positions={{name: sincos, leading: first_axis}}"], r"other ones than .*set .*positions=\{name: learned\}"),
    ],
)  # fmt: skip
def test_backbones_that_do_not_fit(tiny_recipe, overrides, problem):
    with pytest.raises(MaeError, match=problem):
        transfer(backbone(tiny_recipe, *overrides), backbone(tiny_recipe))


def test_another_normalization_is_told(tiny_recipe):
    taken = transfer(backbone(tiny_recipe, f"{PART}.tokenizer.mean=[0.5, 0.5, 0.5]"), backbone(tiny_recipe))
    assert len(taken.notes) == 1
    assert "mean of model.modalities.image.tokenizer" in taken.notes[0]
