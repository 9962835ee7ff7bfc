"""Maskers that return several index sets: each is encoded and predicted, and their losses are averaged."""

from dataclasses import replace

import pytest
import torch

from mae_core import Grid, Mask, build_model
from mae_core.interfaces import Masker, MaskSets, Preview
from mae_core.pictures.reconstruction import reconstruct
from mae_registry import MaeError

X = torch.randn(4, 3, 24, 32, generator=torch.Generator().manual_seed(0))


class Halves(Masker):
    """One context, the first four patches; two targets, each a half of the others."""

    def __call__(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> MaskSets:
        mask = Mask.from_hidden((torch.arange(grid.num_patches) >= 4).expand(batch_size, -1))
        return tuple(replace(mask, ids_predict=ids, ids_restore=None) for ids in mask.ids_predict.chunk(2, dim=1))


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    model = build_model(tiny_config).eval()
    model.parts("image").masker = Halves()
    return model


def test_the_loss_is_the_mean_over_the_sets(model):
    (drawn,) = model.draw_masks(["image"], 4).values()
    assert len(drawn) == 2
    out = model({"image": X}, masks={"image": drawn})
    alone = [model({"image": X}, masks={"image": mask}) for mask in drawn]
    torch.testing.assert_close(out.loss, (alone[0].loss + alone[1].loss) / 2)
    torch.testing.assert_close(out.losses["image"], out.loss)
    for own, single, mask in zip(out.sets, alone, drawn, strict=True):
        torch.testing.assert_close(own.pred["image"], single.pred["image"])
        assert own.mask["image"].ids_predict.equal(mask.ids_predict)
    assert out.pred["image"] is out.sets[0].pred["image"]
    assert model({"image": X}).sets  # also where the model draws


def test_sets_of_one_context_share_a_pass_through_the_encoder(model, monkeypatch):
    passes = []
    forward = model.encoder.forward
    monkeypatch.setattr(model.encoder, "forward", lambda *args: passes.append(1) or forward(*args))
    drawn = model.draw_masks(["image"], 4)["image"]
    model({"image": X[1:3]}, masks={"image": tuple(mask[1:3] for mask in drawn)})
    assert len(passes) == 1
    other = Mask.from_hidden(~drawn[0].hidden)
    model({"image": X}, masks={"image": (*drawn, other)})
    assert len(passes) == 3


def test_every_set_gets_its_picture(model):
    rows = reconstruct(model, "image", [Preview("a", X[0]), Preview("b", X[1])])
    assert [row.title for row in rows] == ["a", "a", "b", "b"]


def test_micro_batches_of_them_have_the_loss_of_the_batch(model):
    drawn = model.draw_masks(["image"], 4)["image"]
    whole = model({"image": X}, masks={"image": drawn}).loss
    halves = [
        model({"image": X[rows]}, masks={"image": tuple(mask[rows] for mask in drawn)}).loss
        for rows in (slice(0, 2), slice(2, 4))
    ]
    torch.testing.assert_close(whole, sum(halves) / 2)


def test_every_set_is_for_the_samples(model):
    mask = model.draw_masks(["image"], 4)["image"]
    with pytest.raises(
        MaeError, match=r"the mask of 'image' is for \(4, 12\) \(samples, patches\); the samples give \(2, 12\)"
    ):
        model({"image": X[:2]}, masks={"image": mask})


def test_cat_refuses_unequal_rows():
    few, many = (Mask.from_noise(torch.rand(1, 8), num_keep) for num_keep in (2, 3))
    assert Mask.cat([few, few]).ids_keep.shape == (2, 2)
    with pytest.raises(MaeError, match=r"samples of one batch keep different numbers of patches \(2 to 3\)"):
        Mask.cat([few, many])
    predicts_less = replace(few, ids_predict=few.ids_predict[:, 1:], ids_restore=None)
    with pytest.raises(MaeError, match=r"samples of one batch predict different numbers of patches \(5 to 6\)"):
        Mask.cat([few, predicts_less])
    assert Mask.cat([predicts_less, predicts_less]).ids_restore is None
