"""What `mae masks show` is asked to show: a masker by name, an inline section, or the maskers of a file."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic_core import to_jsonable_python

from mae_core.build_maskers import masker_from_section
from mae_core.config import Config, list_recipes, load_config
from mae_core.config.check import resolve_masker
from mae_core.config.config import parse_override
from mae_core.config.merge import merge
from mae_core.config.operators import OPERATORS, operator_of
from mae_core.config.recipes import read_layers
from mae_core.config.signature import parameters
from mae_core.config.structure import expand_names
from mae_core.config.yaml_tree import Node, Origin, parse_yaml, plain
from mae_core.interfaces import Grid, JointMasker, Mask, Masker
from mae_core.masking.sampling import trial_masks
from mae_core.registry import build_component, registry
from mae_registry import ConfigError, MaeError, did_you_mean, resolve

Section = dict[str, Any]

DEFAULT_GRIDS = (Grid(h=14, w=14), Grid(t=8, h=14, w=14), Grid(t=64, f=8))
"""The default grids. The first that has every axis a masker names, and that it can mask, is used."""
MAX_PATCHES = 2**17
"""The largest grid that may be asked for; more would take minutes and gigabytes."""
MAX_DIGITS = 9
SIDES = (14, 16, 12, 15, 18, 20, 21, 24, 28, 30, 32, 36, 40)
"""The grids that are tried, to suggest one that a masker can mask."""


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
        return self.masker.at(0.0) is not self.masker


def parse_grid(text: str) -> Grid:
    """ "t=8,h=14,w=14" as a grid. Raises ConfigError."""
    sizes: dict[str, int] = {}
    for part in text.split(","):
        axis, equals, size = (piece.strip() for piece in part.partition("="))
        if not equals or not axis.isidentifier() or not size.isdecimal() or len(size) > MAX_DIGITS:
            raise ConfigError(f"--grid {text!r}: {part.strip()!r} is not AXIS=PATCHES; write it like t=8,h=14,w=14")
        if axis in sizes:
            raise ConfigError(f"--grid {text!r}: the axis {axis!r} is given twice")
        sizes[axis] = int(size)
    grid = Grid(**sizes)
    if grid.num_patches > MAX_PATCHES:
        raise ConfigError(
            f"--grid {text!r} has {grid.num_patches} patches, which is more than can be shown; use at most {MAX_PATCHES}"
        )
    return grid


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
        candidates = _of_recipe(load_config(file, overrides), grid)
    elif "maskers" in tree.items:
        candidates = _of_definitions(tree.items["maskers"], grid)
    elif "name" in tree.items or operator_of(tree.items):
        candidates = [_Candidate(Path(file).stem, lambda: _subject(Path(file).stem, _resolved(tree), grid))]
    else:
        raise ConfigError(f"{file} has no maskers: neither `maskers:` nor `model:` nor a masker's `name` or operator")
    chosen = [candidate for candidate in candidates if name in (None, *candidate.titles)]
    if not chosen:
        titles = [title for candidate in candidates for title in candidate.titles]
        raise ConfigError(f"{file} has no masker {name!r}.{did_you_mean(str(name), titles)}")
    return [candidate.make() for candidate in chosen]


@dataclass(frozen=True)
class _Candidate:
    """A masker of a file. Only those that are asked for are made, so that what is wrong with another is no obstacle."""

    title: str
    make: Callable[[], Subject]

    @property
    def titles(self) -> list[str]:
        """The names that it goes by."""
        return self.title.split(", ")


def _split(what: str) -> tuple[str, str | None]:
    """FILE or FILE:NAME."""
    known = list_recipes()
    if what in known or Path(what).is_file():
        return what, None
    file, colon, name = what.rpartition(":")
    if colon and (file in known or Path(file).is_file()):
        return file, name
    if what in OPERATORS:
        written = OPERATORS[what].operand.written
        raise ConfigError(f"{what!r} is an operator over other maskers; show a section with it: '{{{what}: {written}}}'")
    names = [*registry().names("maskers"), *known]
    raise ConfigError(f"there is no masker, no recipe and no file {what!r}.{did_you_mean(what, names)}")


def _alone(section: Node, overrides: Sequence[str], grid: Grid | None) -> Subject:
    resolved = _resolved(functools.reduce(merge, map(parse_override, overrides), section))
    return _subject(resolved.get("name", operator_of(resolved)), resolved, grid)


def _of_definitions(definitions: Node, grid: Grid | None) -> list[_Candidate]:
    def make(name: str, node: Node) -> Subject:
        return _subject(name, _resolved(Node({"name": Node(name, node.origin)}, node.origin), definitions), grid)

    given = {name: node for name, node in definitions.items.items() if node.value is not None}
    return [_Candidate(name, functools.partial(make, name, node)) for name, node in given.items()]


def _of_recipe(config: Config, given: Grid | None) -> list[_Candidate]:
    """The modalities' maskers on the modalities' grids, then those defined under `maskers:` that are not among these."""
    recipe = config.to_dict()
    model, joint, defined = recipe["model"], recipe["model"].get("masker"), recipe.get("maskers", {})
    grids = {entry: given or _grid_of(config, entry) for entry in model["modalities"]}
    sections = {entry: joint or model["modalities"][entry]["masker"] for entry in grids}

    def make(entry: str, title: str) -> Subject:
        section = sections[entry]
        masker = JointPart(build_component("maskers", joint), grids, entry) if joint else masker_from_section(section)
        return _on_first(title, section, masker, {"given" if given else "the recipe's": [grids[entry]]})

    candidates = []
    for entry, section in sections.items():
        title = ", ".join([entry, *(name for name, definition in defined.items() if definition == section)])
        candidates.append(_Candidate(title, functools.partial(make, entry, title)))
    for name, section in defined.items():
        if section not in sections.values():
            of_recipe = list(grids.values())
            candidates.append(_Candidate(name, functools.partial(_subject, name, section, given, of_recipe=of_recipe)))
    return candidates


def _grid_of(config: Config, modality: str) -> Grid:
    with torch.device("meta"):
        return build_component("tokenizers", config[f"model.modalities.{modality}.tokenizer"], 1).grid


def _resolved(section: Node, definitions: Node | None = None) -> Section:
    definitions = definitions or Node({}, section.origin)
    return to_jsonable_python(plain(resolve_masker(section, definitions, registry())))


def _subject(title: str, section: Section, given: Grid | None, *, of_recipe: Sequence[Grid] = ()) -> Subject:
    """The masker on the given grid, or on the first that it fits; the grid of the recipe is tried before the default ones."""
    named = _strings(section) & {axis for grid in DEFAULT_GRIDS for axis in grid.axes}
    having = [grid for grid in DEFAULT_GRIDS if named <= set(grid.axes)] or list(DEFAULT_GRIDS[:1])
    having.sort(key=lambda grid: named == set(grid.axes))  # one with a further axis shows what is shared along it
    finer = [grid for grid in having if set(grid.axes) >= set(having[0].axes)]
    sources = {"given": [given]} if given else {"the recipe's": of_recipe, "a default": finer}
    return _on_first(title, section, masker_from_section(section), sources)


def _on_first(title: str, section: Section, masker: Masker, sources: Mapping[str, Sequence[Grid]]) -> Subject:
    """On the first grid that it can mask, every case of it. Raises ConfigError with the reason of the first that it cannot."""
    problem, tried = None, [(source, grid) for source, grids in sources.items() for grid in grids]
    for source, grid in tried:
        found = _why_not(masker, grid)
        if found is None:
            return Subject(title, section, grid, source, masker)
        problem = problem or found
    advice = _other_grid(masker, section, tried[-1][1]) if "a default" in sources else ""
    raise ConfigError(f"{title}: {problem}{advice}") from problem


def _why_not(masker: Masker, grid: Grid) -> MaeError | None:
    """Why it cannot mask the grid, if so."""
    try:
        for _ in trial_masks(masker, grid):
            pass
    except MaeError as error:
        return error
    return None


def _other_grid(masker: Masker, section: Section, like: Grid) -> str:
    """A grid that it can mask, with the axes that it names, or those of `like`."""
    axes = list(dict.fromkeys(_axes_named(section))) or like.axes
    for side in SIDES:
        grid = Grid(**dict.fromkeys(axes, side))
        if _why_not(masker, grid) is None:
            sizes = ",".join(f"{axis}={size}" for axis, size in zip(grid.axes, grid.sizes, strict=True))
            return f"\nchoose another grid with --grid, e.g. --grid {sizes}"
    return ""


def _axes_named(value: object) -> Iterator[str]:
    """What stands behind `over` anywhere in a section."""
    if isinstance(value, Mapping):
        yield from value.get("over") or ()
        for child in value.values():
            yield from _axes_named(child)
    elif isinstance(value, list):
        for child in value:
            yield from _axes_named(child)


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
        super().__init__()
        self._masker = masker
        self._grids = grids
        self._modality = modality

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """The masks of one modality, from the joint masks that are drawn with the generator."""
        return self._masker(self._grids, batch_size, generator=generator)[self._modality]


def one_line(section: Mapping[str, Any]) -> str:
    """A resolved section as a person would write it: without what is default."""
    short = _short(section)
    if isinstance(short, str):
        return short
    return yaml.safe_dump(short, default_flow_style=True, sort_keys=False, width=10**9).strip()


def _short(section: Mapping[str, Any]) -> Section | str:
    operator = operator_of(section)
    target = resolve(OPERATORS[operator].target) if operator else registry().get("maskers", section["name"]).load()
    known = parameters(target, operator or section["name"])
    kept = {key: value for key, value in section.items() if key not in known or value != known[key].default}
    if operator is None:
        return kept["name"] if len(kept) == 1 else kept
    operand = OPERATORS[operator].operand.shortened(section[operator], _short)
    return {operator: operand, **{key: child for key, child in kept.items() if key != operator}}
