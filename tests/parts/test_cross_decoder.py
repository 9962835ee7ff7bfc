"""The decoder that attends to every modality, against a slow one that goes token by token."""

import math

import pytest
import torch
from grids import OnePixelPatches
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mae_core import Grid
from mae_core.interfaces import DecoderPlace, Latent
from mae_core.parts.blocks import LayerNorm
from mae_core.parts.cross_decoder import CrossDecoder
from mae_core.parts.positions import SinCos
from mae_registry import ConfigError

GRIDS = {"a": Grid(h=2, w=2), "b": Grid(t=5), "c": Grid(t=3)}
OFFSETS = {"a": 0, "b": 4, "c": 9}
CONTEXT_WIDTH, WIDTH, HEADS, OUT, PREFIX = 6, 8, 2, 3, 2
# rows keep 5 of the 12 together; row 1 keeps nothing of b
IDS_KEEP = torch.tensor([[0, 3, 4, 6, 11], [1, 2, 9, 10, 11]])


def positions(grid: Grid, width: int) -> SinCos:
    return SinCos(grid, width, leading="first_axis")


def place(modality: str) -> DecoderPlace:
    make = {name: lambda width, grid=grid: positions(grid, width) for name, grid in GRIDS.items()}
    tokenizers = {name: OnePixelPatches(grid) for name, grid in GRIDS.items()}
    return DecoderPlace(modality, CONTEXT_WIDTH, OUT, tokenizers, make, False, PREFIX, 1)


def context_of(x: Tensor, ids: Tensor = IDS_KEEP) -> Latent:
    """Rows keep different numbers of each modality's patches."""
    return Latent(x, PREFIX, ids, {name: (OFFSETS[name], grid.num_patches) for name, grid in GRIDS.items()}, None)


def make_decoder(modality: str = "b", **recipe: object) -> CrossDecoder:
    decoder = CrossDecoder(place(modality), **({"width": WIDTH, "depth": 2, "heads": HEADS} | recipe))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # weights that hide nothing: fresh biases are 0 and fresh norms 1
        for parameter in decoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return decoder


def random_latent() -> Tensor:
    return torch.randn(2, PREFIX + 5, CONTEXT_WIDTH, generator=torch.Generator().manual_seed(0))


def softmax_attention(decoder: CrossDecoder, queries: Tensor, context: Tensor) -> Tensor:
    """(M, W), (L, W) -> (M, W), head by head, by the formula."""
    q, (k, v) = decoder.attention.q(queries), decoder.attention.kv(context).chunk(2, dim=-1)
    side = WIDTH // HEADS
    heads = [slice(head * side, (head + 1) * side) for head in range(HEADS)]
    mixed = [torch.softmax(q[:, h] @ k[:, h].T / math.sqrt(side), dim=-1) @ v[:, h] for h in heads]
    return decoder.attention.proj(torch.cat(mixed, dim=-1))


def slow_decoder(decoder: CrossDecoder, latent: Tensor, ids_keep: Tensor) -> Tensor:
    """One sample's (prefix + K, D), (K,) -> predictions of all patches of the decoder's modality."""
    modality = decoder.entry
    x = decoder.embed(latent)
    prefix, visible = list(x[:PREFIX]), dict(zip(ids_keep.tolist(), x[PREFIX:], strict=True))
    context, queries = [], []
    for name, grid in GRIDS.items():
        table = positions(grid, WIDTH).table
        for n in range(grid.num_patches):
            place = table[n] + decoder.task_embeddings[name][0, 0]
            number = OFFSETS[name] + n
            if number in visible:
                context.append(visible[number] + place)
            if name == modality:
                queries.append(visible.get(number, decoder.mask_token[0, 0]) + place)
    attended = softmax_attention(
        decoder, decoder.query_norm(torch.stack(queries)), decoder.context_norm(torch.stack(context + prefix))
    )
    x = attended + decoder.mlp(decoder.out_norm(attended))  # no residual around the cross-attention
    for block in decoder.blocks:
        full = Block(WIDTH, HEADS, qkv_bias=True, norm_layer=LayerNorm)
        full.load_state_dict(block.state_dict())
        x = full(x[None])[0]
    return decoder.head(x)


@pytest.mark.parametrize("modality", GRIDS)
def test_it_equals_the_slow_one(modality: str) -> None:
    decoder, latent = make_decoder(modality), random_latent()
    expected = torch.stack([slow_decoder(decoder, x, ids) for x, ids in zip(latent, IDS_KEEP, strict=True)])
    num = GRIDS[modality].num_patches
    found = decoder(context_of(latent), torch.zeros(2, 1).long(), extras={}, everything=True)
    assert found.shape == (2, num, OUT)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    ids = torch.tensor([[2, 0], [1, 2]])
    some = decoder(context_of(latent), ids, extras={})
    torch.testing.assert_close(some, torch.stack([expected[row][ids[row]] for row in range(2)]), rtol=1e-4, atol=1e-5)


def test_the_order_of_the_context_does_not_matter_but_its_places_do() -> None:
    decoder, latent, ids = make_decoder(), random_latent(), torch.arange(5).expand(2, -1)
    plain = decoder(context_of(latent), ids, extras={})
    order = torch.tensor([3, 0, 4, 2, 1])
    shuffled = torch.cat([latent[:, :PREFIX], latent[:, PREFIX:][:, order]], dim=1)
    torch.testing.assert_close(decoder(context_of(shuffled, IDS_KEEP[:, order]), ids, extras={}), plain)
    assert not torch.allclose(decoder(context_of(shuffled), ids, extras={}), plain)


def test_prefix_tokens_have_no_position_and_no_modality() -> None:
    decoder, latent, ids = make_decoder(), random_latent(), torch.arange(5).expand(2, -1)
    plain = decoder(context_of(latent), ids, extras={})
    swapped = torch.cat([latent[:, [1, 0]], latent[:, PREFIX:]], dim=1)
    torch.testing.assert_close(decoder(context_of(swapped), ids, extras={}), plain)
    other = torch.cat([latent[:, :1] + 1, latent[:, 1:]], dim=1)  # yet they are attended to
    assert not torch.allclose(decoder(context_of(other), ids, extras={}), plain)


def test_it_learns_from_every_modality() -> None:
    decoder, latent = make_decoder(), random_latent().requires_grad_()
    decoder(context_of(latent), torch.arange(5).expand(2, -1), extras={}).square().sum().backward()
    assert latent.grad is not None
    assert (latent.grad.abs().sum(-1) > 0).all()
    assert [name for name, p in decoder.named_parameters() if p.grad is None] == []


def test_fresh_weights() -> None:
    decoder = CrossDecoder(place("b"), width=256)
    for module in decoder.modules():
        if isinstance(module, nn.Linear):
            assert (module.bias == 0).all()
            bound = math.sqrt(6 / sum(module.weight.shape))
            assert 0.9 * bound < module.weight.abs().max() <= bound
    for name in GRIDS:
        assert 0.015 < decoder.task_embeddings[name].std() < 0.025
    assert torch.equal(decoder.out_norm.weight, torch.ones(256))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="heads"):
        make_decoder(width=9)
