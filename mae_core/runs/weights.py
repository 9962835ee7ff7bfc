"""Reading weights of any origin: files of one tensor each name, without running code from them."""

import argparse
import errno
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mae_registry import MaeError, some_of

WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What distributed training, compilation and trainers put before every name."""
KEYS = ("model", "state_dict")
"""Where weights are kept most often, beside an optimizer's state and the like."""
SINGLE = ("model.safetensors", "pytorch_model.bin")
"""The file of weights in a folder, the first that exists."""
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""The file that says which shard has which tensor."""
LARGEST_JSON = 2**24
"""In bytes; what lies beside weights is small."""


class DamagedCheckpoint(MaeError):
    """A file that is no whole checkpoint."""


@dataclass(frozen=True)
class Weights:
    """Tensors by name, and what is said about them."""

    tensors: Mapping[str, Tensor]
    beside: Mapping[str, Any] = field(default_factory=dict)
    """The contents of JSON files beside them, by name."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the file says about itself (safetensors)."""
    notes: tuple[str, ...] = ()
    """What was found beside the weights, or done to them, for people."""


def read_weights(source: Path, *, averaged: bool = False) -> Weights:
    """Published weights: a .safetensors or `torch.save` file, or a folder of one or several of them, as Hugging Face writes it.

    Prefixes that every name has are taken off, and optimizer states are left out. `averaged`: the moving average of the
    weights, where the file has one beside the plain ones. Raises MaeError for what holds no named tensors, and
    DamagedCheckpoint.
    """
    file = _in_folder(source) if source.is_dir() else source
    is_alone = source.is_dir() or file.name in (*SINGLE, *INDEXES)
    beside = _json_beside(file.parent, prefix="" if is_alone else f"{file.stem}.")
    if file.name.endswith(".index.json"):
        weights = Weights(_shards(file))
    elif file.suffix == ".safetensors":
        tensors, metadata = read_safetensors(file)
        weights = Weights(tensors, metadata=metadata)
    else:
        return replace(weights_in(load_tensors(file), file, averaged=averaged), beside=beside)
    if averaged:
        raise MaeError(f"{source} has no averaged weights beside the plain ones")
    return replace(_cleaned(weights), beside=beside)


def is_folder_of_weights(path: Path) -> bool:
    """Whether a folder holds weights by the file names of Hugging Face."""
    return path.is_dir() and any((path / name).exists() for name in (*SINGLE, *INDEXES))


def weights_in(content: Any, source: Path, *, averaged: bool = False) -> Weights:
    """The named tensors in what a `torch.save` file held: at the top, under a usual key, or in one or several others."""
    if _is_named_tensors(content):
        found: Mapping[str, Mapping[str, Tensor]] = {"": content}
    else:
        items = cast(Mapping[Any, Any], content) if isinstance(content, Mapping) else {}
        inner = {str(key): _average_in(value) if _is_of_averages(str(key)) else value for key, value in items.items()}
        found = {key: _tensors_of(value) for key, value in inner.items() if _is_named_tensors(value)}
    averages = {key: tensors for key, tensors in found.items() if _is_of_averages(key)}
    plain = {key: tensors for key, tensors in found.items() if key not in averages}
    if averaged and not averages:
        raise MaeError(f"{source} has no averaged weights beside the plain ones")
    if averaged or not plain:
        plain, averages = averages, {}
    if not plain:
        raise MaeError(f"{source} has no named tensors, neither at the top nor one level below")
    notes = () if not averages else (f"averaged weights beside the plain ones ({', '.join(averages)}) were left out",)
    return _cleaned(Weights(_joined(plain), notes=notes))


def _is_of_averages(key: str) -> bool:
    return "ema" in re.split(r"\W|_", key.lower())


def _average_in(value: Any) -> Any:
    """The weights of an average that is stored with its decay or other facts beside it, such as {"ema": {"module": ...}}."""
    inner = list(cast(Mapping[Any, Any], value).values()) if isinstance(value, Mapping) else []
    found = [each for each in inner if _is_named_tensors(each)]
    return found[0] if len(found) == 1 else value


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, and the file's metadata. Raises MaeError where there is no such file, and DamagedCheckpoint."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 - no dictionary
    except FileNotFoundError:
        raise MaeError(f"there is no file {path.absolute()}") from None
    except (SafetensorError, OSError) as error:
        raise DamagedCheckpoint(f"{path} is damaged: {error}") from error


def load_tensors(path: Path) -> Any:
    """Whatever safe content a `torch.save` file holds: tensors and plain types.

    Raises DamagedCheckpoint, or MaeError for a file that would run code.
    """
    try:
        _require_whole_archive(path)
        # the published MAE checkpoints hold their arguments too
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise MaeError(f"there is no checkpoint {path.absolute()}") from None
    except pickle.UnpicklingError as error:
        if "Unsupported operand" in str(error):  # bytes that are no pickle of any kind that torch writes
            raise DamagedCheckpoint(f"{path} is damaged, or is not a checkpoint") from error
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"would call {found.group(1)}" if found else "may run code"
        raise MaeError(
            f"{path} was refused: it holds more than tensors and {what} when loaded; do not open it elsewhere"
        ) from error
    except MaeError:
        raise
    except OSError as error:
        if error.errno == errno.EINVAL:  # of a file that was cut, torch looks for the end before its beginning
            raise DamagedCheckpoint(f"{path} is damaged: its end is missing") from error
        raise MaeError(f"cannot read the checkpoint {path.absolute()}: {error.strerror}") from error
    except Exception as error:  # torch raises almost anything on bytes that it did not write, such as KeyError: 53
        what = ", or is not a checkpoint" if path.stat().st_size else ": it is empty"
        raise DamagedCheckpoint(f"{path} is damaged{what}") from error


def first_line(error: Exception) -> str:
    """Of its message, for a sentence."""
    return str(error).strip().split("\n")[0][:120]


def _require_whole_archive(path: Path) -> None:
    """torch.load compares no checksums. (What is no archive may be a file of the format before it.)"""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if part := archive.testzip():
                raise DamagedCheckpoint(f"{path} is damaged: the checksum of its part {part} is wrong")


def _in_folder(folder: Path) -> Path:
    for name in (*SINGLE, *INDEXES):
        if (folder / name).exists():
            return folder / name
    raise MaeError(f"{folder.absolute()} is a folder without {', '.join((*SINGLE, *INDEXES))}")


def _json_beside(folder: Path, *, prefix: str) -> dict[str, Any]:
    """The small JSON files of a folder whose names begin so, by the rest of their names; what is none is left out.

    Weights that share their folder with others have the prefix of their own name.
    """
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.glob("*.json") if path.name.startswith(prefix)):
        if path.name not in INDEXES and path.stat().st_size <= LARGEST_JSON:
            try:
                content = json.loads(path.read_text())
            except (ValueError, RecursionError):
                continue
            if isinstance(content, dict):
                found[path.name.removeprefix(prefix)] = content
    return found


def _shards(index: Path) -> dict[str, Tensor]:
    """All tensors of a file in several parts. Raises MaeError naming the parts that are missing."""
    try:
        places: Any = json.loads(index.read_text())["weight_map"]
        names = sorted(set(places.values()))
        parts = [index.parent / Path(name).name for name in names]  # beside the index, wherever it says
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpoint(f"{index} does not say which file has which tensor ({first_line(error)})") from error
    if missing := [part.name for part in parts if not part.exists()]:
        raise MaeError(f"{index} names {some_of(missing)}, which {'is' if len(missing) == 1 else 'are'} not beside it")
    tensors: dict[str, Tensor] = {}
    for part in parts:
        tensors |= read_safetensors(part)[0] if part.suffix == ".safetensors" else weights_in(load_tensors(part), part).tensors
    if lost := sorted(set(places) - set(tensors)):
        raise DamagedCheckpoint(f"the files of {index} lack {some_of(lost)}")
    return tensors


def _is_named_tensors(content: Any) -> bool:
    if not isinstance(content, Mapping) or not content:
        return False
    items = cast(Mapping[Any, Any], content).items()
    return all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in items)


def _tensors_of(content: Any) -> Mapping[str, Tensor]:
    return content


def _joined(found: Mapping[str, Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """Of several groups of tensors: the usual one, the only one, or all, with the group's key before their names."""
    for key in KEYS:
        if key in found:
            return found[key]
    if len(found) == 1:
        return next(iter(found.values()))
    return {f"{key}.{name}": x for key, tensors in found.items() for name, x in _without_prefixes(tensors).items()}


def _without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what every name begins with, and without the marks of compiled parts; in the tensors' own order."""
    found = {
        name: tensor for name, tensor in tensors.items() if name != "n_averaged"
    }  # torch's averaged model counts its steps
    while prefix := next((prefix for prefix in WRAPPERS if found and all(name.startswith(prefix) for name in found)), None):
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return {name.replace("_orig_mod.", ""): tensor for name, tensor in found.items()}


def _cleaned(weights: Weights) -> Weights:
    tensors = _without_prefixes(weights.tensors)
    return replace(weights, tensors=tensors, notes=(*weights.notes, *_half(tensors)))


def _half(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """A note where weights are stored in another precision than they are used in."""
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values() if tensor.is_floating_point()})
    if kinds not in ([], ["float32"]):
        yield f"stored as {' and '.join(kinds)}, and read as float32"
