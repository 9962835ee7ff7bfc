"""Tensors of frozen parts, in safetensors files that a recipe names."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mae_core.files import write_atomically
from mae_registry import ConfigError


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises MaeError if the folder cannot be written to."""
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    write_atomically(path, lambda file: file.write(content))


def read_tensors(file: str | None, names: Sequence[str], *, key: str, what: str, advice: str) -> dict[str, Tensor]:
    """The tensors `names` of a safetensors file that holds `what`, in float32.

    Raises ConfigError, naming the `key` of the recipe and ending in `advice`, where it does not.
    """
    if file is None:
        raise ConfigError(f"{key}: needs a value, a safetensors file with {what}; {advice}")
    try:
        tensors = load(Path(file).read_bytes())
    except OSError as error:
        raise ConfigError(f"{key}: {file} cannot be read: {error.strerror or error}; {advice}") from error
    except SafetensorError as error:
        raise ConfigError(f"{key}: {file} is damaged, or is not a safetensors file: {error}; {advice}") from error
    if missing := [name for name in names if name not in tensors]:
        found = ", ".join(sorted(tensors)) or "nothing"
        raise ConfigError(f"{key}: {file} has no tensor {missing[0]!r}, but {found}; it must hold {what}; {advice}")
    return {name: tensors[name].float() for name in names}
