"""Published checkpoints <-> models, by the name of their layout."""

from collections.abc import Mapping

from torch import Tensor, nn

from mae_core.registry import registry
from mae_registry import MaeError


def import_state_dict(model: nn.Module, state_dict: Mapping[str, Tensor], *, layout: str) -> list[str]:
    """Load published weights into `model`, in place.

    Every tensor of `state_dict` must find its place. A layout may cover a part of the model only ("timm": the encoder); the
    rest keeps its values, and its names are returned. Raises MaeError naming the tensor that is missing, left over, or of
    another shape.
    """
    own = registry().get("layouts", layout).load()().to_model(model, state_dict)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name, tensor in own.items():
        if tensor.shape != shapes[name]:
            raise MaeError(
                f"{name}: the checkpoint has shape {tuple(tensor.shape)}, this model {tuple(shapes[name])}; "
                "build the model from the recipe that the checkpoint was trained with"
            )
    return list(model.load_state_dict(own, strict=False).missing_keys)


def export_state_dict(model: nn.Module, *, layout: str, tensors: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The model's weights, or `tensors` by the weights' names, by the published names and shapes of `layout`."""
    return registry().get("layouts", layout).load()().from_model(model, model.state_dict() if tensors is None else tensors)
