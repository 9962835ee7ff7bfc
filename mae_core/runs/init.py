"""The `init` section of a recipe: weights that a new run begins with."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from mae_core.config import Config
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.backbone import Backbone
from mae_core.model.transfer import Transferred, transfer
from mae_core.runs.backbone import load_backbone
from mae_core.runs.checkpoint import load_model
from mae_registry import ConfigError, MaeError, some_of


@dataclass(frozen=True, kw_only=True)
class InitSettings:
    """What a new run begins with in place of random weights. A run that is resumed does not read it again."""

    checkpoint: str | None = None
    """The folder of a run, one of its checkpoints, an encoder.safetensors, or a file of published weights.

    Pre-training takes the whole model, and all other tasks the backbone. A recipe may leave it open, as it does with its data.
    """
    backbone_only: bool = False
    """Take the backbone alone in pre-training too; decoders begin with random weights."""
    interpolate: bool = False
    """Resize learned positions where the grid of patches differs, as for larger inputs."""
    teacher: bool = False
    """Take the moving average that the checkpoint's targets learn from in place of the backbone that was trained.

    I-JEPA and data2vec are evaluated so. Only the checkpoints of a run have it.
    """


def start_from_checkpoint(model: nn.Module, config: Config) -> list[str]:
    """Give a fresh model the weights that the recipe's `init` names. Returns a line that says what was taken.

    `model` is a masked autoencoder, or has a `backbone`. Without the section nothing happens, and there is no line. Raises
    ConfigError for a checkpoint that does not fit.
    """
    if "init" not in config:
        return []
    settings = InitSettings(**config["init"])
    if settings.checkpoint is None:
        raise ConfigError("init.checkpoint: has no value; it must be the folder of a run, a checkpoint, or published weights")
    try:
        return [_start(model, settings.checkpoint, settings)]
    except MaeError as error:
        raise ConfigError(f"init.checkpoint={settings.checkpoint}: {error}") from error


def _start(model: nn.Module, checkpoint: str, settings: InitSettings) -> str:
    backbone = model.backbone
    assert isinstance(backbone, Backbone)
    if isinstance(model, MaskedAutoencoder) and not settings.backbone_only:
        if settings.teacher:
            raise MaeError("a teacher is a backbone alone; beside init.teacher=true, set init.backbone_only=true")
        other = _load_whole(checkpoint)
        taken = transfer(backbone, other.backbone, interpolate=settings.interpolate)
        take_the_rest(model, other)
    else:
        taken = transfer(backbone, load_backbone(checkpoint, teacher=settings.teacher), interpolate=settings.interpolate)
        if isinstance(model, MaskedAutoencoder):
            model.teachers.copy_from(backbone)
    return _describe(checkpoint, taken)


def _load_whole(checkpoint: str) -> MaskedAutoencoder:
    try:
        return load_model(Path(checkpoint))[0]
    except MaeError as error:
        raise MaeError(f"{error}. To begin with a backbone alone, and random decoders, set init.backbone_only=true") from error


def take_the_rest(model: MaskedAutoencoder, other: MaskedAutoencoder) -> None:
    """Decoders, targets, terms and teachers, which have to be the same."""
    rest, theirs = (
        {name: tensor for name, tensor in each.state_dict().items() if not name.startswith(("backbone.", "teachers."))}
        for each in (model, other)
    )
    differing = [name for name in {**rest, **theirs} if name not in rest or name not in theirs]
    differing += [name for name in rest.keys() & theirs.keys() if rest[name].shape != theirs[name].shape]
    if differing:
        raise MaeError(
            f"beside its backbone it differs from the recipe's model: {some_of(sorted(differing))}. Use the recipe of its "
            "decoders and targets, or begin with its backbone alone by init.backbone_only=true"
        )
    model.load_state_dict(theirs, strict=False)
    _take_teachers(model, other)


def _take_teachers(model: MaskedAutoencoder, other: MaskedAutoencoder) -> None:
    """Those of the checkpoint; where it has others, they begin at the backbone."""
    own, theirs = model.teachers.state_dict(), other.teachers.state_dict()
    if own.keys() == theirs.keys() and all(own[name].shape == theirs[name].shape for name in own):
        model.teachers.load_state_dict(theirs)
    else:
        model.teachers.copy_from(model.backbone)


def _describe(checkpoint: str, taken: Transferred) -> str:
    parts = [f"init    {checkpoint}"]
    if taken.left:
        parts.append(f"not taken from it: {some_of(taken.left)}")
    if taken.fresh:
        parts.append(f"not in it, and so random: {some_of(taken.fresh)}")
    return "; ".join([*parts, *taken.notes])
