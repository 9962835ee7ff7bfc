import math

import pytest
import torch
from places import loss_of, target_place, truth_of

from mae_core import build_model, load_config
from mae_core.build_maskers import masker_from_resolved
from mae_core.interfaces import Grid, Mask, gather_patches
from mae_core.masking import RandomMasker
from mae_core.parts.pixels import Pixels
from mae_registry import ConfigError
from mae_video.masking import RunningCellMasker, running_cells
from mae_video.positions import FlatSinCos, Separable
from mae_video.targets import ChannelPixels, FramePixels
from mae_video.tokenizer import Tubelets

GRID = Grid(t=8, h=14, w=14)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("input_size", [(16, 224, 224), (4, 48, 32), (6, 16, 80)])
def test_tubelets_go_back_to_the_clip(input_size):
    tokenizer = Tubelets(8, input_size=input_size)
    x = torch.rand(2, 3, *input_size)
    patches = tokenizer.patchify(x)
    assert patches.shape == (2, math.prod(input_size) // 512, 1536)
    assert torch.equal(tokenizer.unpatchify(patches), x)
    # (frame, row, column, channel), tokens time-major
    assert torch.equal(patches[0, 0].reshape(2, 16, 16, 3), x[0, :, :2, :16, :16].permute(1, 2, 3, 0))


def test_the_default_grid_has_1568_tokens():
    assert Tubelets(8).grid == GRID


def test_tubelets_start_as_the_published_convolutions_do():
    weight = Tubelets(768, init="xavier").proj.weight.detach()
    assert 0.99 < float(weight.abs().max()) / math.sqrt(6 / (768 + 1536)) < 1.000001  # the bound itself may be drawn
    weight = Tubelets(768).proj.weight.detach()
    assert 0.99 < float(weight.abs().max()) * math.sqrt(1536) < 1.000001


def test_tube_masking_is_videomaes():
    mask = RandomMasker(ratio=0.9, over=["h", "w"], truncate="hidden")(GRID, 3, generator=seeded())
    frames = mask.hidden.reshape(3, 8, 196)
    assert frames.sum(2).unique().tolist() == [176]
    assert torch.equal(frames, frames[:, :1].expand_as(frames))
    assert mask.num_keep == 160


@pytest.mark.parametrize("recipe", ["mae_st_base", "mae_st_large"])
def test_the_recipes_of_mae_st_mask_anywhere_in_space_and_time(recipe):
    masker = masker_from_resolved(load_config(f"video/{recipe}")["model.modalities.video.masker"])
    mask = masker(GRID, 2, generator=seeded())
    frames = mask.hidden.reshape(2, 8, 196)
    assert mask.num_keep == 156
    assert not torch.equal(frames[:, 0], frames[:, 1])


def test_flat_positions_are_videomaes():
    table = FlatSinCos(Grid(t=2, h=3, w=3), 6).table
    for position in range(18):
        for column in range(6):
            angle = position / 10000 ** (2 * (column // 2) / 6)
            assert float(table[position, column]) == pytest.approx((math.sin, math.cos)[column % 2](angle), abs=1e-7)


def test_separable_positions_add_up():
    positions = Separable(Grid(t=2, h=3, w=4), 5)
    ids = torch.tensor([[0, 11, 12, 23]])
    expected = positions.spatial[0, [0, 11, 0, 11]] + positions.temporal[0, [0, 0, 1, 1]]
    assert torch.equal(positions(ids)[0], expected)
    assert positions.class_position().shape == (1, 1, 5)


def test_running_cells_predict_two_of_each_cell_and_move_on():
    cells = running_cells(Grid(t=4, h=2, w=2), torch.tensor([0, 1])).reshape(2, 4, 4).int().tolist()
    assert cells[0] == [[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 1]]
    assert cells[1] == [*cells[0][1:], cells[0][0]]


def test_running_cell_masks():
    mask = RunningCellMasker(ratio=0.9)(GRID, 8, generator=seeded())
    assert mask.ids_keep.shape == (8, 160)
    assert mask.ids_predict.shape == (8, 784)
    (query,) = mask.queries
    assert query.counts.equal(mask.hidden.gather(1, query.ids))  # what the encoder saw does not count
    assert query.counts.sum(1).tolist() == [704] * 8
    assert torch.equal(mask.ids_predict.sort(1).values, mask.ids_predict)
    assert len({tuple(row) for row in mask.ids_predict.tolist()}) == 4  # phases
    tube = RandomMasker(ratio=0.9, over=["h", "w"], truncate="hidden")(GRID, 8, generator=seeded())
    assert torch.equal(mask.hidden, tube.hidden)
    less = RunningCellMasker(ratio=0.9).with_ratio(0.75)(GRID, 8, generator=seeded())
    assert less.ids_keep.shape == (8, 392)


@pytest.mark.parametrize("grid", [Grid(h=14, w=14), Grid(t=8, h=13, w=14), Grid(t=8, h=14, w=7)])
def test_running_cells_need_whole_cells(grid):
    with pytest.raises(ConfigError, match="it needs three axes, the last two of even size"):
        running_cells(grid, torch.zeros(1, dtype=torch.int64))


def clips(tokenizer):
    x = tokenizer.normalize(torch.randint(256, (2, *tokenizer.sample_shape), dtype=torch.uint8, generator=seeded()))
    return x, tokenizer.patchify(x)


def test_channel_pixels_are_the_published_formula():
    tokenizer = Tubelets(8, input_size=(4, 32, 32))
    x, _ = clips(tokenizer)
    values = tokenizer.patchify(tokenizer.denormalize(x)).reshape(2, 8, 512, 3)
    expected = (values - values.mean(2, keepdim=True)) / (values.var(2, keepdim=True).sqrt() + 1e-6)
    truth = truth_of(ChannelPixels(target_place(tokenizer)), tokenizer, x)
    assert torch.allclose(truth, expected.flatten(2), atol=2e-5)


def test_flat_patches_have_a_finite_target():
    tokenizer = Tubelets(8, input_size=(4, 32, 32))
    x = torch.zeros(1, 3, 4, 32, 32)
    out = truth_of(ChannelPixels(target_place(tokenizer)), tokenizer, x)
    assert torch.equal(out, torch.zeros_like(out))


@pytest.mark.parametrize("make", [ChannelPixels, Pixels])
def test_a_perfect_prediction_gives_the_clip_back(make):
    tokenizer = Tubelets(8, input_size=(4, 32, 32))
    target = make(target_place(tokenizer))
    x, patches = clips(tokenizer)
    pred = truth_of(target, tokenizer, x)
    assert torch.allclose(target.to_patches(pred, patches), patches, atol=1e-5)
    assert float(loss_of(target, pred, pred + 2, torch.ones(2, 8, dtype=torch.bool))) == pytest.approx(4)


@pytest.mark.parametrize(("num_frames", "shown"), [(8, [0, 2, 4, 6, 8, 10, 12, 15]), (16, list(range(16)))])
def test_frame_pixels_predict_mae_sts_frames(num_frames, shown):
    tokenizer = Tubelets(8, input_size=(16, 32, 32))
    target = FramePixels(target_place(tokenizer), num_frames=num_frames, normalize="none")
    x, patches = clips(tokenizer)
    pred = truth_of(target, tokenizer, x)
    assert pred.shape == (2, 32, target.dim) == (2, 32, 768 * num_frames // 8)
    drawn = tokenizer.unpatchify(target.to_patches(pred, patches))
    assert torch.equal(drawn[:, :, shown], x[:, :, shown])
    others = sorted(set(range(16)) - set(shown))
    assert bool(drawn[:, :, others].isnan().all())


def test_frame_pixels_refuse_frames_that_patches_cannot_share():
    tokenizer = Tubelets(8, input_size=(16, 32, 32))
    for number in (0, 4, 12, 32):
        with pytest.raises(ConfigError, match=f"num_frames is {number}; it must be a multiple of t=8, at most the 16 frames"):
            FramePixels(target_place(tokenizer), num_frames=number)


SMALL = {"tokenizer": {"input_size": [4, 32, 32]}, "decoder": {"width": 16, "depth": 2, "heads": 2}}


@pytest.mark.parametrize(
    ("recipe", "extra"),
    [("videomae_base", {}), ("videomae_v2_base", {"masker": {"ratio": 0.5}}), ("mae_st_base", {"target": {"num_frames": 2}})],
)
def test_recipes_learn_at_a_small_size(recipe, extra):
    video = {**SMALL, "masker": {"ratio": 0.5}, **extra}
    config = load_config(
        {
            "extends": f"video/{recipe}",
            "model": {"encoder": {"width": 24, "depth": 2, "heads": 2}, "modalities": {"video": video}},
        }
    )
    torch.manual_seed(0)
    model = build_model(config)
    x, _ = clips(model.parts("video").tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        out = model({"video": x}, generator=seeded())
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(out.loss.item())
    assert losses[-1] < losses[0]


def test_parts_follow_each_other_to_the_right_loss():
    """A token counts in the loss only if it was hidden, however it was predicted."""
    config = load_config(
        {
            "extends": "video/videomae_v2_base",
            "model": {"encoder": {"width": 24, "depth": 1, "heads": 2}, "modalities": {"video": SMALL}},
        },
        overrides=["model.modalities.video.masker.ratio=0.5"],
    )
    model = build_model(config)
    tokenizer = model.parts("video").tokenizer
    x, _ = clips(tokenizer)
    predicted = running_cells(tokenizer.grid, torch.tensor([0, 3]))
    hidden = torch.tensor([[1, 0, 1, 0] * 2] * 2).bool()
    ids_predict = Mask.from_hidden(predicted).ids_predict
    out = model({"video": x}, masks={"video": Mask.from_hidden(hidden).asking(ids_predict)})
    truth = truth_of(model.parts("video").target, tokenizer, x)
    errors = (out.pred["video"] - gather_patches(truth, ids_predict)).square().mean(-1)
    counts = hidden.gather(1, ids_predict)
    assert out.loss.item() == pytest.approx(errors[counts].mean().item(), rel=1e-5)
    assert 0 < int(counts.sum()) < counts.numel()
