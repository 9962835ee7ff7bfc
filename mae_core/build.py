"""Recipes -> objects. The only place that knows how the parts are wired to each other."""

from collections.abc import Mapping
from typing import Any

import torch

from mae_core.config import Config, load_masker
from mae_core.config.structure import OPERATORS, operands, operator_of
from mae_core.interfaces import Encoder, Grid, JointMasker, MakePositions, Masker, Modality, Tokenizer, each_mask
from mae_core.masking.sampling import trial_masks
from mae_core.model.autoencoder import MaskedAutoencoder, ModalityParts
from mae_core.registry import registry
from mae_registry import ConfigError, MaeError, resolve


def build_component(kind: str, section: Mapping[str, Any], *wired: object) -> Any:
    """The component that `section` names, given `wired` by position and the section's other keys by keyword."""
    parameters = {key: value for key, value in section.items() if key != "name"}
    return registry().get(kind, section["name"]).load()(*wired, **parameters)


def modality(name: str) -> Modality:
    """An installed modality."""
    return registry().get("modalities", name).load()


def build_model(config: Config) -> MaskedAutoencoder:
    """The model of a recipe, with fresh weights from torch's global generator.

    Raises ConfigError naming the key, for parts that do not fit each other: a patch that does not divide the input, a masker
    that keeps or predicts nothing.
    """
    section = config["model"]
    encoder: Encoder = _at("model.encoder", config, lambda: build_component("encoders", section["encoder"]))
    tokenizers = {name: _build_tokenizer(name, config, encoder.width) for name in section["modalities"]}
    parts = {name: _build_parts(name, config, encoder, tokenizers) for name in tokenizers}
    return MaskedAutoencoder(encoder, parts, _build_joint_masker(config, tokenizers))


def sample_shape(config: Config, modality: str) -> tuple[int, ...]:
    """Of the model's input, from the tokenizer alone."""
    path = f"model.modalities.{modality}.tokenizer"
    with torch.device("meta"):
        return _at(path, config, lambda: build_component("tokenizers", config[path], 1)).sample_shape


def masker_from_section(section: str | Mapping[str, Any], *, named: Mapping[str, Any] | None = None) -> Masker:
    """A masker from what a recipe says of it: a name, or a mapping with a `name` or an operator. Raises ConfigError.

    `named`: what `maskers:` of a recipe would hold.
    """
    return _masker(load_masker(section, named=named))


def build_masker(config: Config, modality: str, grid: Grid, *, dense: bool) -> Masker:
    """The modality's masker, tried on its grid. `dense`: the encoder takes all tokens, so ragged masks will do."""

    def build() -> Masker:
        masker = _masker(config["model"]["modalities"][modality]["masker"])
        _require_both_sets(masker, grid, dense)
        return masker

    return _at(f"model.modalities.{modality}.masker", config, build)


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


def _build_tokenizer(modality: str, config: Config, width: int) -> Tokenizer:
    path = f"model.modalities.{modality}.tokenizer"
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


def _build_parts(name: str, config: Config, encoder: Encoder, tokenizers: Mapping[str, Tokenizer]) -> ModalityParts:
    section = config["model"]["modalities"][name]
    path = f"model.modalities.{name}"
    tokenizer = tokenizers[name]
    dense = encoder.mask_token is not None
    masker = build_masker(config, name, tokenizer.grid, dense=dense)
    target = _at(f"{path}.target", config, lambda: build_component("targets", section["target"], tokenizer))
    every = {other: (tokenizers[other].grid, _positions_maker(other, config, tokenizers[other].grid)) for other in tokenizers}
    grid, make_positions = every[name]
    wired = [encoder.width, target.dim, grid, make_positions, dense]
    if registry().get("decoders", section["decoder"]["name"]).load().attends_to_all:
        wired += [name, every]
    decoder = _at(f"{path}.decoder", config, lambda: build_component("decoders", section["decoder"], *wired))
    return ModalityParts(tokenizer, make_positions(encoder.width), masker, decoder, target)


def _positions_maker(modality: str, config: Config, grid: Grid) -> MakePositions:
    path = f"model.modalities.{modality}.positions"
    return lambda width: _at(path, config, lambda: build_component("positions", config[path], grid, width))


def _require_both_sets(masker: Masker, grid: Grid, dense: bool) -> None:
    """Draw a batch of each of the masker's cases, so that one that cannot work on this grid is refused before training."""
    for drawn in trial_masks(masker, grid):
        for mask in each_mask(drawn):
            if mask.ragged and not dense:
                raise ConfigError(
                    "this masker hides a different number of patches in each sample, which needs an encoder over all tokens: "
                    "set model.encoder.mask_tokens=true, or make the masker's count exact"
                )
            if mask.ids_keep.shape[1] == 0 or mask.ids_predict.shape[1] == 0:
                raise ConfigError(
                    f"this masker {'keeps' if mask.ids_predict.shape[1] else 'predicts'} nothing on the grid {grid}"
                )


def _at(path: str, config: Config, build: Any) -> Any:
    """Run `build`; say which key of which file an error belongs to, unless it says so already."""
    try:
        return build()
    except MaeError as error:
        if str(error).startswith("model."):
            raise
        raise ConfigError(f"{path} ({config.origin(path)}): {error}") from error
