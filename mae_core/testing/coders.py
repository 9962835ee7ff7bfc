"""Checks of encoders and decoders."""

import torch
from torch import Tensor

from mae_core.interfaces import Decoder, Encoder, Grid, MakePositions, gather_patches
from mae_core.parts.positions import SinCos
from mae_core.testing.modules import check_module, require_close
from mae_core.testing.subject import Part, Section

BATCH_SIZE, CONTEXT_WIDTH, OUT_DIM = 2, 16, 6


def check_encoder(section: Section, *, num_tokens: int = 10) -> None:
    """The contract of `mae_core.interfaces.Encoder`, for batches of up to `num_tokens` visible tokens."""
    subject = Part("encoders", section, Encoder)
    encoder: Encoder = subject.build().eval()
    width, prefix = encoder.width, encoder.num_prefix_tokens
    contract = subject.at("forward")
    tokens = torch.randn(BATCH_SIZE, num_tokens, width, generator=torch.Generator().manual_seed(0))
    class_position = torch.ones(1, 1, width)
    with torch.no_grad(), subject.attempt("forward", contract=contract):
        latent, of_one, of_few = encoder(tokens), encoder(tokens[1:]), encoder(tokens[:, :1])
        with_position = encoder(tokens, class_position)
    what = f"the latent of tokens {tuple(tokens.shape)}, with {prefix} prefix tokens,"
    subject.require_shape(latent, (BATCH_SIZE, prefix + num_tokens, width), what, contract=contract)
    subject.require_shape(of_few, (BATCH_SIZE, prefix + 1, width), "the latent of one token a sample", contract=contract)
    subject.require_shape(with_position, tuple(latent.shape), "the latent with a class position", contract=contract)
    require_close(subject, of_one, latent[1:], "a sample's latent depends on the other samples", contract=contract)
    if encoder.mask_token is not None:
        subject.require_shape(encoder.mask_token, (1, 1, width), "mask_token", contract=subject.at("mask_token"))
    check_module(subject, subject.build, lambda part: part(tokens))


def check_decoder(section: Section, *, grid: Grid) -> None:
    """The contract of `mae_core.interfaces.Decoder` on this grid, with and without class token, of some patches and of all."""
    subject = Part("decoders", section, Decoder)
    for num_prefix_tokens in (0, 1):
        _check_sparse(subject, grid, num_prefix_tokens)
    dense: Decoder = _build(subject, grid, dense=True)
    latent, every = _latent(1 + grid.num_patches), torch.arange(grid.num_patches).expand(BATCH_SIZE, -1)
    asked = _split_ids(grid)[1]
    with torch.no_grad(), subject.attempt("forward of a dense context", contract=subject.at("forward")):
        of_all = dense(latent, every, asked, num_prefix_tokens=1, predict_all=True)
        of_asked = dense(latent, every, asked, num_prefix_tokens=1)
    shape = (BATCH_SIZE, grid.num_patches, OUT_DIM)
    subject.require_shape(of_all, shape, "all predictions of a dense context", contract=subject.at("forward"))
    problem = "with a dense context, predictions of all patches are not in raster order"
    require_close(subject, of_asked, gather_patches(of_all, asked), problem, contract=subject.at("forward"))


def _check_sparse(subject: Part, grid: Grid, num_prefix_tokens: int) -> None:
    contract = subject.at("forward")
    decoder: Decoder = _build(subject, grid, dense=False)
    kept, asked = _split_ids(grid)
    latent = _latent(num_prefix_tokens + kept.shape[1])
    prefix, visible = latent.split([num_prefix_tokens, kept.shape[1]], dim=1)
    turned = torch.cat([prefix, visible.flip(1)], dim=1)
    with torch.no_grad(), subject.attempt("forward", contract=contract):
        pred = decoder(latent, kept, asked, num_prefix_tokens=num_prefix_tokens)
        of_all = decoder(latent, kept, asked, num_prefix_tokens=num_prefix_tokens, predict_all=True)
        of_turned = decoder(turned, kept.flip(1), asked.flip(1), num_prefix_tokens=num_prefix_tokens)
    subject.require_shape(pred, (*asked.shape, OUT_DIM), f"the prediction of {asked.shape[1]} patches", contract=contract)
    subject.require_shape(of_all, (BATCH_SIZE, grid.num_patches, OUT_DIM), "the prediction of all patches", contract=contract)
    queried = gather_patches(of_all, asked) if decoder.attends_to_all else of_all[:, kept.shape[1] :]
    require_close(subject, queried, pred, "predict_all changes the predictions, or their order", contract=contract)
    problem = "predictions depend on the order of the ids: context and queries are sets"
    require_close(subject, of_turned.flip(1), pred, problem, contract=contract)

    def run(part: Decoder) -> Tensor:
        return part(latent, kept, asked, num_prefix_tokens=num_prefix_tokens)

    check_module(subject, lambda: _build(subject, grid, dense=False), run)


def _build(subject: Part, grid: Grid, *, dense: bool) -> Decoder:
    make_positions: MakePositions = lambda width: SinCos(grid, width)  # noqa: E731 - typed
    wired: list[object] = [CONTEXT_WIDTH, OUT_DIM, grid, make_positions, dense]
    if subject.component.attends_to_all:
        wired += ["only", {"only": (grid, make_positions)}]
    return subject.build(*wired).eval()


def _latent(num_tokens: int) -> Tensor:
    return torch.randn(BATCH_SIZE, num_tokens, CONTEXT_WIDTH, generator=torch.Generator().manual_seed(num_tokens))


def _split_ids(grid: Grid) -> tuple[Tensor, Tensor]:
    """(B, K) kept and (B, M) hidden, each row in an order of its own."""
    ids = torch.rand(BATCH_SIZE, grid.num_patches, generator=torch.Generator().manual_seed(0)).argsort(dim=1)
    num_keep = max(1, grid.num_patches // 3)
    return ids[:, :num_keep], ids[:, num_keep:]
