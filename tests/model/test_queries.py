"""Several queries of one context, several contexts, and several contexts of each sample: how their losses add up."""

from dataclasses import replace

import pytest
import torch

from mae_core import Grid, Mask, build_model
from mae_core.interfaces import Masker, MaskSets, Preview, Query
from mae_core.pictures.reconstruction import reconstruct
from mae_registry import MaeError

X = torch.randn(4, 3, 24, 32, generator=torch.Generator().manual_seed(0))


def halves(batch_size: int = 4) -> Mask:
    """One context, the first four patches; two queries, each a half of the others."""
    mask = Mask.from_hidden((torch.arange(12) >= 4).expand(batch_size, -1))
    return mask.asking(*mask.ids_predict.chunk(2, dim=1))


class Halves(Masker):
    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> MaskSets:
        return halves(batch_size)


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    model = build_model(tiny_config).eval()
    model.modalities["image"].masker = Halves()
    return model


def several(name: str) -> MaskSets:
    """What a masker may draw for four samples."""
    noise = torch.rand(4, 12, generator=torch.Generator().manual_seed(3))
    first, other = Mask.from_noise(noise, 4), Mask.from_noise(noise.flip(1), 7)
    counted = Query(torch.arange(9).expand(4, -1), torch.rand(4, 9, generator=torch.Generator().manual_seed(4)))
    twice = replace(Mask.from_noise(torch.rand(8, 12, generator=torch.Generator().manual_seed(5)), 3), repeats=2)
    uneven = first.asking(Query(first.ids_predict, torch.arange(8).expand(4, -1) < torch.tensor([1, 8, 3, 0])[:, None]))
    return {
        "queries": halves(),
        "contexts": (first, other),
        "weights": first.asking(counted),
        "contexts of each sample": twice,
        "counts that differ": uneven,
    }[name]


CASES = ["queries", "contexts", "weights", "contexts of each sample", "counts that differ"]


def test_the_loss_is_the_mean_over_the_queries(model):
    (drawn,) = model.draw_masks(["image"], 4).values()
    out = model({"image": X}, masks={"image": drawn})
    alone = [model({"image": X}, masks={"image": mask}) for mask in drawn.each_query()]
    assert len(alone) == 2
    torch.testing.assert_close(out.loss, (alone[0].loss + alone[1].loss) / 2)
    torch.testing.assert_close(out.losses["image"], out.loss)
    for own, single, mask in zip(out.sets, alone, drawn.each_query(), strict=True):
        torch.testing.assert_close(own.pred["image"], single.pred["image"])
        assert own.mask["image"].ids_predict.equal(mask.ids_predict)
    assert out.pred["image"] is out.sets[0].pred["image"]
    assert model({"image": X}).sets  # also where the model draws


def test_queries_share_a_pass_through_the_encoder_and_contexts_do_not(model, monkeypatch):
    passes = []
    forward = model.backbone.encoder.forward
    monkeypatch.setattr(model.backbone.encoder, "forward", lambda *args, **kw: passes.append(1) or forward(*args, **kw))
    model({"image": X}, masks={"image": several("queries")})
    assert len(passes) == 1
    model({"image": X}, masks={"image": several("contexts")})
    assert len(passes) == 3


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [2, 2], [1, 3]])
def test_micro_batches_add_up_to_the_loss_and_the_gradients_of_the_batch(model, case, sizes):
    drawn = several(case)
    masks = drawn if isinstance(drawn, tuple) else (drawn,)
    model.zero_grad()
    whole = model({"image": X}, masks={"image": masks})
    whole.loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    ends = torch.tensor(sizes).cumsum(0).tolist()
    parts = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    small = [{"image": tuple(mask[rows] for mask in masks)} for rows in parts]
    each = [model.weigh(own) for own in small]
    weights = {name: torch.stack([own[name] for own in each]).sum(0) for name in each[0]}
    assert weights.keys() == model.weigh({"image": masks}).keys()
    model.zero_grad()
    losses = [model({"image": X[rows]}, masks=own, weights=weights).loss for rows, own in zip(parts, small, strict=True)]
    torch.stack(losses).sum().backward()
    torch.testing.assert_close(torch.stack(losses).sum(), whole.loss, rtol=1e-6, atol=0)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-5, atol=1e-6)


def test_several_contexts_of_a_sample_are_those_of_as_many_samples(model):
    mask = several("contexts of each sample")
    assert isinstance(mask, Mask)
    out = model({"image": X}, masks={"image": mask})
    apart = model({"image": X.repeat_interleave(2, dim=0)}, masks={"image": replace(mask, repeats=1)})
    torch.testing.assert_close(out.pred["image"], apart.pred["image"])
    torch.testing.assert_close(out.loss, apart.loss)


@pytest.mark.parametrize("reduction", ["batch", "sample"])
def test_where_nothing_counts_the_loss_is_zero_and_no_gradient_is_nan(tiny_recipe, reduction):
    from mae_core import load_config

    model = build_model(load_config(tiny_recipe, [f"model.modalities.image.target.reduction={reduction}"]))
    mask = halves()
    nothing = mask.asking(*(Query(query.ids, torch.zeros_like(query.counts)) for query in mask.queries))
    out = model({"image": X}, masks={"image": nothing})
    out.loss.backward()
    assert float(out.loss.detach()) == 0
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


def test_every_query_gets_its_picture(model):
    rows = reconstruct(model, "image", [Preview("a", X[0]), Preview("b", X[1])])
    assert [row.title for row in rows] == ["a", "a", "b", "b"]


def test_every_mask_is_for_the_samples(model):
    mask = model.draw_masks(["image"], 4)["image"]
    with pytest.raises(
        MaeError, match=r"the mask of 'image' is for \(4, 12\) \(samples, patches\); the samples give \(2, 12\)"
    ):
        model({"image": X[:2]}, masks={"image": mask})
