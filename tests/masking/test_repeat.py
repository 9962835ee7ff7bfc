"""Several contexts of each sample."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mae_core import Grid, Mask
from mae_core.build_maskers import masker_from_section
from mae_core.interfaces import MaskSets
from mae_registry import ConfigError

GRID = Grid(h=14, w=14)
INVERSE = "{name: inverse_block, ratio: 0.8}"


def draw(section: str, batch_size: int = 3, seed: int = 0) -> MaskSets:
    return masker_from_section(section)(GRID, batch_size, generator=torch.Generator().manual_seed(seed))


def one(section: str, batch_size: int = 3) -> Mask:
    mask = draw(section, batch_size)
    assert isinstance(mask, Mask)
    return mask


def test_data2vec_has_sixteen_contexts_of_39_patches_of_each_sample() -> None:
    mask = one(f"{{repeat: {INVERSE}, times: 16}}", batch_size=5)
    assert (mask.repeats, mask.hidden.shape, mask.num_keep) == (16, (80, 196), 39)
    assert len(mask.hidden.unique(dim=0)) == 80  # each is drawn anew


@settings(max_examples=20)
@given(batch_size=st.integers(1, 4), times=st.integers(1, 5), ratio=st.floats(0.1, 0.9), seed=st.integers(0, 99))
def test_contexts_are_those_of_a_larger_batch(batch_size: int, times: int, ratio: float, seed: int) -> None:
    """Row b * times + r is the context r of sample b, so that slices of samples have all of theirs."""
    section = f"{{name: random, ratio: {ratio}}}"
    repeated = draw(f"{{repeat: {section}, times: {times}}}", batch_size, seed)
    plain = draw(section, batch_size * times, seed)
    assert isinstance(repeated, Mask)
    assert isinstance(plain, Mask)
    assert repeated.hidden.equal(plain.hidden)
    assert repeated.repeats == times
    for sample in range(batch_size):
        assert repeated[sample : sample + 1].ids_keep.equal(plain.ids_keep[sample * times : (sample + 1) * times])


def test_repeats_multiply_and_reach_every_kind_of_mask() -> None:
    assert one(f"{{repeat: {{repeat: {INVERSE}, times: 2}}, times: 3}}").repeats == 6
    assert one("{repeat: {name: multi_block}, times: 2}").repeats == 2
    assert one("{repeat: {name: block, ratio: 0.5, exact: false}, times: 2}").ragged
    targets = "[{num_blocks: 2, scale: [0.1, 0.1]}, {num_blocks: 1, scale: [0.3, 0.3]}]"
    sets = draw(f"{{repeat: {{name: multi_block, targets: {targets}}}, times: 2}}")
    assert isinstance(sets, tuple)
    assert [mask.repeats for mask in sets] == [2, 2]


@pytest.mark.parametrize(
    "section",
    [
        f"{{invert: {{repeat: {INVERSE}, times: 2}}}}",
        f"{{any: [{{repeat: {INVERSE}, times: 2}}, {{repeat: {INVERSE}, times: 2}}], ratio: 0.8}}",
        f"{{one_of: [{{repeat: {INVERSE}, times: 2}}, {{repeat: {INVERSE}, times: 2}}], per: sample}}",
    ],
)
def test_what_is_made_of_repeated_masks_is_repeated(section: str) -> None:
    mask = one(section)
    assert (mask.repeats, len(mask.hidden)) == (2, 6)


def test_each_sample_is_of_one_part_with_all_its_contexts() -> None:
    part = "{{repeat: {{name: random, over: [{axis}], ratio: 0.5}}, times: 4}}"
    mask = one(f"{{one_of: [{part.format(axis='h')}, {part.format(axis='w')}], per: sample}}", batch_size=50)
    rows = mask.hidden.reshape(50, 4, 14, 14)
    is_rows = (rows == rows[..., :1]).all(-1).all(-1)
    assert is_rows.all(1).any()
    assert (~is_rows).all(1).any()
    assert (is_rows.all(1) | (~is_rows).all(1)).all()


def test_parts_of_unequal_numbers_of_contexts_are_refused() -> None:
    with pytest.raises(ConfigError, match="its parts have 2, 1 contexts of each sample; put `repeat` around the whole"):
        draw(f"{{any: [{{repeat: {INVERSE}, times: 2}}, {INVERSE}], ratio: 0.8}}")
    with pytest.raises(ConfigError, match="they have 2, 1 contexts of each sample"):
        draw(f"{{one_of: [{{repeat: {INVERSE}, times: 2}}, {INVERSE}], per: sample}}")
    with pytest.raises(ConfigError, match="times: 0 is not allowed"):
        masker_from_section(f"{{repeat: {INVERSE}, times: 0}}")
