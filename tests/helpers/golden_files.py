"""Files of published numbers as this code would have made them: to try certificates with numbers of other sizes and seeds."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mae_core import build_model, export_state_dict, load_config
from mae_core.interfaces import Check, Published
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_registry import resolve


def random_model(recipe: str, sections: Mapping[str, Any], *, seed: int) -> MaskedAutoencoder:
    """The recipe's model of other sizes, in evaluation mode, with weights of which none is zero."""
    torch.manual_seed(seed)
    model = build_model(load_config({"extends": recipe, "model": sections}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def weights_of(model: torch.nn.Module, layout: str, *, folder: str = "state_dict") -> dict[str, Tensor]:
    """The model's weights as a file has them, as they are now."""
    return {f"{folder}/{name}": tensor.clone() for name, tensor in export_state_dict(model, layout=layout).items()}


def write_numbers(path: Path, tensors: Mapping[str, Tensor], **metadata: Any) -> None:
    """A safetensors file whose metadata are JSON, as the published ones are."""
    copies = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    save_file(copies, path, {name: json.dumps(value) for name, value in metadata.items()})


def change_one_number(path: Path, tensor: str, *, by: float) -> None:
    """Add `by` to the first value of a tensor in the file."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, a safetensors file is no mapping
        metadata = file.metadata()
    tensors[tensor].view(-1)[0] += by
    save_file(tensors, path, metadata)


def checks_of(certificate: str, folder: Path) -> dict[str, Check]:
    """What `mae verify` measures with the numbers in `folder`, by name, without the slow checks of full-size checkpoints."""
    numbers = Published(certificate.partition(".")[0], folder)
    return {check.name: check for check in _without_checkpoints(resolve(certificate)(numbers))}


def failing(checks: Mapping[str, Check]) -> list[str]:
    """The names of those that do not agree."""
    return [name for name, check in checks.items() if not check.passed]


def _without_checkpoints(checks: Iterable[Check]) -> Iterable[Check]:
    for check in checks:
        if "checkpoint" in check.name:
            return
        yield check
