"""What the plugins' certificates (`mae verify`) share: the published numbers, and how far ours are from them."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from mae_core.build import build_model
from mae_core.config import load_config
from mae_core.interfaces import Check
from mae_core.layouts.published import export_state_dict, import_state_dict

LOSS, PREDICTION, GRADIENT, WEIGHT = 2e-6, 5e-6, 1e-6, 1e-5
"""Tolerances in float32 for an independent implementation: the loss relative, the others absolute."""


@dataclass(frozen=True)
class Published:
    """The folder `published` of a plugin's package."""

    package: str

    def _read(self, name: str) -> bytes:
        return (resources.files(self.package) / "published" / name).read_bytes()

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Of NAME.safetensors: inputs, weights as state_dict/NAME, and what the published implementation made of them."""
        return load(self._read(f"{name}.safetensors"))

    def manifest(self, name: str) -> dict[str, Any]:
        """Of NAME.json: `state_dict`, names and shapes of a full-size checkpoint, and `num_parameters`."""
        return json.loads(self._read(f"{name}.json"))


def state_dict_of(golden: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights among a file's tensors, by the published names."""
    prefix = "state_dict/"
    return {name.removeprefix(prefix): tensor for name, tensor in golden.items() if name.startswith(prefix)}


def largest_error(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference; infinite if the shapes differ, NaN if anything is."""
    if found.shape != expected.shape:
        return math.inf
    return float((found.double() - expected.double()).abs().max())


def worst(errors: Iterable[float]) -> float:
    """The largest; NaN if one is, which Python's `max` would drop."""
    return float(torch.tensor(list(errors), dtype=torch.float64).max())


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Of two numbers."""
    return float((found.double() - expected.double()).abs() / expected.double().abs())


def check_manifest(
    name: str, manifest: Mapping[str, Any], *, recipe: str, layout: str, trained: bool = True
) -> Iterator[Check]:
    """A published checkpoint's names and shapes into the recipe's model and back, without memory for its values.

    `trained`: compare the number of trained parameters too; not where ours has some that the published one has not. Raises
    MaeError if a tensor is missing, left over, or of another shape.
    """
    expected = {key: tuple(shape) for key, shape in manifest["state_dict"].items()}
    with torch.device("meta"):
        model = build_model(load_config(recipe))
        state = {key: torch.empty(shape) for key, shape in expected.items()}
    import_state_dict(model, state, layout=layout)
    exported = {key: tuple(tensor.shape) for key, tensor in export_state_dict(model, layout=layout).items()}
    differing = exported.items() ^ expected.items()
    yield Check(f"{name} checkpoint: names and shapes", len(differing), 0, f"{len(exported)} tensors, both ways")
    total = sum(math.prod(shape) for shape in exported.values())
    yield Check(f"{name} checkpoint: parameters", abs(total - manifest["num_parameters"]), 0, f"{total:,}")
    if trained:
        number = sum(parameter.numel() for parameter in model.parameters())
        yield Check(f"{name} checkpoint: trained parameters", abs(number - manifest["num_trainable"]), 0, f"{number:,}")
