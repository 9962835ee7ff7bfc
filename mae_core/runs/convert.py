"""`mae convert`: checkpoints of this project and files of published weights, from each to each."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save

from mae_core.config import Config
from mae_core.files import require_output, write_atomically
from mae_core.layouts.forms import OtherGrid
from mae_core.layouts.published import export_state_dict, files_beside, has_head, weights_file
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.backbone import Backbone
from mae_core.model.classifier import Classifier
from mae_core.runs.backbone import backbone_of, save_backbone
from mae_core.runs.card import card_beside, model_card
from mae_core.runs.checkpoint import (
    Checkpoint,
    is_of_pretraining,
    model_of,
    open_checkpoint,
    plugin_versions,
    write_checkpoint,
)
from mae_core.runs.classifier import classifier_of
from mae_core.runs.disk import save_tensors
from mae_core.runs.published import Origin, published_backbone, published_model, published_whole_or_backbone
from mae_core.runs.resize import published_resized
from mae_core.runs.weights import Weights
from mae_registry import MaeError

OWN = (".pt", ".safetensors")
"""The endings of this project's own files: of a checkpoint, and of an encoder."""
PUBLISHED = (".safetensors", ".pth")
IN_FOLDER = "model.safetensors"
"""The weights in a folder, where the layout does not name them."""

Write = Callable[[Path], object]


@dataclass(frozen=True)
class _Loaded:
    model: MaskedAutoencoder | Classifier | Backbone
    config: Config
    step: int = 0

    @property
    def backbone(self) -> Backbone:
        return self.model if isinstance(self.model, Backbone) else self.model.backbone


def convert(
    source: Path,
    output: Path,
    *,
    to: str | None = None,
    origin: Origin | None = None,
    interpolate: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Read `source` and write `output`; returns all files that were written.

    Args:
        source: a run, a checkpoint, an encoder.safetensors, or published weights.
        output: with `to`, a file that ends in .safetensors or .pth, or a folder; else a checkpoint (.pt) or an encoder
            (.safetensors) of this project.
        to: the layout to write; None for this project's own.
        origin: what published weights are, where it is not recognised.
        interpolate: resize the positions where `origin` asks for another size of samples.
        overwrite: replace files that exist.

    Raises MaeError for weights that do not fit, and for files that must not be written.
    """
    origin = origin or Origin()
    inputs = [source, *(source.glob("*") if source.is_dir() else [])]
    main = _main_file(output, to)
    require_output(main, suffixes=OWN if to is None else PUBLISHED, inputs=inputs, overwrite=overwrite)
    wanted = "backbone" if to is None and main.suffix == ".safetensors" else "whole" if to is None else "all there is"
    loaded = _load(source, origin, wanted, head=to is not None and has_head(to), interpolate=interpolate)
    files = _own(loaded, main, source) if to is None else _published(loaded, main, source, to)
    for path in files:
        require_output(path, suffixes=(path.suffix,), inputs=inputs, overwrite=overwrite)
    for path, write in files.items():
        write(path)
    return list(files)


def _main_file(output: Path, to: str | None) -> Path:
    """The file of weights."""
    name = "" if to is None else weights_file(to)
    if name and output.suffix in (*OWN, *PUBLISHED):
        raise MaeError(f"the layout {to!r} is a folder of several files; name a folder, such as {output.with_suffix('')}")
    is_folder = to is not None and (bool(name) or output.is_dir() or not output.suffix)
    return output / (name or IN_FOLDER) if is_folder else output


def _load(
    source: Path, origin: Origin, wanted: Literal["backbone", "whole", "all there is"], *, head: bool, interpolate: bool
) -> _Loaded:
    opened = open_checkpoint(source, averaged=origin.averaged)
    if isinstance(opened, Weights) and "config" not in opened.metadata:
        if interpolate:
            return _Loaded(*published_resized(opened, source, origin))
        try:
            if wanted == "backbone":
                return _Loaded(*published_backbone(opened, source, origin))
            if wanted == "whole":
                return _Loaded(*published_model(opened, source, origin, partial=True))
            return _Loaded(*published_whole_or_backbone(opened, source, origin))
        except OtherGrid as error:
            raise MaeError(f"{error}; --interpolate resizes positions for another size of samples") from error
    if origin.layout or origin.recipe or origin.overrides or interpolate:
        raise MaeError(
            f"{source} is this project's own, and carries its recipe: leave out --from, --recipe, --interpolate and KEY=VALUE"
        )
    if isinstance(opened, Checkpoint) and is_of_pretraining(opened):
        return _Loaded(*model_of(opened, source))
    if isinstance(opened, Checkpoint) and head:
        return _Loaded(*classifier_of(opened, source), step=opened.step)
    return _Loaded(*backbone_of(opened, source), step=opened.step if isinstance(opened, Checkpoint) else 0)


def _own(loaded: _Loaded, path: Path, source: Path) -> dict[Path, Write]:
    """A checkpoint, or an encoder with its card."""
    if path.suffix == ".safetensors":
        return {
            path: lambda place: save_backbone(loaded.backbone, loaded.config, place),
            card_beside(path): _text(_card(loaded, path, source)),
        }
    if not isinstance(loaded.model, MaskedAutoencoder):
        raise MaeError(f"{source} holds a backbone alone, and {path} would be the checkpoint of a model; write a .safetensors")
    model, config = loaded.model, loaded.config
    checkpoint = Checkpoint(loaded.step, config.to_yaml(), model.state_dict(), {}, plugin_versions(config))
    return {path: lambda place: write_checkpoint(place, checkpoint)}


def _published(loaded: _Loaded, path: Path, source: Path, to: str) -> dict[Path, Write]:
    """Weights by the layout's names, what lies beside them, and the card."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in export_state_dict(loaded.model, layout=to).items()}
    in_folder = path.name == (weights_file(to) or IN_FOLDER)
    files: dict[Path, Write] = {}
    if path.suffix == ".safetensors":
        content = save(tensors, metadata={"format": "pt"})
        files[path] = lambda place: write_atomically(place, lambda file: file.write(content))
    else:
        files[path] = lambda place: save_tensors(place, {"model": tensors})
    for name, about in files_beside(loaded.model, layout=to).items():
        files[path.with_name(name if in_folder else f"{path.stem}.{name}")] = _text(_json(about))
    card = path.with_name("README.md") if in_folder else card_beside(path)
    return {**files, card: _text(_card(loaded, path, source, layout=to))}


def _card(loaded: _Loaded, path: Path, source: Path, *, layout: str | None = None) -> str:
    return model_card(loaded.backbone, loaded.config, path.name, source=source, layout=layout, step=loaded.step or None)


def _json(content: Any) -> str:
    return json.dumps(content, indent=2) + "\n"


def _text(text: str) -> Write:
    return lambda place: write_atomically(place, lambda file: file.write(text.encode()))
