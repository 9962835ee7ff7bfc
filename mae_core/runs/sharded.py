"""Checkpoints of weights that several devices share: folders of parts, which any number of devices can read.

The parts are safetensors files of `torch.distributed.checkpoint`, one of each process; `rest.pt` has what is no tensor.
"""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor, distribute_tensor

from mae_core.files import delete
from mae_core.runs.disk import cannot_write, save_tensors
from mae_core.runs.weights import DamagedCheckpoint, load_tensors

SUFFIX = ".parts"
REST = "rest.pt"
MODEL, OPTIMIZER, PARTS = "model", "optimizer", "parts"
State = dict[str, Any]


def is_shared(state: Mapping[str, Any]) -> bool:
    """Whether several devices share these weights."""
    return any(isinstance(tensor, DTensor) for tensor in state.values())


def write_parts(
    path: Path,
    model: Mapping[str, Tensor],
    optimizer: Mapping[str, Any],
    rest: Mapping[str, Any],
    *,
    is_writer: bool,
    group: ProcessGroup | None,
) -> None:
    """The folder `path`, complete or not at all. Called in all processes of the group, of which one writes the `rest`.

    `optimizer` is the state of a torch optimizer. Raises MaeError where a part cannot be written.
    """
    tensors, others = _divided(model, optimizer)
    unfinished = path.with_name(f".{path.name}")
    try:
        save(tensors, storage_writer=HuggingFaceStorageWriter(str(unfinished), save_distributed=True), process_group=group)
    except CheckpointException as error:
        raise cannot_write(path, error) from error
    if is_writer:
        try:
            sizes = {part.name: part.stat().st_size for part in unfinished.glob("*.safetensors")}
            save_tensors(unfinished / REST, {**rest, OPTIMIZER: others, PARTS: sizes})
            delete(path)
            os.replace(unfinished, path)
        except OSError as error:
            raise cannot_write(path, error) from error


def read_parts(path: Path) -> tuple[State, State, State]:
    """The whole model, the whole state of the optimizer, and the rest, on the CPU, in any process and any number of them.

    Raises DamagedCheckpoint, or MaeError for a file that would run code.
    """
    rest = cast(State, load_tensors(path / REST))
    for name, size in rest.pop(PARTS).items():
        if not (path / name).is_file() or (path / name).stat().st_size != size:
            raise DamagedCheckpoint(f"{path} is damaged: its part {name} is missing or incomplete")
    reader = HuggingFaceStorageReader(str(path))
    entries = reader.read_metadata().state_dict_metadata
    tensors = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in entries.items()
        if isinstance(entry, TensorStorageMetadata)
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # which is what is asked for
        load(tensors, storage_reader=reader, no_dist=True)
    state = cast(State, rest.pop(OPTIMIZER))
    model: State = {}
    for name, tensor in tensors.items():
        kind, _, key = name.partition("/")
        if kind == MODEL:
            model[key] = tensor
        else:
            number, _, what = key.partition("/")
            state["state"].setdefault(int(number), {})[what] = tensor
    return model, state, rest


def share_state(optimizer: torch.optim.Optimizer) -> None:
    """Leave each device its part of what was loaded into an optimizer whose parameters it shares."""
    for parameter, state in optimizer.state.items():
        if isinstance(parameter, DTensor):
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape and not isinstance(value, DTensor):
                    mesh, placements = parameter.device_mesh, parameter.placements
                    state[name] = distribute_tensor(value, mesh, placements, src_data_rank=None)


def _divided(model: Mapping[str, Tensor], optimizer: Mapping[str, Any]) -> tuple[dict[str, Tensor], State]:
    """All tensors under names of their own, and the optimizer's state without them."""
    tensors = {f"{MODEL}/{name}": tensor for name, tensor in model.items()}
    others: dict[int, State] = {}
    for number, state in optimizer["state"].items():
        for what, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{OPTIMIZER}/{number}/{what}"] = value
            else:
                others.setdefault(number, {})[what] = value
    return tensors, {**optimizer, "state": others}
