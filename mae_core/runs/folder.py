"""The folder of a run: its name, what it may hold, and what it records of itself."""

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mae_core.config import Config
from mae_core.data.folders import FOLDERS as BY_FOLDERS
from mae_core.files import delete, write_atomically
from mae_core.runs.checkpoint import FOLDER, Checkpoint, load_config_text
from mae_core.runs.lock import LOCK, require_still_locked
from mae_core.runs.results import RESULTS, WRONG
from mae_registry import ConfigError, MaeError

CONFIG = "config.yaml"
FACTS = "run.json"
SPLIT = "split.csv"
"""How labelled data were split, recorded before an evaluation begins."""
RUNS = Path("runs")
WRITTEN = (
    CONFIG,
    FACTS,
    "metrics.jsonl",
    "bad_samples.jsonl",
    "non_finite_batch.txt",
    "encoder.safetensors",
    "encoder.md",
    RESULTS,
    "report.html",
)
"""Every file that a run writes beside its folders and the lock; `overwrite` deletes these and nothing else."""
FOLDERS = (FOLDER, "pictures", WRONG, "tensorboard")

WITHOUT_EFFECT = re.compile(
    r"train\.(device|devices|nodes|strategy|device_batch_size|recompute|num_workers|checkpoint_steps|keep_checkpoints)"
    r"|train\.(num_pictures|num_validations|max_bad_share)|task\.probe(\..*)?|data\.\w+\.(cache|in_memory)"
)
"""Keys that do not change the weights, or by rounding alone."""
PLACES = re.compile(r"(data\.\w+|task\.validation)\.(root|labels)")
"""Keys that say where data are. They may differ when a run is resumed, if the same files lie there."""


def choose_folder(recipe: str, out: Path | None, *, resume: bool, overwrite: bool) -> Path:
    """Where a run writes. Without `out`: runs/RECIPE, or the next free runs/RECIPE-2, -3, ...; to resume, the last of these.

    A folder that is chosen by number is made at once, so that no other process chooses it; `give_back` removes it where nothing
    comes of it. Raises MaeError if `out` holds something already, unless told to resume or overwrite it.
    """
    if out is None and not resume:
        return _reserve(recipe)
    if out is None:
        started = [path for path in _numbered(recipe).values() if (path / CONFIG).is_file()]
        out = started[-1] if started else RUNS / _stem(recipe)
    if resume:
        if not (out / CONFIG).is_file():
            raise MaeError(f"there is no run to resume in {out.absolute()}; start one without --resume")
        return out
    require_free(out, overwrite=overwrite)
    return out


def give_back(folder: Path) -> None:
    """Remove a chosen folder in which nothing began."""
    with contextlib.suppress(OSError):  # it holds something, or was never made
        if not (folder / CONFIG).exists():
            (folder / SPLIT).unlink(missing_ok=True)
        folder.rmdir()
        folder.parent.rmdir()


def _stem(recipe: str) -> str:
    return recipe.replace("/", "-")


def _numbered(recipe: str) -> dict[int, Path]:
    """The folders of this recipe's runs by number, in that order."""
    pattern = re.compile(re.escape(_stem(recipe)) + r"(?:-(\d+))?")
    found = [(int(match.group(1) or 1), path) for path in RUNS.glob("*") if (match := pattern.fullmatch(path.name))]
    return dict(sorted(found))


def _reserve(recipe: str) -> Path:
    number = max(_numbered(recipe), default=0)
    while True:
        number += 1
        folder = RUNS / (_stem(recipe) if number == 1 else f"{_stem(recipe)}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise MaeError(f"cannot make {folder.absolute()}: {error.strerror}; choose another folder with --out") from error
        return folder


def require_free(out: Path, *, overwrite: bool) -> None:
    """Raise MaeError if a run must not begin in this folder."""
    if not out.exists() or (out.is_dir() and all(_is_of_no_run(path) for path in out.iterdir())):
        return
    if not (out / CONFIG).is_file():
        raise MaeError(f"{out.absolute()} exists and is not a run's folder; choose another with --out")
    if not overwrite:
        raise MaeError(
            f"{out.absolute()} already contains a run; continue it with --resume, replace it with --overwrite, or choose "
            "another --out"
        )


def _is_of_no_run(path: Path) -> bool:
    """Whether this is what a run leaves where it ends before it has begun: killed in its very first file, for example."""
    return path.name in (LOCK, SPLIT) or path.name.startswith(f".{CONFIG}.")


def clear(folder: Path) -> None:
    """Delete what a run has written here, and nothing else."""
    for path in (*folder.glob(f".{CONFIG}.*"), *(folder / name for name in (*FOLDERS, *WRITTEN))):
        delete(path)


def remove_unfinished(folder: Path) -> None:
    """Delete the halves of files that a kill leaves behind while they are written."""
    for place in (folder, *(folder / name for name in FOLDERS)):
        for path in place.glob(".*"):
            if (path.is_file() and path.name != LOCK) or (path.is_dir() and place.name == FOLDER):
                delete(path)


def write_config(folder: Path, config: Config) -> None:
    """The resolved recipe, every default in it."""
    write_atomically(folder / CONFIG, lambda file: file.write(config.to_yaml().encode()))


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """What the report tells of the run beside its curves."""
    require_still_locked(folder)
    write_atomically(folder / FACTS, lambda file: file.write(json.dumps(facts, indent=2).encode()))


def not_a_run(folder: Path) -> MaeError:
    """The error for a folder in which nothing was trained or evaluated."""
    why = "it has no config.yaml" if folder.is_dir() else "it does not exist"
    return MaeError(f"{folder} is not the folder of a run: {why}. Give the folder that `mae pretrain` wrote (its --out).")


def read_facts(folder: Path) -> dict[str, Any]:
    """What `write_facts` wrote, {} where there is nothing. Raises MaeError for a damaged file."""
    path = folder / FACTS
    if not path.exists():
        return {}
    try:
        facts = json.loads(path.read_bytes())
    except ValueError as error:
        raise MaeError(f"{path} is damaged: {error}. Correct or delete it and try again.") from error
    if not isinstance(facts, dict):
        raise MaeError(f"{path} is damaged: it holds a {type(facts).__name__}, not an object. Delete it and try again.")
    return facts


def require_same_config(checkpoint: Checkpoint, config: Config) -> None:
    """Raise ConfigError if a resumed run would not be the same run: names the keys and both values."""
    stored = leaves(load_config_text(checkpoint.config).to_dict())
    now = leaves(config.to_dict())
    differing = [key for key in sorted({*stored, *now}) if not _may_resume(key, stored.get(key), now.get(key))]
    if differing:
        lines = [f"  {key}: {stored.get(key)!r} in the checkpoint, {now.get(key)!r} now" for key in differing]
        lines.append("to begin a new run with the weights of this one, give init.checkpoint=FOLDER and another --out")
        raise ConfigError(
            "a run must be resumed with the recipe that it was started with; these keys differ:\n" + "\n".join(lines)
        )


def _may_resume(key: str, before: Any, now: Any) -> bool:
    """Whether a run may go on with this value of a key, after another one."""
    if before == now or WITHOUT_EFFECT.fullmatch(key):
        return True
    is_path = all(isinstance(value, str) and value != BY_FOLDERS for value in (before, now))
    return PLACES.fullmatch(key) is not None and (is_path or key.endswith(".root"))


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a nested mapping, by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
