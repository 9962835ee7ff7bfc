"""Mask ratios that follow training's progress."""

import pytest
import torch
from running import assert_same_bits, interrupt_at, run
from torch._dynamo.testing import CompileCounter

from mae_core import Grid, Mask, build_model, load_config
from mae_core.build_maskers import masker_from_section
from mae_core.runs.checkpoint import load_newest
from mae_core.training.interrupts import Interrupted

GRID = Grid(n=100)


def hidden_at(ratio: str, progress: float, inner: str = "{name: random}") -> int:
    masker = masker_from_section(f"{{schedule: {inner}, ratio: {ratio}}}").at(progress)
    mask = masker(GRID, 2, generator=torch.Generator().manual_seed(0))
    assert isinstance(mask, Mask)
    return mask.ids_predict.shape[1]


@pytest.mark.parametrize(
    ("ratio", "hidden"),
    [
        ("0.75", [75, 75, 75, 75, 75]),
        ("{from: 0.25, to: 0.75}", [25, 38, 50, 63, 75]),
        ("{from: 0.25, to: 0.75, shape: linear}", [25, 38, 50, 63, 75]),
        ("{from: 0.75, to: 0.25}", [75, 63, 50, 38, 25]),
        ("{from: 0.25, to: 0.75, shape: cosine}", [25, 33, 50, 68, 75]),
        ("{from: 0.25, to: 0.75, shape: steps, num_steps: 2}", [25, 25, 75, 75, 75]),
        ("{from: 0.25, to: 0.75, shape: steps, num_steps: 3}", [25, 25, 50, 75, 75]),
    ],
)
def test_shapes(ratio: str, hidden: list[int]) -> None:
    assert [hidden_at(ratio, progress) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)] == hidden


def test_without_a_progress_it_is_the_end() -> None:
    masker = masker_from_section("{schedule: {name: random}, ratio: {from: 0.25, to: 0.75}}")
    mask = masker(GRID, 2, generator=torch.Generator().manual_seed(0))
    assert isinstance(mask, Mask)
    assert mask.num_keep == 25


def test_schedules_work_inside_of_other_maskers() -> None:
    ramp = "{schedule: {name: random}, ratio: {from: 0.25, to: 0.75}}"
    for outer in (
        "{invert: %s}",
        "{one_of: [%s]}",
        "{one_of: [%s], per: sample}",
        "{any: [%s]}",
        "{all: [{invert: {invert: %s}}]}",
    ):
        masker = masker_from_section(outer % ramp)
        counts = []
        for progress in (0.0, 1.0):
            mask = masker.at(progress)(GRID, 2, generator=torch.Generator().manual_seed(0))
            assert isinstance(mask, Mask)
            counts.append(mask.num_keep)
        assert counts == ([25, 75] if outer.startswith("{invert") else [75, 25])


RAMP = "model.modalities.image.masker={schedule: {name: random}, ratio: {from: 0.3, to: 0.9}}"


def test_training_follows_the_schedule_and_resumes_exactly(tiny_recipe, tmp_path, monkeypatch) -> None:
    config = load_config(tiny_recipe, [RAMP])
    counts = []
    original = Mask.__getitem__

    def count(self, rows):
        counts.append(self.num_keep)
        return original(self, rows)

    monkeypatch.setattr(Mask, "__getitem__", count)
    run(config, tmp_path / "whole")
    assert counts[0] == 8  # of 12, at 0.3
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == int(12 * (1 - (0.3 * 1 / 12 + 0.9 * 11 / 12)))  # 12 steps: the last one's progress is 11/12
    with pytest.raises(Interrupted):
        run(config, tmp_path / "parts", on_step=interrupt_at(5))
    run(config, tmp_path / "parts", resume=True)
    ends = [load_newest(tmp_path / name) for name in ("whole", "parts")]
    assert ends[0] is not None
    assert ends[1] is not None
    assert_same_bits(ends[0].model, ends[1].model)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch.compile's own look at its inputs
def test_a_compiled_encoder_is_not_compiled_again_for_a_count_it_has_seen(tiny_recipe) -> None:
    model = build_model(load_config(tiny_recipe, [RAMP]))
    counter = CompileCounter()
    model.backbone.encoder.compile(backend=counter)
    x = {"image": torch.randn(2, 3, 24, 32)}
    counts, compiled = set(), []
    for progress in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.0, 0.3, 0.7, 1.0):
        masks = model.draw_masks(x, 2, generator=torch.Generator().manual_seed(0), progress=progress)
        out = model(x, masks=masks)
        out.loss.backward()
        counts.add(out.mask["image"].num_keep)
        compiled.append(counter.frame_count)
    assert len(counts) > 3
    assert 1 <= compiled[-1] <= len(counts)
    assert compiled[5:] == [compiled[5]] * 5


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch.compile's own look at its inputs
def test_the_whole_model_is_one_graph_to_compile(tiny_config):
    model = build_model(tiny_config)
    masks = model.draw_masks(["image"], 4, generator=torch.Generator().manual_seed(0))
    x = {"image": torch.randn(4, 3, 24, 32)}
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, masks=masks).loss, model(x, masks=masks).loss)
