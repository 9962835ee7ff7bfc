"""Checkpoints: one file each, complete, written atomically, and loaded without running code from them."""

import errno
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException

from mae_core.build import build_model
from mae_core.config import Config, load_config
from mae_core.config.structure import TASK, component_sections
from mae_core.config.yaml_tree import parse_yaml, plain
from mae_core.data.files import reason
from mae_core.files import delete
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.registry import registry
from mae_core.runs.disk import save_tensors, system_error
from mae_core.runs.lock import require_still_locked
from mae_core.runs.published import Origin, Say, published_model
from mae_core.runs.sharded import SUFFIX, is_shared, read_parts, write_parts
from mae_core.runs.weights import (
    DamagedCheckpoint,
    Weights,
    first_line,
    is_folder_of_weights,
    load_tensors,
    read_weights,
    weights_in,
)
from mae_registry import MaeError, cause_of

FORMAT = 1
FOLDER = "checkpoints"
_NAME = re.compile(rf"step-(\d{{8,}})(\.pt|{re.escape(SUFFIX)})")


@dataclass(frozen=True)
class Checkpoint:
    """Everything that is needed to continue a run, or to use its model."""

    step: int
    """Optimizer steps done."""
    config: str
    """The resolved recipe, as YAML."""
    model: dict[str, Tensor]
    training: dict[str, Any]
    """The states of the optimizer and of the fp16 scaler, and what was found out at the start."""
    plugins: dict[str, str]
    """Versions of the plugins that the task and the model's parts come from."""


def plugin_versions(config: Config) -> dict[str, str]:
    """The versions of the plugins that the task and the parts of this recipe's model come from."""
    tree = {key: section for key, section in config.to_dict().items() if key in ("model", "task")}
    used = {registry().get(kind, section["name"]).plugin for _, kind, section in component_sections(tree)}
    return {plugin.name: plugin.version for plugin in registry().plugins if plugin.name in used}


def save_checkpoint(
    run: Path, checkpoint: Checkpoint, *, keep: int, is_writer: bool = True, group: ProcessGroup | None = None
) -> None:
    """Write `run/checkpoints/step-N.pt` and delete all but the newest `keep`.

    It is the folder `step-N.parts` where several devices share the weights. Then all processes call this, which talk through
    the `group`, and one is the writer. Raises MaeError where something cannot be written or deleted.
    """
    if is_writer:
        require_still_locked(run)
    try:
        path = _write(run / FOLDER, checkpoint, is_writer=is_writer, group=group)
        if is_writer:
            _delete_others(run, path, keep=keep)
    except MaeError:
        if is_writer:
            require_still_locked(run)  # which is the better reason
        raise


def _write(folder: Path, checkpoint: Checkpoint, *, is_writer: bool, group: ProcessGroup | None) -> Path:
    name = f"step-{checkpoint.step:08d}"
    if not is_shared(checkpoint.model):
        write_checkpoint(folder / f"{name}.pt", checkpoint)
        return folder / f"{name}.pt"
    training = {name: value for name, value in checkpoint.training.items() if name != "optimizer"}
    rest = {name: value for name, value in _content(checkpoint).items() if name != "model"} | {"training": training}
    path = folder / f"{name}{SUFFIX}"
    write_parts(path, checkpoint.model, checkpoint.training["optimizer"], rest, is_writer=is_writer, group=group)
    return path


def _delete_others(run: Path, newest: Path, *, keep: int) -> None:
    """Those of later steps too: of a damaged one, which the run has gone on from before, the steps are taken anew."""
    others = [path for path in list_checkpoints(run) if path != newest]
    older = [path for path in others if path.stem < newest.stem]
    for path in others:
        if path not in older[: keep - 1]:
            delete(path)


def _content(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"format": FORMAT, **{name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}}


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """One file, atomically. Raises MaeError where it cannot be written; older ones stay as they are."""
    save_tensors(path, _content(checkpoint))


def list_checkpoints(run: Path) -> Sequence[Path]:
    """A run's checkpoints, newest first."""
    paths = (path for path in (run / FOLDER).glob("step-*") if _NAME.fullmatch(path.name))
    return sorted(paths, key=lambda path: path.name, reverse=True)


def load_newest(run: Path) -> Checkpoint | None:
    """A run's newest whole checkpoint, None if it has none at all. Damaged ones are skipped with a warning."""
    found = find_newest(run)
    return None if found is None else found[1]


def find_newest(run: Path) -> tuple[Path, Checkpoint] | None:
    """Where it lies, too; see `load_newest`."""
    paths = list_checkpoints(run)
    for path in paths:
        try:
            return path, load_checkpoint(path)
        except DamagedCheckpoint as error:
            warnings.warn(f"skipped a damaged checkpoint: {error}", stacklevel=2)
    if paths:
        raise MaeError(f"every checkpoint in {run / FOLDER} is damaged; start the run again in another folder")
    return None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one file, or a folder of parts, on the CPU. Raises DamagedCheckpoint, or MaeError for what would run code."""
    return _as_checkpoint(_read_parts(path) if path.suffix == SUFFIX else load_tensors(path), path)


def _read_parts(path: Path) -> dict[str, Any]:
    """What a single file would have. Raises DamagedCheckpoint, or MaeError where the disk fails."""
    try:
        model, optimizer, rest = read_parts(path)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, CheckpointException) as error:
        cause = system_error(error)
        if cause is not None and cause.errno not in (errno.ENOENT, errno.EINVAL):  # another time, it may well be read
            raise MaeError(f"cannot read the checkpoint {path.absolute()}: {reason(cause)}") from error
        raise DamagedCheckpoint(f"{path} is damaged: {cause_of(error)}") from error
    return {**rest, "model": model, "training": {**rest["training"], "optimizer": optimizer}}


def _as_checkpoint(content: Any, path: Path) -> Checkpoint:
    if not is_own(content):
        raise DamagedCheckpoint(f"{path} is not a checkpoint of this project")
    return Checkpoint(**{name: content[name] for name in Checkpoint.__dataclass_fields__})


def is_own(content: Any) -> bool:
    """Whether a file's content is a checkpoint of this project."""
    return isinstance(content, dict) and cast(dict[str, Any], content).get("format") == FORMAT


def open_checkpoint(path: Path, *, averaged: bool = False) -> Checkpoint | Weights:
    """What `path` holds: this project's own checkpoint (of a run's folder, the newest), or weights of any other origin.

    `averaged` as for `read_weights`. An `encoder.safetensors` of this project is of the second kind, and has metadata.
    """
    if is_folder_of_weights(path) or path.suffix in (".safetensors", ".json"):
        return read_weights(path, averaged=averaged)
    content = None if path.is_dir() else load_tensors(path)
    if content is not None and not is_own(content):
        return weights_in(content, path, averaged=averaged)
    if averaged:
        raise MaeError(f"{path} is this project's own, and has no averaged weights beside the plain ones")
    return find_checkpoint(path) if content is None else _as_checkpoint(content, path)


def find_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint file, or the newest checkpoint of a run's folder. Raises MaeError where there is none."""
    if not path.is_dir() or path.suffix == SUFFIX:
        return load_checkpoint(path)
    checkpoint = load_newest(path)
    if checkpoint is None:
        raise MaeError(f"{path.absolute()} is a folder without {FOLDER}/step-*.pt; give a run's folder or a checkpoint file")
    return checkpoint


def load_model(
    path: str | Path,
    *,
    recipe: str | None = None,
    layout: str | None = None,
    overrides: Sequence[str] = (),
    say: Say | None = None,
) -> tuple[MaskedAutoencoder, Config, int]:
    """The model of a checkpoint file or of a run's folder (its newest checkpoint), its config, and its step.

    Also of a published file with a decoder, which is recognised by its names and shapes: `recipe` and `layout` say what it is
    where it is not, `overrides` ("key.path=value") what neither shows, and `say` is called with a sentence of what it was found
    to be. Raises MaeError for what holds no whole model.
    """
    path, origin = Path(path), Origin(layout, recipe, overrides, say=say)
    opened = open_checkpoint(path)
    if isinstance(opened, Checkpoint):
        return model_of(opened, path)
    if "config" in opened.metadata:
        raise MaeError(f"{path} holds an encoder alone, without a decoder; mae_core.load_backbone reads it")
    return *published_model(opened, path, origin), 0


def is_of_pretraining(checkpoint: Checkpoint) -> bool:
    """Whether it holds a masked autoencoder."""
    return load_config_text(checkpoint.config).get("task.name", TASK) == TASK


def model_of(checkpoint: Checkpoint, path: Path) -> tuple[MaskedAutoencoder, Config, int]:
    """The model of a checkpoint that was read from `path`, its config, and its step."""
    require_plugins(checkpoint, path)
    config = load_config_text(checkpoint.config)
    if (task := config.get("task.name", TASK)) != TASK:
        raise MaeError(
            f"{path} comes from the task {task!r} and not from pre-training; mae_core.load_backbone can read its backbone"
        )
    model = build_model(config, fresh=False)
    try:
        model.load_state_dict(checkpoint.model)
    except RuntimeError as error:
        raise MaeError(f"{path} does not fit the model that its own recipe describes here: {first_line(error)}") from error
    return model.eval(), config, checkpoint.step


def load_config_text(text: str) -> Config:
    """The config that a checkpoint stores."""
    return load_config(plain(parse_yaml(text, "checkpoint")))


def require_plugins(checkpoint: Checkpoint, path: Path) -> None:
    """Raise MaeError if a plugin that the checkpoint was made with is not loaded; warn if its version differs."""
    loaded = {plugin.name: plugin for plugin in registry().plugins if plugin.status == "loaded"}
    for name, version in checkpoint.plugins.items():
        made = f"{path} was made with plugin {name} {version}"
        if name not in loaded:
            how = "name its file with --plugin" if version == "local file" else f"install it with: mae install {name}"
            raise MaeError(f"{made}, which is not loaded; {registry().why_not_loaded(name) or how}")
        found = loaded[name]
        if found.version != version:
            how = f"; for the other: mae install '{found.distribution}=={version}'" if version != "local file" else ""
            warnings.warn(f"{made}; {found.version} is installed{how}", stacklevel=2)
