"""What combined maskers hide, against sets computed by hand from the same draws."""

import pytest
import torch
from torch import Tensor

from mae_core import Grid, Mask, load_config
from mae_core.build import build_model
from mae_core.build_maskers import masker_from_section
from mae_core.interfaces import Masker, MaskSets
from mae_core.masking.compose import AnyMasker, OneOfMasker
from mae_core.masking.counts import count_kept
from mae_registry import ConfigError

GRID = Grid(t=10, f=8)
TIME = "{name: random, over: [t], ratio: 0.6}"
FREQUENCY = "{name: random, over: [f], ratio: 0.5}"


def draw(section: str, grid: Grid = GRID, batch_size: int = 6, seed: int = 0) -> Mask:
    mask = masker_from_section(section)(grid, batch_size, generator=torch.Generator().manual_seed(seed))
    assert isinstance(mask, Mask)
    return mask


def parts(seed: int = 0) -> tuple[Tensor, Tensor]:
    """What TIME and then FREQUENCY hide, drawn from one generator."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (masker_from_section(section)(GRID, 6, generator=generator) for section in (TIME, FREQUENCY))
    assert isinstance(first, Mask)
    assert isinstance(second, Mask)
    return first.hidden, second.hidden


def test_time_and_frequency_masking_is_any_of_the_two_and_exact() -> None:
    mask = draw(f"{{any: [{TIME}, {FREQUENCY}]}}")
    time, frequency = parts()
    assert mask.hidden.equal(time | frequency)
    assert mask.num_keep == count_kept(10, 0.6, "kept") * count_kept(8, 0.5, "kept")
    assert not mask.ragged


def test_all_hides_where_both_do() -> None:
    mask = draw(f"{{all: [{TIME}, {FREQUENCY}]}}")
    time, frequency = parts()
    assert mask.hidden.equal(time & frequency)
    assert mask.ids_predict.shape[1] == 6 * 4


def test_invert() -> None:
    assert draw(f"{{invert: {TIME}}}").hidden.equal(~parts()[0])
    assert draw(f"{{invert: {{invert: {TIME}}}}}").hidden.equal(parts()[0])
    assert draw("{invert: {name: block, ratio: 0.5, exact: false}}").ragged


def test_de_morgan() -> None:
    either = draw(f"{{invert: {{all: [{{invert: {TIME}}}, {{invert: {FREQUENCY}}}]}}}}")
    assert either.hidden.equal(draw(f"{{any: [{TIME}, {FREQUENCY}]}}").hidden)


@pytest.mark.parametrize("ratio", [0.3, 0.7, 0.95])
def test_a_ratio_repairs_every_sample_and_changes_no_more_than_it_must(ratio: float) -> None:
    mask = draw(f"{{any: [{TIME}, {FREQUENCY}], ratio: {ratio}}}")
    time, frequency = parts()
    num_hidden = 80 - count_kept(80, ratio, "kept")
    assert mask.hidden.sum(1).tolist() == [num_hidden] * 6
    num_flips = (mask.hidden != (time | frequency)).sum(1)
    assert num_flips.tolist() == [abs(num_hidden - int(row)) for row in (time | frequency).sum(1)]


def test_ragged_rows_are_left_as_they_are() -> None:
    mask = draw("{any: [{name: random, ratio: 0.5}, {name: block, ratio: 0.4}], ragged: true}", Grid(h=8, w=8))
    assert mask.ragged
    assert len(mask.hidden.sum(1).unique()) > 1


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            "{any: [{name: random, ratio: 0.5}, {name: random, over: [f], ratio: 0.5}]}",
            "two of its parts vary along f, so samples would hide different numbers of patches; give it a `ratio:`",
        ),
        (f"{{all: [{TIME}, {{invert: {TIME}}}]}}", "two of its parts vary along t, so"),
        ("{any: [{name: block, ratio: 0.5, exact: false}]}", "a part of this mask hides a different number of patches in each"),
        (f"{{any: [{TIME}], ratio: 0.5, ragged: true}}", "`ratio` makes the counts equal and `ragged: true` leaves them"),
        (f"{{any: [{TIME}, {FREQUENCY}], ratio: 0.999}}", "ratio 0.999 keeps none of the 80 positions"),
        ("{invert: {name: running_cell, ratio: 0.5}}", "a masker that itself chooses what is predicted cannot be a part of"),
        (
            f"{{one_of: [{TIME}, {FREQUENCY}], per: sample}}",
            "one_of with `per: sample` needs parts of equal counts; on the grid t=10 f=8 they keep 32, 40 patches",
        ),
        ("{any: [{name: random, over: [h], ratio: 0.5}]}", "the grid t=10 f=8 has no axis 'h'"),
        (
            "{any: [{name: dirichlet, num_keep: 4}]}",
            "'dirichlet' masks several modalities together; write it into the section model.masker",
        ),
    ],
)
def test_what_cannot_be_combined(section: str, message: str) -> None:
    grid = Grid(t=2, h=8, w=8) if "running_cell" in section else GRID
    with pytest.raises(ConfigError) as error:
        draw(section, grid)
    assert message in str(error.value)


def test_a_masker_of_several_masks_is_no_part() -> None:
    class Twice(Masker):
        def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> MaskSets:
            mask = Mask.from_hidden(torch.arange(grid.num_patches).expand(batch_size, -1) % 2 == 0)
            return mask, mask

    with pytest.raises(ConfigError, match="several masks cannot be combined"):
        AnyMasker([Twice()])(GRID, 2, generator=torch.Generator())
    both = OneOfMasker([Twice()], [1])(GRID, 2, generator=torch.Generator())
    assert isinstance(both, tuple)  # a batch of one of them is as that one makes it


SHARES = "{one_of: [{masker: %s, weight: 3}, {masker: %s, weight: 1}], per: %s}"


def test_one_of_draws_once_a_batch_by_weight() -> None:
    counts = [draw(SHARES % (TIME, FREQUENCY, "batch"), seed=seed).num_keep for seed in range(400)]
    assert set(counts) == {32, 40}
    assert abs(counts.count(32) - 300) < 5 * (400 * 0.75 * 0.25) ** 0.5


def test_one_of_draws_once_a_sample_between_equal_counts() -> None:
    time, frequency = TIME.replace("0.6", "0.5"), FREQUENCY
    mask = draw(SHARES % (time, frequency, "sample"), batch_size=400)
    hidden = mask.hidden.reshape(400, 10, 8)
    whole_frames = (hidden == hidden[:, :, :1]).all((1, 2))
    whole_bands = (hidden == hidden[:, :1]).all((1, 2))
    assert (whole_frames ^ whole_bands).all()
    assert abs(int(whole_frames.sum()) - 300) < 5 * (400 * 0.75 * 0.25) ** 0.5
    assert mask.hidden.sum(1).unique().tolist() == [40]
    together = torch.cat([mask.ids_keep, mask.ids_predict], dim=1)
    assert together.sort(dim=1).values.equal(torch.arange(80).expand(400, -1))


def test_every_case_is_tried_when_a_model_is_built() -> None:
    """Not only what the first draw happens to give: here one in a million would hide nothing."""
    rare = "{one_of: [{masker: {name: random, ratio: 0.75}, weight: 1e6}, {masker: {name: random, ratio: 0.999}, weight: 1}]}"
    cfg = load_config("image/mae_vit_base", [f"model.modalities.image.masker={rare}"])
    with pytest.raises(ConfigError, match=r"^model\.modalities\.image\.masker \(command line\): ratio 0\.999 keeps none"), \
         torch.device("meta"):  # fmt: skip
        build_model(cfg)


def test_a_joint_masker_and_a_masker_of_one_modality_are_told_apart() -> None:
    for key, masker, message in (
        ("model.modalities.image.masker", "{name: dirichlet, num_keep: 9}", "write it into the section model.masker"),
        (
            "model.masker",
            "{name: random, ratio: 0.5}",
            "this masker masks a single modality, but model.masker must mask several together",
        ),
        ("model.masker", "{invert: {name: random, ratio: 0.5}}", "this masker masks a single modality"),
    ):
        with pytest.raises(ConfigError, match=message), torch.device("meta"):
            build_model(load_config("image/multimae_base", [f"{key}={masker}"]))
