"""The decoder of local windows; its exactness is in test_audio_certificate.py."""

import pytest
import torch
from places import decoder_place, latent_of
from torch.nn import functional as F

from mae_audio.decoder import LocalWindowsDecoder
from mae_audio.window_blocks import WindowAttention
from mae_core.interfaces import Grid, Mask, gather_patches
from mae_registry import ConfigError

GRID = Grid(t=8, f=4)


def make(grid=GRID, *, dense=False, depth=2, **recipe):
    torch.manual_seed(0)
    sizes = {"width": 16, "heads": 2, **recipe}
    place = decoder_place(grid, context_width=12, out_dim=5, returns_all=dense)
    return LocalWindowsDecoder(place, depth=depth, **sizes).eval()


def decode(decoder, x, ids, asked, **options):
    return decoder(latent_of(x, ids, decoder.num_patches), asked, extras={}, **options)


def attention_by_hand(layer, x):
    """All pairs of tokens of the grid, one by one: a pair attends if it lies in one window and no edge is between."""
    (rows, columns), (p, q), shift = layer.sizes, layer.window, layer.shift
    out = torch.zeros_like(x)
    q_all, k_all, v_all = layer.qkv(x).chunk(3, dim=-1)
    places = [(r, c) for r in range(rows) for c in range(columns)]

    def window_of(place):
        moved = [(place[i] - shift[i]) % layer.sizes[i] for i in range(2)]
        wrapped = tuple(place[i] < shift[i] for i in range(2))
        return moved[0] // p, moved[1] // q, wrapped

    for head in range(layer.heads):
        width = x.shape[-1] // layer.heads
        part = slice(head * width, (head + 1) * width)
        for i, query in enumerate(places):
            keys = [j for j, key in enumerate(places) if window_of(key) == window_of(query)]
            scores = []
            for j in keys:
                d = torch.tensor(
                    [((query[a] - shift[a]) % layer.sizes[a] - (places[j][a] - shift[a]) % layer.sizes[a]) for a in range(2)]
                ).float()
                bias = layer.meta_mlp(d.sign() * torch.log(1 + d.abs()))[head]
                cosine = F.cosine_similarity(q_all[:, i, part], k_all[:, j, part], dim=-1)
                scores.append(cosine / layer.tau[head].clamp(min=0.01) + bias)
            weights = torch.stack(scores, dim=-1).softmax(-1)
            out[:, i, part] = torch.einsum("bk,bkd->bd", weights, v_all[:, keys][..., part])
    return layer.proj(out)


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (2, 1)])
def test_window_attention_is_attention_of_neighbours(shift):
    torch.manual_seed(1)
    layer = WindowAttention(Grid(t=8, f=4), 8, 2, window=(4, 2), shift=shift).eval()
    torch.nn.init.uniform_(layer.tau, 0.005, 1)
    x = torch.randn(2, 32, 8)
    with torch.no_grad():
        assert torch.allclose(layer(x), attention_by_hand(layer, x), atol=1e-5)


@pytest.mark.parametrize(("query", "last_row"), [(0, 3), (2 * 8, 7)])
def test_a_patch_sees_its_windows_and_not_across_the_edge(query, last_row):
    decoder = make(Grid(t=16, f=8), window=(4, 4))
    latent = torch.randn(1, 1 + 128, 12, requires_grad=True)
    ids = torch.arange(128)[None]
    decode(decoder, latent, ids, torch.tensor([[query]])).sum().backward()
    assert latent.grad is not None
    seen = latent.grad[0, 1:].abs().sum(-1).reshape(16, 8) > 1e-30  # exp(-100) between what a shift wraps around
    expected = torch.zeros(16, 8, dtype=torch.bool)
    expected[: last_row + 1, :4] = True
    assert torch.equal(seen, expected)
    assert float(latent.grad[0, 0].abs().sum()) == 0  # the class token is dropped


def test_queries_and_all_agree():
    decoder = make()
    mask = Mask.from_noise(torch.rand(3, 32), 7)
    latent = torch.randn(3, 8, 12)
    with torch.no_grad():
        masked = decode(decoder, latent, mask.ids_keep, mask.ids_predict)
        every = decode(decoder, latent, mask.ids_keep, mask.ids_predict, everything=True)
    assert masked.shape == (3, 25, 5)
    assert every.shape == (3, 32, 5)
    assert every.isfinite().all()
    assert torch.equal(gather_patches(every, mask.ids_predict), masked)


def test_a_dense_context_is_in_raster_order():
    decoder = make(dense=True)
    ids = torch.arange(32).expand(2, -1)
    latent = torch.randn(2, 32, 12)
    some = torch.tensor([[3, 1], [30, 4]])
    with torch.no_grad():
        every = decode(decoder, latent, ids, some, everything=True)
        assert torch.equal(decode(decoder, latent, ids, some), gather_patches(every, some))
    assert decoder.mask_token is None


@pytest.mark.parametrize("sizes", [(8, 8), (32, 8), (4, 4), (12, 4), (4, 12)])
def test_any_grid_that_the_window_divides(sizes):
    grid = Grid(t=sizes[0], f=sizes[1])
    decoder = make(grid)
    mask = Mask.from_noise(torch.rand(2, grid.num_patches), 3)
    pred = decode(decoder, torch.randn(2, 3, 12), mask.ids_keep, mask.ids_predict)
    assert pred.shape == (2, grid.num_patches - 3, 5)
    assert pred.isfinite().all()
    assert decoder.blocks[1].attn.shift == ((2, 0) if sizes[0] > 4 else (0, 0))


def test_bfloat16():
    decoder = make().train()
    mask = Mask.from_noise(torch.rand(2, 32), 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pred = decode(decoder, torch.randn(2, 7, 12), mask.ids_keep, mask.ids_predict)
    pred.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.parameters())


@pytest.mark.parametrize(
    ("grid", "recipe", "message"),
    [
        (Grid(t=10, f=4), {}, "window: 4 patches do not divide axis 't' of the grid t=10 f=4; use one of 1, 2, 5, 10"),
        (Grid(t=8, f=4), {"shift": (4, 0)}, "shift: 4 along axis 't' must be smaller than the window, 4"),
        (Grid(t=8, h=4, w=4), {}, "local windows need a grid of two axes; t=8 h=4 w=4 has 3: use decoder {name: vit}"),
        (GRID, {"heads": 3}, "width 16 is not divisible by heads 3"),
    ],
)
def test_grids_and_windows_that_do_not_fit(grid, recipe, message):
    with pytest.raises(ConfigError) as caught:
        make(grid, **recipe)
    assert str(caught.value) == message
