"""Published checkpoints <-> models, by the name of their layout."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mae_core.interfaces import Layout
from mae_core.layouts.classifier import ClassifierLayout
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.backbone import Backbone
from mae_core.registry import registry
from mae_registry import MaeError


def import_state_dict(
    model: nn.Module, state_dict: Mapping[str, Tensor], *, layout: str, entry: str | None = None
) -> list[str]:
    """Load published weights into `model`, a masked autoencoder or its backbone alone, in place.

    Every tensor of `state_dict` must find its place; a backbone leaves those of the decoder. A layout may cover a part of the
    model only ("timm": the encoder); the rest keeps its values, and its names are returned. `entry` is the modality's name in
    the recipe, where the model has several of the layout's. A teacher begins at the imported backbone. Raises MaeError naming
    the tensor that is missing, left over, or of another shape.
    """
    found = _find(layout)
    own = found.to_model(model, state_dict, entry=_find_entry(model, found, layout, entry))
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name, tensor in own.items():
        if tensor.shape != shapes[name]:
            raise MaeError(
                f"{name}: the checkpoint has the shape {tuple(tensor.shape)}, but this model has {tuple(shapes[name])}; "
                "build the model from the recipe that the checkpoint was trained with"
            )
    missing = model.load_state_dict(own, strict=False).missing_keys
    if isinstance(model, MaskedAutoencoder) and not any(name.startswith("teachers.") for name in own):
        model.teachers.copy_from(model.backbone)  # a teacher follows the backbone from where it begins
        missing = [name for name in missing if not name.startswith("teachers.")]
    return list(missing)


def export_state_dict(
    model: nn.Module, *, layout: str, entry: str | None = None, tensors: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The weights of a masked autoencoder, or of its backbone alone, by the published names and shapes of `layout`.

    `entry` as for `import_state_dict`; `tensors`, by the weights' names, in place of the weights (their gradients). Raises
    MaeError for a model that the layout cannot hold.
    """
    found = _find(layout)
    given = model.state_dict() if tensors is None else tensors
    return found.from_model(model, given, entry=_find_entry(model, found, layout, entry))


def files_beside(model: nn.Module, *, layout: str, entry: str | None = None) -> dict[str, Any]:
    """The contents of the JSON files, by their names, that lie beside weights of `layout`; see `Layout.files_beside`."""
    found = _find(layout)
    return found.files_beside(model, entry=_find_entry(model, found, layout, entry))


def weights_file(layout: str) -> str:
    """The name of the file of weights in a folder of `layout`; empty where a file of any name is enough."""
    return _find(layout).weights_file


def has_head(layout: str) -> bool:
    """Whether weights of this layout are those of a classifier."""
    return isinstance(_find(layout), ClassifierLayout)


def _find(layout: str) -> Layout:
    return registry().get("layouts", layout).load()()


def _find_entry(model: nn.Module, layout: Layout, name: str, entry: str | None) -> str:
    """The modality's name in the model. Raises MaeError if it has none of the layout's, or several."""
    backbone = model if isinstance(model, Backbone) else getattr(model, "backbone", None)
    if not layout.modality or not isinstance(backbone, Backbone):
        return entry or layout.modality  # a layout of several modalities finds them, one of another kind of model has one
    fitting = [own for own, modality in backbone.types.items() if modality == layout.modality]
    if entry is not None and entry not in fitting:
        raise MaeError(
            f"layout {name!r} is for {layout.modality!r}; the entry {entry!r} of the model is not one of these: {fitting}"
        )
    if not fitting:
        raise MaeError(f"layout {name!r} is for {layout.modality!r}, but the model has {', '.join(backbone.types)}")
    if entry is None and len(fitting) > 1:
        raise MaeError(
            f"layout {name!r} fits several modalities of the model: {', '.join(fitting)}; choose one with entry=NAME"
        )
    return entry or fitting[0]
