import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mae_core import Grid, Mask
from mae_registry import ConfigError, MaeError

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=4)


@st.composite
def noise_and_num_keep(draw: st.DrawFn) -> tuple[torch.Tensor, int]:
    """Few values, hence many ties."""
    num_patches = draw(st.integers(1, 12))
    rows = draw(st.lists(st.lists(st.integers(0, 3), min_size=num_patches, max_size=num_patches), min_size=1, max_size=4))
    return torch.tensor(rows, dtype=torch.float32), draw(st.integers(0, num_patches))


@given(SIZES)
def test_patches_are_numbered_in_raster_order(sizes: list[int]) -> None:
    grid = Grid(**{f"a{i}": size for i, size in enumerate(sizes)})
    assert grid.coordinates().tolist() == [list(place) for place in itertools.product(*map(range, sizes))]
    assert len(grid.coordinates()) == grid.num_patches


def test_a_grid_reads_as_its_axes() -> None:
    grid = Grid(t=8, h=14, w=7)
    assert (grid.axes, grid.sizes, grid["w"]) == (("t", "h", "w"), (8, 14, 7), 7)
    assert str(grid) == "t=8 h=14 w=7"
    assert eval(repr(grid)) == grid


def test_equal_grids_have_equal_axes_in_equal_order() -> None:
    assert Grid(h=2, w=3) == Grid(h=2, w=3)
    assert hash(Grid(h=2, w=3)) == hash(Grid(h=2, w=3))
    assert Grid(h=2, w=3) != Grid(w=3, h=2)
    assert Grid(h=2, w=3) != Grid(h=2, w=4)
    assert Grid(h=2) != 2


def test_impossible_grids() -> None:
    with pytest.raises(ConfigError, match=r"^grid axis 'w' has size 0; every axis needs at least 1 patch$"):
        Grid(h=2, w=0)
    with pytest.raises(ConfigError, match=r"^a grid needs at least one axis, e\.g\. Grid\(h=14, w=14\)$"):
        Grid()


def test_an_unknown_axis_names_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"^the grid time=8 mel=4 has no axis 'tim'\. Did you mean 'time'\? Known: mel, time\.$"
    ):
        Grid(time=8, mel=4)["tim"]


@given(noise_and_num_keep())
def test_lowest_noise_is_kept_and_equal_noise_in_raster_order(case: tuple[torch.Tensor, int]) -> None:
    noise, num_keep = case
    mask = Mask.from_noise(noise, num_keep)
    for row, keep, predict in zip(noise.tolist(), mask.ids_keep.tolist(), mask.ids_predict.tolist(), strict=True):
        assert keep + predict == sorted(range(len(row)), key=row.__getitem__)
        assert len(keep) == num_keep == mask.num_keep
    assert not mask.ragged


@given(noise_and_num_keep())
def test_kept_and_predicted_partition_the_grid_and_are_restored(case: tuple[torch.Tensor, int]) -> None:
    mask = Mask.from_noise(*case)
    raster = torch.arange(case[0].shape[1]).expand(case[0].shape)
    assert mask.ids_restore is not None
    assert torch.cat([mask.ids_keep, mask.ids_predict], dim=1).gather(1, mask.ids_restore).equal(raster)
    assert not mask.hidden.gather(1, mask.ids_keep).any()
    assert mask.hidden.gather(1, mask.ids_predict).all()


@given(noise_and_num_keep())
def test_from_hidden_lists_ids_in_raster_order(case: tuple[torch.Tensor, int]) -> None:
    hidden = Mask.from_noise(*case).hidden
    mask = Mask.from_hidden(hidden)
    assert mask.hidden.equal(hidden)
    for row, keep, predict in zip(hidden.tolist(), mask.ids_keep.tolist(), mask.ids_predict.tolist(), strict=True):
        assert keep == [i for i, is_hidden in enumerate(row) if not is_hidden]
        assert predict == [i for i, is_hidden in enumerate(row) if is_hidden]
    raster = torch.arange(hidden.shape[1]).expand(hidden.shape)
    assert mask.ids_restore is not None
    assert torch.cat([mask.ids_keep, mask.ids_predict], dim=1).gather(1, mask.ids_restore).equal(raster)


@pytest.mark.parametrize("num_keep", [-1, 5])
def test_more_kept_than_there_are(num_keep: int) -> None:
    with pytest.raises(MaeError, match=rf"^num_keep is {num_keep}; it must be from 0 to the number of patches, 4$"):
        Mask.from_noise(torch.rand(2, 4), num_keep)


def test_unequal_rows_need_to_be_asked_for() -> None:
    hidden = torch.tensor([[True, False, False, False], [True, True, True, False]])
    with pytest.raises(MaeError) as error:
        Mask.from_hidden(hidden)
    assert str(error.value) == (
        "samples of one batch hide different numbers of patches (1 to 3 of 4); make the masker's count exact, or say "
        "`ragged: true` with an encoder over all tokens (mask_tokens: true)"
    )
    mask = Mask.from_hidden(hidden, ragged=True)
    assert mask.ragged
    assert mask.hidden.equal(hidden)
    assert mask.ids_restore is None
    assert mask.ids_keep.tolist() == mask.ids_predict.tolist() == [[0, 1, 2, 3]] * 2


def test_rows_that_are_equal_by_chance_are_ragged_all_the_same() -> None:
    mask = Mask.from_hidden(torch.tensor([[True, False], [False, True]]), ragged=True)
    assert mask.ragged
    assert mask.ids_keep.tolist() == [[0, 1], [0, 1]]


def test_the_mask_of_some_samples() -> None:
    noise = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    some, expected = Mask.from_noise(noise, 2)[1:3], Mask.from_noise(noise[1:3], 2)
    for name in ("ids_keep", "ids_predict", "hidden", "ids_restore"):
        assert getattr(some, name).equal(getattr(expected, name))
    ragged = Mask.from_hidden(torch.tensor([[True, False], [True, True]]), ragged=True)
    assert ragged[:1].ragged
    assert ragged[:1].ids_restore is None


def test_a_mask_moves_as_a_whole() -> None:
    mask = Mask.from_noise(torch.rand(2, 4), 1)
    moved = mask.to("meta")
    assert {t.device.type for t in (moved.ids_keep, moved.ids_predict, moved.hidden, moved.ids_restore) if t is not None} == {
        "meta"
    }
    assert moved.ids_keep.shape == mask.ids_keep.shape
