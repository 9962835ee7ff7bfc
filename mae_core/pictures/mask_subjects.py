"""What `mae masks show` is asked to show: a masker by name, an inline section, or the maskers of a file."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic_core import to_jsonable_python

from mae_core.build import build_component, masker_from_section
from mae_core.config import Config, list_recipes, load_config
from mae_core.config.check import resolve_masker
from mae_core.config.config import parse_override
from mae_core.config.merge import merge
from mae_core.config.recipes import read_layers
from mae_core.config.signature import parameters
from mae_core.config.structure import OPERATORS, expand_names, operands, operator_of
from mae_core.config.yaml_tree import Node, Origin, parse_yaml, plain
from mae_core.interfaces import Grid, JointMasker, Mask, Masker
from mae_core.masking.sampling import trial_masks
from mae_core.registry import registry
from mae_registry import ConfigError, did_you_mean, resolve

Section = dict[str, Any]

DEFAULT_GRIDS = (Grid(h=14, w=14), Grid(t=8, h=14, w=14), Grid(t=64, f=8))
"""Of those that have every axis that a masker names, the first that it can mask."""


@dataclass(frozen=True)
class Subject:
    """A masker to be shown on a grid."""

    title: str
    section: Section
    """Resolved, with every default in it."""
    grid: Grid
    grid_from: str
    """ "given", "the recipe's", "a default"."""
    masker: Masker

    @property
    def is_scheduled(self) -> bool:
        """Whether it, or one that it is made of, changes over training."""
        return _is_scheduled(self.section)


def parse_grid(text: str) -> Grid:
    """ "t=8,h=14,w=14" as a grid. Raises ConfigError."""
    sizes: dict[str, int] = {}
    for part in text.split(","):
        axis, equals, size = (piece.strip() for piece in part.partition("="))
        if not equals or not axis.isidentifier() or not size.isdecimal():
            raise ConfigError(f"--grid {text!r}: {part.strip()!r} is not AXIS=PATCHES; write it like t=8,h=14,w=14")
        if axis in sizes:
            raise ConfigError(f"--grid {text!r}: the axis {axis!r} is given twice")
        sizes[axis] = int(size)
    return Grid(**sizes)


def find_subjects(what: str, overrides: Sequence[str] = (), *, grid: Grid | None = None) -> list[Subject]:
    """The maskers that `what` means: a registered name, a section in braces, a recipe or a file, or FILE:NAME for one of it.

    `overrides` change the masker ("ratio=0.9"), or the recipe as in training. `grid`: in place of the recipe's or the default
    one. Raises ConfigError: nothing of this name, a mistake in a section, or a masker that cannot mask the grid.
    """
    if what.lstrip().startswith("{"):
        return [_alone(parse_yaml(what, "masker", numbered=False), overrides, grid)]
    if what in registry().names("maskers"):
        try:
            return [_alone(Node({"name": Node(what, Origin("masker"))}, Origin("masker")), overrides, grid)]
        except ConfigError as error:
            hint = "" if overrides else f"\nparameters follow the name: mae masks show {what} KEY=VALUE ..."
            raise ConfigError(f"{error}{hint}") from error
    file, name = _split(what)
    layers = [expand_names(layer) for layer in [*read_layers(file)[1], *map(parse_override, overrides)]]
    tree = functools.reduce(merge, layers)
    if "model" in tree.items:
        subjects = _of_recipe(load_config(file, overrides), grid)
    elif "maskers" in tree.items:
        subjects = list(_of_definitions(tree.items["maskers"], grid))
    elif "name" in tree.items or operator_of(tree.items):
        subjects = [_subject(Path(file).stem, _resolved(tree), grid)]
    else:
        raise ConfigError(f"{file} has no maskers: neither `maskers:` nor `model:` nor a masker's `name` or operator")
    chosen = [subject for subject in subjects if name in (None, *subject.title.split(", "))]
    if not chosen:
        titles = [title for subject in subjects for title in subject.title.split(", ")]
        raise ConfigError(f"{file} has no masker {name!r}.{did_you_mean(str(name), titles)}")
    return chosen


def _split(what: str) -> tuple[str, str | None]:
    """FILE or FILE:NAME."""
    known = list_recipes()
    if what in known or Path(what).is_file():
        return what, None
    file, colon, name = what.rpartition(":")
    if colon and (file in known or Path(file).is_file()):
        return file, name
    if what in OPERATORS:
        example = {"any": "[...]", "all": "[...]", "one_of": "[...]"}.get(what, "...")
        raise ConfigError(f"{what!r} is an operator over other maskers; show a section: '{{{what}: {example}}}'")
    names = [*registry().names("maskers"), *known]
    raise ConfigError(f"there is no masker, no recipe and no file {what!r}.{did_you_mean(what, names)}")


def _alone(section: Node, overrides: Sequence[str], grid: Grid | None) -> Subject:
    resolved = _resolved(functools.reduce(merge, map(parse_override, overrides), section))
    return _subject(resolved.get("name", operator_of(resolved)), resolved, grid)


def _of_definitions(definitions: Node, grid: Grid | None) -> Iterator[Subject]:
    for name, node in definitions.items.items():
        if node.value is not None:
            resolved = _resolved(Node({"name": Node(name, node.origin)}, node.origin), definitions)
            yield _subject(name, resolved, grid)


def _of_recipe(config: Config, given: Grid | None) -> list[Subject]:
    """The modalities' maskers on the modalities' grids, then those defined under `maskers:` that are not among these."""
    recipe = config.to_dict()
    model, joint = recipe["model"], recipe["model"].get("masker")
    grids = {name: given or _grid_of(config, name) for name in model["modalities"]}
    source = "given" if given else "the recipe's"
    subjects: dict[str, Subject] = {}
    for name, grid in grids.items():
        section = joint or model["modalities"][name]["masker"]
        masker = JointPart(build_component("maskers", joint), grids, name) if joint else masker_from_section(section)
        subjects[name] = _on_first(name, section, masker, {source: [grid]})
    for name, section in recipe.get("maskers", {}).items():
        users = [user for user, subject in subjects.items() if subject.section == section]
        for user in users:
            subjects[user] = replace(subjects[user], title=f"{subjects[user].title}, {name}")
        if not users:
            subjects[name] = _subject(name, section, given, of_recipe=list(grids.values()))
    return list(subjects.values())


def _grid_of(config: Config, modality: str) -> Grid:
    with torch.device("meta"):
        return build_component("tokenizers", config[f"model.modalities.{modality}.tokenizer"], 1).grid


def _resolved(section: Node, definitions: Node | None = None) -> Section:
    definitions = definitions or Node({}, section.origin)
    return to_jsonable_python(plain(resolve_masker(section, definitions, registry())))


def _subject(title: str, section: Section, given: Grid | None, *, of_recipe: Sequence[Grid] = ()) -> Subject:
    """On the given grid, or the first that it fits, the recipe's before the default ones."""
    named = _strings(section) & {axis for grid in DEFAULT_GRIDS for axis in grid.axes}
    having = [grid for grid in DEFAULT_GRIDS if named <= set(grid.axes)] or list(DEFAULT_GRIDS[:1])
    having.sort(key=lambda grid: named == set(grid.axes))  # one with a further axis shows what is shared along it
    finer = [grid for grid in having if set(grid.axes) >= set(having[0].axes)]
    sources = {"given": [given]} if given else {"the recipe's": of_recipe, "a default": finer}
    return _on_first(title, section, masker_from_section(section), sources)


def _on_first(title: str, section: Section, masker: Masker, sources: Mapping[str, Sequence[Grid]]) -> Subject:
    """On the first grid that it can mask, every case of it. Raises ConfigError with the reason of the first that it cannot."""
    problem = None
    for source, grids in sources.items():
        for grid in grids:
            try:
                for _ in trial_masks(masker, grid):
                    pass
            except ConfigError as error:
                problem = problem or error
            else:
                return Subject(title, section, grid, source, masker)
    advice = "\nchoose another grid with --grid, e.g. --grid t=16,h=16,w=16" if "a default" in sources else ""
    raise ConfigError(f"{title}: {problem}{advice}") from problem


def _strings(value: object) -> set[str]:
    """Every text in a section: names of axes among them."""
    if isinstance(value, Mapping):
        return set(value).union(*map(_strings, value.values()))
    if isinstance(value, list):
        return set[str]().union(*map(_strings, value))
    return {value} if isinstance(value, str) else set()


class JointPart(Masker):
    """One modality's masks of a joint masker."""

    def __init__(self, masker: JointMasker, grids: Mapping[str, Grid], modality: str) -> None:
        self._masker = masker
        self._grids = grids
        self._modality = modality

    def __call__(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """Of the joint masks that the generator comes to."""
        return self._masker(self._grids, batch_size, generator=generator)[self._modality]


def _is_scheduled(section: Mapping[str, Any]) -> bool:
    changes = operator_of(section) == "schedule" and isinstance(section["ratio"], Mapping)
    return changes or any(_is_scheduled(part) for _, part in operands(section))


def write(section: Section) -> str:
    """A resolved section on one line, as a person would write it: without what is default."""
    short = _short(section)
    if isinstance(short, str):
        return short
    return yaml.safe_dump(short, default_flow_style=True, sort_keys=False, width=10**9).strip()


def _short(section: Section) -> Section | str:
    operator = operator_of(section)
    target = resolve(OPERATORS[operator]) if operator else registry().get("maskers", section["name"]).load()
    known = parameters(target, operator or section["name"])
    kept = {key: value for key, value in section.items() if key not in known or value != known[key].default}
    if operator is None:
        return kept["name"] if len(kept) == 1 else kept
    value = section[operator]
    if operator in ("any", "all"):
        short: Any = [_short(part) for part in value]
    elif operator == "one_of":
        entries = [(_short(entry["masker"]), entry["weight"]) for entry in value]
        short = [masker if weight == 1 else {"masker": masker, "weight": weight} for masker, weight in entries]
    else:
        short = _short(value)
    return {operator: short, **{key: child for key, child in kept.items() if key != operator}}
