"""Checks of encoders and decoders."""

from dataclasses import replace

import torch
from torch import Tensor

from mae_core.interfaces import Decoder, DecoderPlace, Encoder, Extras, Grid, Latent, Mask, Tokenizer, gather_patches
from mae_core.model.backbone import Backbone, Input
from mae_core.parts.positions import NoPositions, SinCos
from mae_core.testing.modules import check_module, require_close
from mae_core.testing.parts import BATCH_SIZE, random_sample
from mae_core.testing.subject import Part, Section

CONTEXT_WIDTH = 16
ENTRY = "only"
NO_EXTRAS_AT_ALL: dict[str, Extras] = {ENTRY: {}}


def check_encoder(section: Section, *, tokenizer: Section, num_keep: int | None = None) -> None:
    """The contract of `mae_core.interfaces.Encoder`, over samples of this tokenizer of which `num_keep` patches are visible.

    Args:
        section, tokenizer: as in a recipe.
        num_keep: visible patches. Default: a third of them. They are the first ones in raster order.
    """
    subject = Part("encoders", section, Encoder)
    of_tokenizer = Part("tokenizers", tokenizer, Tokenizer)

    def build() -> Backbone:
        bare: Tokenizer = of_tokenizer.build(None)
        encoder: Encoder = subject.build({ENTRY: bare})
        own: Tokenizer = bare if encoder.token_width is None else of_tokenizer.build(encoder.token_width)
        make = NoPositions if encoder.token_width is None else SinCos
        return Backbone(encoder, {ENTRY: Input(own, make(own.grid, encoder.token_width or encoder.width))})

    backbone = build().eval()
    own = backbone.input(ENTRY).tokenizer
    x = own.normalize(random_sample(own))
    num_keep = num_keep or max(1, own.grid.num_patches // 3)
    mask = Mask.from_hidden((torch.arange(own.grid.num_patches) >= num_keep).expand(len(x), -1))
    layers = list(range(backbone.encoder.num_layers + 1))

    def run(part: Backbone, samples: Tensor = x, mask: Mask = mask) -> Latent:
        return part.encode({ENTRY: samples}, masks={ENTRY: mask}, layers=layers)

    contract = subject.at("forward")
    with torch.no_grad(), subject.attempt("forward", contract=contract):
        latent, of_two = run(backbone), run(backbone, x[1:], mask[1:])
        of_other = run(backbone, _with_hidden_changed(own, x, mask))
    _check_latent(subject, backbone.encoder, latent, own.grid.num_patches, num_keep)
    _check_depths(subject, backbone.encoder)
    require_close(subject, of_two.x, latent.x[1:], "a sample's latent depends on the other samples", contract=contract)
    require_close(subject, of_other.x, latent.x, "the latent depends on hidden patches", contract=contract)
    check_module(subject, build, lambda part: run(part).x)


def _with_hidden_changed(tokenizer: Tokenizer, x: Tensor, mask: Mask) -> Tensor:
    patches = tokenizer.patchify(x)
    return tokenizer.unpatchify(torch.where(mask.hidden.unsqueeze(-1), patches + 1, patches))


def _check_latent(subject: Part, encoder: Encoder, latent: Latent, num_patches: int, num_keep: int) -> None:
    contract = subject.at("forward")
    num_tokens = num_patches if encoder.returns_all else num_keep
    expected = (BATCH_SIZE, encoder.num_prefix_tokens + num_tokens, encoder.width)
    subject.require_shape(latent.x, expected, f"the latent of {num_keep} visible patches", contract=contract)
    subject.require_shape(latent.ids, (BATCH_SIZE, num_tokens), "the latent's ids", contract=contract)
    missing = [layer for layer in range(encoder.num_layers + 1) if layer not in latent.layers]
    subject.require(not missing, f"the layers {missing} were asked for and are not there", contract=subject.at("num_layers"))


def _check_depths(subject: Part, encoder: Encoder) -> None:
    """What is said of the parameters' layers, for learning rates that grow with the layer."""
    contract = subject.at("layer_of")
    with subject.attempt("layer_of", contract=contract):
        layers = {encoder.layer_of(name) for name, _ in encoder.named_parameters()}
    expected = set(range(1, encoder.num_blocks + 1))
    problem = (
        f"its parameters are those of blocks {sorted(expected & layers)}, which are not all from 1 to {encoder.num_blocks}"
    )
    subject.require(expected <= layers, problem, contract=contract)


def check_decoder(section: Section, *, tokenizer: Section) -> None:
    """The contract of `mae_core.interfaces.Decoder`, with and without class token, of some patches and of all.

    Args:
        section, tokenizer: as in a recipe. The decoder predicts patches of this tokenizer.
    """
    subject = Part("decoders", section, Decoder)
    of_tokenizer: Tokenizer = Part("tokenizers", tokenizer, Tokenizer).build(None)
    grid = of_tokenizer.grid
    for num_prefix in (0, 1):
        _check_sparse(subject, of_tokenizer, num_prefix)
    decoder = _build(subject, of_tokenizer, returns_all=True)
    every = torch.arange(grid.num_patches).expand(BATCH_SIZE, -1)
    latent, asked = _latent(decoder, grid, every, num_prefix=1), _split_ids(grid)[1]
    with torch.no_grad(), subject.attempt("forward of a latent of all patches", contract=subject.at("forward")):
        of_all = decoder(latent, asked, extras=NO_EXTRAS_AT_ALL, everything=True)
        of_asked = decoder(latent, asked, extras=NO_EXTRAS_AT_ALL)
    shape = (BATCH_SIZE, grid.num_patches, of_tokenizer.patch_dim)
    subject.require_shape(of_all, shape, "the predictions of everything", contract=subject.at("forward"))
    problem = "where the latent holds all patches, predictions of everything are not in raster order"
    require_close(subject, of_asked, gather_patches(of_all, asked), problem, contract=subject.at("forward"))


def _check_sparse(subject: Part, tokenizer: Tokenizer, num_prefix: int) -> None:
    contract, grid, out_dim = subject.at("forward"), tokenizer.grid, tokenizer.patch_dim
    decoder = _build(subject, tokenizer, returns_all=False)
    kept, asked = _split_ids(grid)
    latent = _latent(decoder, grid, kept, num_prefix=num_prefix)
    turned = replace(latent, x=torch.cat([latent.prefix, latent.tokens.flip(1)], dim=1), ids=kept.flip(1))
    turned.layers = {n: torch.cat([x[:, :num_prefix], x[:, num_prefix:].flip(1)], dim=1) for n, x in latent.layers.items()}
    with torch.no_grad(), subject.attempt("forward", contract=contract):
        pred = decoder(latent, asked, extras=NO_EXTRAS_AT_ALL)
        of_all = decoder(latent, asked, extras=NO_EXTRAS_AT_ALL, everything=True)
        of_turned = decoder(turned, asked.flip(1), extras=NO_EXTRAS_AT_ALL)
    subject.require_shape(pred, (*asked.shape, out_dim), f"the prediction of {asked.shape[1]} patches", contract=contract)
    expected = (BATCH_SIZE, grid.num_patches, out_dim)
    subject.require_shape(of_all, expected, "the predictions of everything", contract=contract)
    problem = "`everything` changes the predictions, or they are not in raster order"
    require_close(subject, gather_patches(of_all, asked), pred, problem, contract=contract)
    problem = "predictions depend on the order of the ids: context and queries are sets"
    require_close(subject, of_turned.flip(1), pred, problem, contract=contract)

    def run(part: Decoder) -> Tensor:
        return part(latent, asked, extras=NO_EXTRAS_AT_ALL)

    check_module(subject, lambda: _build(subject, tokenizer, returns_all=False), run)


def _build(subject: Part, tokenizer: Tokenizer, *, returns_all: bool) -> Decoder:
    place = DecoderPlace(
        entry=ENTRY,
        context_width=CONTEXT_WIDTH,
        out_dim=tokenizer.patch_dim,
        tokenizers={ENTRY: tokenizer},
        make_positions={ENTRY: lambda width: SinCos(tokenizer.grid, width)},
        returns_all=returns_all,
        num_prefix_tokens=1,
        num_layers=1,
    )
    return subject.build(place).eval()


def _latent(decoder: Decoder, grid: Grid, ids: Tensor, *, num_prefix: int) -> Latent:
    shape = (BATCH_SIZE, num_prefix + ids.shape[1], CONTEXT_WIDTH)

    def tokens(seed: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    layers = {layer: tokens(1 + layer) for layer in decoder.layers}
    return Latent(tokens(0), num_prefix, ids, {ENTRY: (0, grid.num_patches)}, {ENTRY: ids.shape[1]}, layers)


def _split_ids(grid: Grid) -> tuple[Tensor, Tensor]:
    """(B, K) kept and (B, M) hidden, each row in an order of its own."""
    ids = torch.rand(BATCH_SIZE, grid.num_patches, generator=torch.Generator().manual_seed(0)).argsort(dim=1)
    num_keep = max(1, grid.num_patches // 3)
    return ids[:, :num_keep], ids[:, num_keep:]
