"""Joint masks with random shares."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mae_core import Grid
from mae_core.masking.dirichlet import DirichletMasker
from mae_registry import ConfigError

GRIDS = {"a": Grid(h=14, w=14), "b": Grid(h=14, w=14), "c": Grid(t=196)}


def num_kept(masker: DirichletMasker, grids: dict[str, Grid], batch_size: int, seed: int = 0) -> Tensor:
    """(B, modalities)."""
    masks = masker(grids, batch_size, generator=torch.Generator().manual_seed(seed))
    assert list(masks) == list(grids)
    assert [mask.hidden.shape for mask in masks.values()] == [(batch_size, grid.num_patches) for grid in grids.values()]
    return torch.stack([(~mask.hidden).sum(dim=1) for mask in masks.values()], dim=1)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    share=st.floats(0, 1, exclude_max=True),
    alpha=st.floats(0.05, 50),
    seed=st.integers(0, 1000),
)
def test_every_row_keeps_exactly_num_keep_of_all(sizes: list[int], share: float, alpha: float, seed: int) -> None:
    grids = {str(number): Grid(t=size, f=2) for number, size in enumerate(sizes)}
    num_keep = max(1, int(share * 2 * sum(sizes)))
    counts = num_kept(DirichletMasker(num_keep=num_keep, alpha=alpha), grids, 5, seed)
    assert counts.sum(dim=1).tolist() == [num_keep] * 5


def test_shares_are_spread_evenly_over_all_mixtures() -> None:
    counts = num_kept(DirichletMasker(num_keep=98), GRIDS, 4000).double()
    # each share of a flat Dirichlet over 3 is Beta(1, 2): mean 1/3, variance 1/18, P(share < 0.2) = 1 - 0.8 ** 2
    torch.testing.assert_close(counts.mean(dim=0) / 98, torch.full((3,), 1 / 3, dtype=torch.double), rtol=0, atol=0.02)
    torch.testing.assert_close(counts.var(dim=0) / 98**2, torch.full((3,), 1 / 18, dtype=torch.double), rtol=0.1, atol=0)
    below = (counts < 0.2 * 98).double().mean(dim=0)
    torch.testing.assert_close(below, torch.full((3,), 0.36, dtype=torch.double), rtol=0, atol=0.04)


def test_a_small_alpha_leaves_most_samples_with_one_modality_and_a_large_one_none() -> None:
    lonely = num_kept(DirichletMasker(num_keep=98, alpha=0.01), GRIDS, 500).max(dim=1).values == 98
    assert lonely.double().mean() > 0.9
    even = num_kept(DirichletMasker(num_keep=98, alpha=1e5), GRIDS, 500)
    assert (even - 98 / 3).abs().max() < 2


def test_patches_of_a_modality_are_equally_likely() -> None:
    grids = {"a": Grid(t=8), "b": Grid(h=2, w=4)}
    masks = DirichletMasker(num_keep=4)(grids, 8000, generator=torch.Generator().manual_seed(0))
    for mask in masks.values():
        frequency = (~mask.hidden).double().mean(dim=0)
        torch.testing.assert_close(frequency, torch.full((8,), 0.25, dtype=torch.double), rtol=0, atol=0.03)


def test_a_share_larger_than_the_modality_goes_to_the_others() -> None:
    counts = num_kept(DirichletMasker(num_keep=10), {"small": Grid(t=2), "large": Grid(t=20)}, 200)
    assert counts[:, 0].max() == 2
    assert (counts.sum(dim=1) == 10).all()


def test_masks_are_ragged_even_where_rows_agree_by_chance() -> None:
    masks = DirichletMasker(num_keep=3)({"a": Grid(t=4), "b": Grid(t=4)}, 1, generator=torch.Generator().manual_seed(0))
    assert all(mask.ragged and mask.ids_predict.shape == (1, 4) for mask in masks.values())


def test_masks_depend_on_the_generator_alone() -> None:
    masker = DirichletMasker(num_keep=98)
    first = masker(GRIDS, 4, generator=torch.Generator().manual_seed(1))
    torch.rand(7)
    again = masker(GRIDS, 4, generator=torch.Generator().manual_seed(1))
    other = masker(GRIDS, 4, generator=torch.Generator().manual_seed(2))
    assert all(torch.equal(first[name].hidden, again[name].hidden) for name in GRIDS)
    assert not any(torch.equal(first[name].hidden, other[name].hidden) for name in GRIDS)


def test_hiding_nothing_is_refused() -> None:
    for num_keep in (12, 13):
        with pytest.raises(ConfigError, match=f"num_keep: {num_keep} hides none of the 12 patches of a, b"):
            DirichletMasker(num_keep=num_keep)({"a": Grid(t=4), "b": Grid(t=8)}, 1, generator=torch.Generator())
