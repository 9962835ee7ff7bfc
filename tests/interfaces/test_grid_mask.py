import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mae_core import Grid, Mask
from mae_core.interfaces import Query, gather_patches
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


@given(
    st.lists(st.one_of(st.floats(width=32, allow_nan=False), st.sampled_from([0.0, -0.0, 1.0])), min_size=1, max_size=12),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_patches_come_in_the_order_of_a_stable_argsort(row: list[float], dtype: torch.dtype) -> None:
    noise = torch.tensor([row, row[::-1]], dtype=dtype)
    mask = Mask.from_noise(noise, len(row) // 2)
    assert torch.equal(torch.cat([mask.ids_keep, mask.ids_predict], dim=1), torch.argsort(noise, dim=1, stable=True))


@given(noise_and_num_keep())
def test_lowest_noise_is_kept_and_equal_noise_in_raster_order(case: tuple[torch.Tensor, int]) -> None:
    noise, num_keep = case
    mask = Mask.from_noise(noise, num_keep)
    for row, keep, predict in zip(noise.tolist(), mask.ids_keep.tolist(), mask.ids_predict.tolist(), strict=True):
        assert keep + predict == sorted(range(len(row)), key=row.__getitem__)
        assert len(keep) == num_keep == mask.num_keep
    assert not mask.ragged


@given(noise_and_num_keep())
def test_kept_and_predicted_partition_the_grid_and_all_that_is_predicted_counts(case: tuple[torch.Tensor, int]) -> None:
    mask = Mask.from_noise(*case)
    raster = torch.arange(case[0].shape[1]).expand(case[0].shape)
    assert torch.cat([mask.ids_keep, mask.ids_predict], dim=1).sort(dim=1).values.equal(raster)
    assert mask.queries[0].counts.all()
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
    assert mask.queries[0].counts.all()


@pytest.mark.parametrize("num_keep", [-1, 5])
def test_more_kept_than_there_are(num_keep: int) -> None:
    with pytest.raises(MaeError, match=rf"^num_keep is {num_keep}; it must be between 0 and the number of patches, 4$"):
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
    assert mask.queries[0].counts.equal(hidden)
    assert mask.ids_keep.tolist() == mask.ids_predict.tolist() == [[0, 1, 2, 3]] * 2


def test_rows_that_are_equal_by_chance_are_ragged_all_the_same() -> None:
    mask = Mask.from_hidden(torch.tensor([[True, False], [False, True]]), ragged=True)
    assert mask.ragged
    assert mask.ids_keep.tolist() == [[0, 1], [0, 1]]


def tensors(mask: Mask) -> list[torch.Tensor]:
    return [mask.ids_keep, mask.hidden, *(tensor for query in mask.queries for tensor in (query.ids, query.counts))]


@given(repeats=st.integers(1, 3), start=st.integers(0, 5), length=st.integers(0, 5), ragged=st.booleans())
def test_the_mask_of_some_samples_has_all_their_contexts(repeats: int, start: int, length: int, ragged: bool) -> None:
    noise = torch.rand(5 * repeats, 6, generator=torch.Generator().manual_seed(0))

    def make(noise: torch.Tensor) -> Mask:
        mask = Mask.from_hidden(noise < 0.5, ragged=True) if ragged else Mask.from_noise(noise, 2)
        return replace(mask, repeats=repeats)

    some = make(noise)[start : start + length]
    expected = make(noise[start * repeats : (start + length) * repeats])
    assert (some.repeats, some.ragged) == (repeats, ragged)
    assert all(map(torch.equal, tensors(some), tensors(expected)))


def test_the_patches_of_each_context() -> None:
    x = torch.randn(2, 5, 3)
    ids = torch.tensor([[0, 1], [4, 3], [2, 2], [0, 4]])
    found = gather_patches(x, ids)  # two contexts of each of the two samples
    assert found.equal(torch.stack([x[row // 2, ids[row]] for row in range(4)]))


def test_queries_of_ids_alone_count_where_hidden() -> None:
    mask = Mask.from_hidden(torch.tensor([[True, False, True, False], [False, True, True, False]]))
    own = Query(torch.tensor([[1], [1]]), torch.tensor([[0.5], [2.0]]))
    asked = mask.asking(torch.tensor([[0, 1], [2, 3]]), own)
    assert asked.ids_predict.tolist() == [[0, 1], [2, 3]]
    assert asked.queries[0].counts.tolist() == [[True, False], [True, False]]
    assert asked.queries[1] is own
    assert [query.ids_predict.tolist() for query in asked.each_query()] == [[[0, 1], [2, 3]], [[1], [1]]]
    assert asked.hidden is mask.hidden


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (Mask.from_noise(torch.rand(1, 6), 3), "keep different numbers of patches (2 to 3)"),
        (Mask.from_noise(torch.rand(1, 6), 2).asking(torch.tensor([[0]])), "predict different numbers of patches (1 to 4)"),
        (
            Mask.from_noise(torch.rand(1, 6), 2).asking(torch.tensor([[0, 1]]), torch.tensor([[2, 3]])),
            "have different numbers of queries (1 to 2)",
        ),
        (replace(Mask.from_noise(torch.rand(2, 6), 2), repeats=2), "have different numbers of contexts (1 to 2)"),
    ],
)
def test_masks_of_samples_that_are_no_batch(second: Mask, message: str) -> None:
    with pytest.raises(MaeError) as error:
        Mask.cat([Mask.from_noise(torch.rand(1, 6), 2), second])
    assert message in str(error.value)


def test_a_mask_moves_as_a_whole() -> None:
    mask = Mask.from_noise(torch.rand(2, 4), 1)
    moved = mask.to("meta")
    assert {tensor.device.type for tensor in tensors(moved)} == {"meta"}
    assert [tensor.shape for tensor in tensors(moved)] == [tensor.shape for tensor in tensors(mask)]
