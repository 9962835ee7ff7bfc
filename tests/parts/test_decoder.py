"""Blocks and decoder against slow references with the same weights."""

import pytest
import torch
from grids import OnePixelPatches
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mae_core import Grid, Mask
from mae_core.interfaces import DecoderPlace, Latent, Positions
from mae_core.parts.blocks import LayerNorm, QueryBlock, init_linear_and_norm
from mae_core.parts.positions import Learned, SinCos, sincos_table
from mae_core.parts.vit_decoder import ViTDecoder
from mae_registry import ConfigError

GRID = Grid(h=3, w=4)
CONTEXT_WIDTH, WIDTH, HEADS, OUT = 10, 12, 3, 7


def randomize(module: nn.Module) -> None:
    """Weights that hide nothing: fresh biases are 0 and fresh norms 1."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)


def place(
    *, context_width: int = CONTEXT_WIDTH, out_dim: int = OUT, positions: type[Positions] = SinCos, returns_all: bool = False
) -> DecoderPlace:
    make = {"only": lambda width: positions(GRID, width)}
    return DecoderPlace("only", context_width, out_dim, {"only": OnePixelPatches(GRID)}, make, returns_all, 1, 1)


def latent_of(x: Tensor, ids: Tensor) -> Latent:
    """Prefix tokens, as many as there are more tokens than ids, and those of ids."""
    return Latent(x, x.shape[1] - ids.shape[1], ids, {"only": (0, GRID.num_patches)}, {"only": ids.shape[1]})


def make_decoder(*, dense: bool = False, **recipe: object) -> ViTDecoder:
    decoder = ViTDecoder(
        place(returns_all=dense),
        **({"width": WIDTH, "depth": 3, "heads": HEADS} | recipe),  # type: ignore[arg-type]
    )
    randomize(decoder)
    return decoder


def full_block(block: nn.Module) -> Block:
    """timm's own block with a block's weights."""
    full = Block(WIDTH, HEADS, qkv_bias=True, norm_layer=LayerNorm)
    full.load_state_dict(block.state_dict(), strict=True)
    return full


def unshuffling_decoder(decoder: ViTDecoder, latent: Tensor, mask: Mask, *, num_prefix: int) -> Tensor:
    """As the paper's text has it: mask tokens appended, all put in raster order, positions added, all predicted. (B, N, T)"""
    assert decoder.mask_token is not None
    x = decoder.embed(latent)
    prefix, kept = x[:, :num_prefix], x[:, num_prefix:]
    if decoder.class_token == "drop":
        prefix = prefix[:, :0]
    elif decoder.class_token == "own":
        assert decoder.cls_token is not None
        prefix = decoder.cls_token.expand(len(x), -1, -1)
    num_hidden = mask.hidden.shape[1] - kept.shape[1]
    ids_restore = torch.cat([mask.ids_keep, mask.ids_predict], dim=1).argsort(dim=1)
    shuffled = torch.cat([kept, decoder.mask_token.expand(len(x), num_hidden, -1)], dim=1)
    raster = torch.stack([row[ids] for row, ids in zip(shuffled, ids_restore, strict=True)])
    x = torch.cat([prefix, raster + sincos_table(GRID, WIDTH)], dim=1)
    for block in decoder.blocks:
        x = full_block(block)(x)
    return decoder.head(decoder.norm(x))[:, prefix.shape[1] :]


@pytest.mark.parametrize("embed_bias", [True, False])
@pytest.mark.parametrize(("class_token", "num_prefix"), [("keep", 1), ("keep", 0), ("drop", 1), ("own", 1), ("own", 0)])
def test_a_set_of_tokens_equals_unshuffling(class_token: str, num_prefix: int, embed_bias: bool) -> None:
    torch.manual_seed(0)
    decoder = make_decoder(class_token=class_token, embed_bias=embed_bias)
    mask = Mask.from_noise(torch.rand(2, GRID.num_patches), 5)
    latent = torch.randn(2, num_prefix + 5, CONTEXT_WIDTH)
    expected = unshuffling_decoder(decoder, latent, mask, num_prefix=num_prefix)
    masked = decoder(latent_of(latent, mask.ids_keep), mask.ids_predict, extras={})
    both = decoder(latent_of(latent, mask.ids_keep), mask.ids_predict, extras={}, everything=True)
    torch.testing.assert_close(masked, _rows(expected, mask.ids_predict), rtol=0, atol=2e-6)
    torch.testing.assert_close(both, expected, rtol=0, atol=2e-6)


def test_everything_is_in_raster_order_with_gaps_where_nothing_is_predicted() -> None:
    """A patch that is both seen and asked for is predicted as the query has it."""
    decoder, kept = make_decoder(), torch.tensor([[4, 0, 7], [1, 2, 3]])
    asked = torch.tensor([[7, 9], [11, 2]])
    latent = latent_of(torch.randn(2, 4, CONTEXT_WIDTH), kept)
    everything = decoder(latent, asked, extras={}, everything=True)
    torch.testing.assert_close(_rows(everything, asked), decoder(latent, asked, extras={}), rtol=0, atol=2e-6)
    gaps = torch.ones(2, 12, dtype=torch.bool).scatter(1, torch.cat([kept, asked], dim=1), False)
    assert everything.isnan().all(dim=2).equal(gaps)
    assert everything.isnan().any(dim=2).equal(gaps)


def _rows(x: Tensor, ids: Tensor) -> Tensor:
    return torch.stack([row[i] for row, i in zip(x, ids, strict=True)])


def test_the_class_token_is_context_only_where_it_is_kept() -> None:
    mask = Mask.from_noise(torch.rand(2, GRID.num_patches), 5)
    latent = torch.randn(2, 6, CONTEXT_WIDTH)
    other = latent.clone()
    other[:, 0] += 1
    for class_token, depends in (("keep", True), ("drop", False), ("own", False)):
        decoder = make_decoder(class_token=class_token)
        a, b = (decoder(latent_of(x, mask.ids_keep), mask.ids_predict, extras={}) for x in (latent, other))
        assert (not a.equal(b)) == depends


def test_a_dense_decoder_reads_its_queries_from_the_context() -> None:
    decoder = make_decoder(dense=True)
    assert decoder.mask_token is None
    every = torch.arange(12).expand(2, -1)
    predict = torch.tensor([[7, 2], [0, 11]])
    latent = latent_of(torch.randn(2, 13, CONTEXT_WIDTH), every)
    masked = decoder(latent, predict, extras={})
    both = decoder(latent, predict, extras={}, everything=True)
    assert both.shape == (2, 12, OUT)
    torch.testing.assert_close(masked, _rows(both, predict), rtol=0, atol=1e-6)


@pytest.mark.parametrize("fields", [("embed_bias", "embed.bias"), ("class_token", "cls_token")])
def test_switches_of_the_decoder_decide_its_parameters(fields: tuple[str, str]) -> None:
    recipe, parameter = fields
    changed = {"embed_bias": False, "class_token": "own"}[recipe]
    names = set(make_decoder().state_dict()) ^ set(make_decoder(**{recipe: changed}).state_dict())
    assert names == {parameter}


def test_positions_are_at_the_decoders_own_width() -> None:
    decoder = ViTDecoder(place(positions=Learned), width=WIDTH, depth=1, heads=HEADS)
    assert decoder.positions.get_parameter("table").shape == (12, WIDTH)


def test_a_query_block_is_a_full_block_and_a_selection() -> None:
    torch.manual_seed(0)
    block = QueryBlock(WIDTH, HEADS, 4.0)
    randomize(block)
    full = full_block(block)
    x = torch.randn(2, 9, WIDTH, requires_grad=True)
    copy = x.detach().clone().requires_grad_()
    some, expected = block(x, x[:, 3:7]), full(copy)[:, 3:7]
    torch.testing.assert_close(some, expected, rtol=0, atol=1e-6)

    weight = torch.randn(some.shape)
    (some * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(x.grad, copy.grad, rtol=0, atol=1e-5)
    gradients = {name: parameter.grad for name, parameter in full.named_parameters()}
    for name, parameter in block.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[name], rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_initial_weights_are_the_published_ones() -> None:
    """Xavier-uniform with qkv as one matrix, zero biases, unit norms, N(0, 0.02) mask token."""
    torch.manual_seed(0)
    decoder = ViTDecoder(place(context_width=64, out_dim=48), width=128, depth=2, heads=4)
    for name, parameter in decoder.named_parameters():
        if "norm" in name:
            assert parameter.unique().tolist() == [float("weight" in name)], name
        elif name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.ndim == 2:
            limit = (6 / sum(parameter.shape)) ** 0.5
            assert 0.98 * limit < float(parameter.detach().abs().max()) <= limit, name
        else:
            assert name == "mask_token"
            assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.2)


def test_initialisation_leaves_other_layers_alone() -> None:
    convolution = nn.Conv1d(2, 2, 3)
    before = convolution.weight.clone()
    convolution.apply(init_linear_and_norm)
    assert convolution.weight.equal(before)


def test_heads_must_share_the_width() -> None:
    with pytest.raises(ConfigError, match=r"^width 12 is not divisible by heads 5$"):
        make_decoder(heads=5)
