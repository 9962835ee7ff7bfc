"""Writing tensors to disks that may be full or broken: whatever goes wrong there is said in one sentence."""

import errno
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from mae_core.data.files import one_line, reason
from mae_core.files import write_atomically
from mae_registry import MaeError

FULL = (errno.ENOSPC, errno.EDQUOT)


def save_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """A `torch.save` file, atomically. Raises MaeError where it cannot be written; what was there stays as it was."""
    try:
        write_atomically(path, lambda file: torch.save(content, file))
    except (RuntimeError, MaeError) as error:  # torch makes a RuntimeError of whatever the file system says
        raise cannot_write(path, error, num_bytes=sum(x.numel() * x.element_size() for x in _tensors(content))) from error


def cannot_write(path: Path, error: BaseException, *, num_bytes: int = 0) -> MaeError:
    """What to say of a checkpoint of `num_bytes` (0: unknown), which `error` kept from being written."""
    cause = system_error(error)
    text = f"cannot write {path}: {one_line(_first(error))[:200] if cause is None else reason(cause)}"
    if cause is None or cause.errno not in FULL:
        return MaeError(f"{text}; a run goes on with --resume once that is mended")
    if num_bytes and (free := _free(path.parent)) is not None:
        text += (
            f". It needs about {num_bytes / 2**20:,.0f} MiB, and {free / 2**20:,.0f} MiB are free there, or less with a quota"
        )
    return MaeError(f"{text}; make room, and a run goes on with --resume")


def system_error(error: BaseException | None) -> OSError | None:
    """What the file system said, of which `error` is the last consequence; None where it is not to blame."""
    if error is None or isinstance(error, OSError):
        return error
    return system_error(_first(error) if isinstance(error, CheckpointException) else error.__cause__ or error.__context__)


def _first(error: BaseException) -> BaseException:
    """Of what failed in several processes, which mostly say the same."""
    if not isinstance(error, CheckpointException):
        return error
    first = next(iter(error.failures.values()))
    return first[0] if isinstance(first, tuple) else first


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:  # the folder may be gone, too
        return None


def _tensors(content: Any) -> Iterator[Tensor]:
    """All that a checkpoint holds, at any depth."""
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, Mapping | list | tuple):
        inner = cast(Mapping[Any, Any], content).values() if isinstance(content, Mapping) else cast(list[Any], content)
        for each in inner:
            yield from _tensors(each)
