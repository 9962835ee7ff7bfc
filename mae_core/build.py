"""Recipes -> objects. The only place that knows how the parts are wired to each other."""

import functools
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

from mae_core.build_maskers import build_joint_masker, build_tried_masker
from mae_core.config import Config
from mae_core.interfaces import (
    DecoderPlace,
    Encoder,
    Grid,
    JointMasker,
    Latent,
    MakePositions,
    Masker,
    Modality,
    TargetPlace,
    Term,
    Tokenizer,
)
from mae_core.model.autoencoder import MaskedAutoencoder, Pretext
from mae_core.model.backbone import Backbone, Input
from mae_core.registry import build_component, registry
from mae_registry import ConfigError, MaeError

Built = TypeVar("Built")


class PlacedError(ConfigError):
    """An error that already says which key of the recipe it belongs to."""


def modality(name: str) -> Modality:
    """An installed modality."""
    return registry().get("modalities", name).load()


def modality_of(config: Config, entry: str) -> str:
    """The installed modality of an entry under `model.modalities`: its `type`, or its own name."""
    return config["model"]["modalities"][entry].get("type") or entry


def build_model(config: Config, *, fresh: bool = True) -> MaskedAutoencoder:
    """The model of a recipe, with fresh weights from torch's global generator.

    `fresh`: frozen parts read their weights from the files that the recipe names; not where a checkpoint is loaded next. Raises
    ConfigError naming the key, for parts that do not fit each other: a patch that does not divide the input, a masker that
    keeps or predicts nothing.
    """
    _require_config(config)
    backbone = build_backbone(config)
    tokenizers = {entry: backbone.input(entry).tokenizer for entry in backbone.inputs}
    pretexts = {entry: _build_pretext(entry, config, backbone, tokenizers) for entry in tokenizers}
    terms = _build_terms(config, backbone, tokenizers)
    joint_masker = _build_joint_masker(config, tokenizers)
    model = MaskedAutoencoder(backbone, pretexts, joint_masker=joint_masker, terms=terms)
    if fresh and not any(parameter.is_meta for parameter in model.parameters()):
        for entry, pretext in pretexts.items():
            _at(f"model.modalities.{entry}.target", config, pretext.target.read_weights)
    return model


def _require_config(config: object) -> None:
    if not isinstance(config, Config):
        raise MaeError(f"build_model takes what load_config returns: build_model(load_config(...)), and got {config!r}")


def build_backbone(config: Config) -> Backbone:
    """What is kept after pre-training, with fresh weights."""
    entries = list(config["model"]["modalities"])
    inputs = {entry: _build_tokenizer(entry, config, None) for entry in entries}
    encoder: Encoder = _at("model.encoder", config, lambda: build_component("encoders", config["model"]["encoder"], inputs))
    if encoder.token_width is not None:
        inputs = {entry: _build_tokenizer(entry, config, encoder.token_width) for entry in entries}
    parts = {}
    for entry, tokenizer in inputs.items():
        positions = _positions_maker(f"model.modalities.{entry}.positions", config, tokenizer.grid)
        parts[entry] = Input(tokenizer, positions(encoder.token_width or encoder.width))
    return Backbone(encoder, parts, types={entry: modality_of(config, entry) for entry in entries})


def sample_shape(config: Config, entry: str) -> tuple[int, ...]:
    """The shape of one sample of the model's input, from the tokenizer alone."""
    with torch.device("meta"):
        return _build_tokenizer(entry, config, None).sample_shape


def build_tokenizer(entry: str, config: Config) -> Tokenizer:
    """An entry's tokenizer alone, which has nothing to embed with."""
    return _build_tokenizer(entry, config, None)


def build_masker(config: Config, entry: str, backbone: Backbone, *, path: str | None = None) -> Masker:
    """The modality's masker, or the one at `path` of the recipe, tried on its grid and with this backbone's encoder."""
    path = path or f"model.modalities.{entry}.masker"
    tokenizer, encoder = backbone.input(entry).tokenizer, backbone.encoder
    return _at(
        path,
        config,
        lambda: build_tried_masker(
            config[path],
            tokenizer.grid,
            check=encoder.check_mask,
            patch_dim=tokenizer.patch_dim,
            make_latent=_random_latent(entry, tokenizer.grid, encoder),
        ),
    )


def _build_tokenizer(entry: str, config: Config, width: int | None) -> Tokenizer:
    path = f"model.modalities.{entry}.tokenizer"
    return _at(path, config, lambda: build_component("tokenizers", config[path], width))


def _build_joint_masker(config: Config, tokenizers: Mapping[str, Tokenizer]) -> JointMasker | None:
    section = config["model"].get("masker")
    if section is None:
        return None
    grids = {name: tokenizer.grid for name, tokenizer in tokenizers.items()}
    return _at("model.masker", config, lambda: build_joint_masker(section, grids))


def _build_pretext(entry: str, config: Config, backbone: Backbone, tokenizers: Mapping[str, Tokenizer]) -> Pretext:
    section, path, encoder = config["model"]["modalities"][entry], f"model.modalities.{entry}", backbone.encoder
    masker = build_masker(config, entry, backbone)
    place = _target_place(entry, config, backbone, tokenizers[entry])
    target = _at(f"{path}.target", config, lambda: build_component("targets", section["target"], place))
    decoder_place = DecoderPlace(
        entry=entry,
        context_width=encoder.width,
        out_dim=target.dim,
        tokenizers=tokenizers,
        make_positions={other: _decoder_positions(other, config, tokenizer.grid) for other, tokenizer in tokenizers.items()},
        returns_all=encoder.returns_all,
        num_prefix_tokens=encoder.num_prefix_tokens,
        num_layers=encoder.num_layers,
    )
    decoder = _at(f"{path}.decoder", config, lambda: build_component("decoders", section["decoder"], decoder_place))
    return Pretext(masker, decoder, target)


def _build_terms(config: Config, backbone: Backbone, tokenizers: Mapping[str, Tokenizer]) -> dict[str, Term]:
    places = {entry: _target_place(entry, config, backbone, tokenizer) for entry, tokenizer in tokenizers.items()}
    return {
        name: _at(f"model.terms.{name}", config, functools.partial(build_component, "terms", section, places))
        for name, section in config["model"].get("terms", {}).items()
    }


def _target_place(entry: str, config: Config, backbone: Backbone, tokenizer: Tokenizer) -> TargetPlace:
    positions = _positions_maker(f"model.modalities.{entry}.positions", config, tokenizer.grid)
    return TargetPlace(entry, tokenizer, backbone.encoder.width, backbone.encoder.num_layers, positions)


def _decoder_positions(entry: str, config: Config, grid: Grid) -> MakePositions:
    own = "decoder_positions" if "decoder_positions" in config["model"]["modalities"][entry] else "positions"
    return _positions_maker(f"model.modalities.{entry}.{own}", config, grid)


def _positions_maker(path: str, config: Config, grid: Grid) -> MakePositions:
    return lambda width: _at(path, config, lambda: build_component("positions", config[path], grid, width))


def _random_latent(entry: str, grid: Grid, encoder: Encoder) -> Callable[[int], Latent]:
    """What the backbone might make of so many samples, to try maskers that look at it."""

    def make(num_samples: int) -> Latent:
        generator = torch.Generator().manual_seed(0)
        ids = torch.arange(grid.num_patches).expand(num_samples, -1)
        x = torch.randn(num_samples, encoder.num_prefix_tokens + grid.num_patches, encoder.width, generator=generator)
        counts = {entry: grid.num_patches}
        return Latent(x, encoder.num_prefix_tokens, ids, spans={entry: (0, grid.num_patches)}, counts=counts)

    return make


def _at(path: str, config: Config, build: Callable[[], Built]) -> Built:
    """Run `build`; say which key of which file an error belongs to, unless it says so already."""
    try:
        return build()
    except PlacedError:
        raise
    except MaeError as error:
        raise PlacedError(f"{path} ({config.origin(path)}): {error}") from error
    except (ArithmeticError, MemoryError, RuntimeError, TypeError) as error:  # torch's own complaints of sizes, mostly
        found = str(error).strip().partition("\n")[0] or type(error).__name__
        raise PlacedError(f"{path} ({config.origin(path)}): cannot be built with these values: {found}") from error
