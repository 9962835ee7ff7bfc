"""Recipes -> objects. The only place that knows how the parts are wired to each other."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from mae_core.config import Config, load_masker
from mae_core.config.structure import OPERATORS, operands, operator_of
from mae_core.interfaces import (
    DecoderPlace,
    Encoder,
    Grid,
    JointMasker,
    MakePositions,
    Masker,
    Modality,
    TargetPlace,
    Term,
    Tokenizer,
    each_mask,
)
from mae_core.masking.sampling import trial_masks
from mae_core.model.autoencoder import MaskedAutoencoder, Pretext
from mae_core.model.backbone import Backbone, Input
from mae_core.registry import registry
from mae_registry import ConfigError, MaeError, resolve

Built = TypeVar("Built")


class PlacedError(ConfigError):
    """An error that already says which key of the recipe it belongs to."""


def build_component(kind: str, section: Mapping[str, Any], *wired: object) -> Any:
    """The component that `section` names, given `wired` by position and the section's other keys by keyword."""
    parameters = {key: value for key, value in section.items() if key != "name"}
    return registry().get(kind, section["name"]).load()(*wired, **parameters)


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
    backbone = build_backbone(config)
    tokenizers = {entry: backbone.input(entry).tokenizer for entry in backbone.inputs}
    pretexts = {entry: _build_pretext(entry, config, backbone, tokenizers) for entry in tokenizers}
    terms = _build_terms(config, backbone, tokenizers)
    joint_masker = _build_joint_masker(config, tokenizers)
    model = MaskedAutoencoder(backbone, pretexts, joint_masker=joint_masker, terms=terms)
    if fresh and not any(parameter.is_meta for parameter in model.parameters()):
        for pretext in pretexts.values():
            pretext.target.read_weights()
    return model


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


def masker_from_section(section: str | Mapping[str, Any], *, named: Mapping[str, Any] | None = None) -> Masker:
    """A masker from what a recipe says of it: a name, or a mapping with a `name` or an operator. Raises ConfigError.

    `named`: what `maskers:` of a recipe would hold.
    """
    return _masker(load_masker(section, named=named))


def build_masker(config: Config, entry: str, grid: Grid, *, returns_all: bool) -> Masker:
    """The modality's masker, tried on its grid. `returns_all`: the encoder takes all tokens, so ragged masks will do."""

    def build() -> Masker:
        masker = _masker(config["model"]["modalities"][entry]["masker"])
        _require_both_sets(masker, grid, returns_all)
        return masker

    return _at(f"model.modalities.{entry}.masker", config, build)


def _masker(section: Mapping[str, Any]) -> Masker:
    """A resolved section's masker, with those that it is made of."""
    operator = operator_of(section)
    if operator is None:
        masker = build_component("maskers", section)
        if not isinstance(masker, Masker):
            raise ConfigError(f"{section['name']!r} masks several modalities together; it belongs to model.masker")
        return masker
    keywords = {key: value for key, value in section.items() if key != operator}
    combine = resolve(OPERATORS[operator])
    parts = [part for _, part in operands(section)]
    if operator == "schedule":
        return combine(lambda ratio: _masker({**parts[0], "ratio": ratio}), **keywords)
    maskers = [_masker(part) for part in parts]
    if operator == "one_of":
        return combine(maskers, [entry["weight"] for entry in section[operator]], **keywords)
    return combine(maskers, **keywords)


def _build_tokenizer(entry: str, config: Config, width: int | None) -> Tokenizer:
    path = f"model.modalities.{entry}.tokenizer"
    return _at(path, config, lambda: build_component("tokenizers", config[path], width))


def _build_joint_masker(config: Config, tokenizers: Mapping[str, Tokenizer]) -> JointMasker | None:
    section = config["model"].get("masker")
    if section is None:
        return None
    masker = _at("model.masker", config, lambda: _joint_masker(section))
    grids = {name: tokenizer.grid for name, tokenizer in tokenizers.items()}
    with torch.device("cpu"):
        _at("model.masker", config, lambda: masker(grids, 2, generator=torch.Generator().manual_seed(0)))
    return masker


def _joint_masker(section: Mapping[str, Any]) -> JointMasker:
    masker = None if operator_of(section) else build_component("maskers", section)
    if not isinstance(masker, JointMasker):
        raise ConfigError(
            "this masker masks one modality; model.masker masks several together, e.g. {name: dirichlet, num_keep: 98}"
        )
    return masker


def _build_pretext(entry: str, config: Config, backbone: Backbone, tokenizers: Mapping[str, Tokenizer]) -> Pretext:
    section, path, encoder = config["model"]["modalities"][entry], f"model.modalities.{entry}", backbone.encoder
    masker = build_masker(config, entry, tokenizers[entry].grid, returns_all=encoder.returns_all)
    place = _target_place(entry, config, backbone, tokenizers[entry])
    target = _at(f"{path}.target", config, lambda: build_component("targets", section["target"], place))
    decoder_place = DecoderPlace(
        entry=entry,
        context_width=encoder.width,
        out_dim=target.dim,
        grids={other: tokenizer.grid for other, tokenizer in tokenizers.items()},
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


def _require_both_sets(masker: Masker, grid: Grid, returns_all: bool) -> None:
    """Draw a batch of each of the masker's cases, so that one that cannot work on this grid is refused before training."""
    for drawn in trial_masks(masker, grid):
        for mask in each_mask(drawn):
            if mask.ragged and not returns_all:
                raise ConfigError(
                    "this masker hides a different number of patches in each sample, which needs an encoder over all tokens: "
                    "set model.encoder.mask_tokens=true, or make the masker's count exact"
                )
            if mask.ids_keep.shape[1] == 0 or mask.ids_predict.shape[1] == 0:
                raise ConfigError(
                    f"this masker {'keeps' if mask.ids_predict.shape[1] else 'predicts'} nothing on the grid {grid}"
                )


def _at(path: str, config: Config, build: Callable[[], Built]) -> Built:
    """Run `build`; say which key of which file an error belongs to, unless it says so already."""
    try:
        return build()
    except PlacedError:
        raise
    except MaeError as error:
        raise PlacedError(f"{path} ({config.origin(path)}): {error}") from error
