"""Published weights of which nobody says what they are -> their layout, and a recipe of their model."""

import copy
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mae_core.interfaces import Found
from mae_core.registry import registry
from mae_registry import MaeError, some_of

_DECODER = re.compile(r"model\.modalities\.[^.]+\.decoder\.")


@dataclass(frozen=True)
class Recognized:
    """What published weights are."""

    layout: str
    found: Found

    def recipe(self, overrides: Sequence[str] = (), *, backbone: bool = False) -> dict[str, Any]:
        """A recipe of their model, for `load_config` with these `overrides`; enough of it for the `backbone` alone.

        Raises MaeError for what only the user knows.
        """
        unknown = [key for key, value in self._assumed(overrides).items() if value is None]
        if backbone:
            unknown = [key for key in unknown if not _DECODER.match(key)]
        if unknown:
            wanted = " and ".join(f"{key}=VALUE" for key in unknown)
            raise MaeError(
                f"these are weights of the layout {self.layout!r} ({self.found.title}), but neither names nor shapes say "
                f"{some_of(unknown)}, and no published model has this size; add {wanted} to "
                "`mae convert WEIGHTS -o checkpoint.pt`, and use the checkpoint that this writes"
            )
        recipe: dict[str, Any] = {"extends": self.found.extends, "model": copy.deepcopy(dict(self.found.model))}
        for key, value in self.found.assumed.items():
            if value is not None:
                _put(recipe, key, value)
        return recipe

    def sentence(self, overrides: Sequence[str] = ()) -> str:
        """All of it, for people; `overrides` as for `recipe`."""
        text = f"layout {self.layout}: {self.found.title}; {_sizes(self.found.model)}"
        assumed = [f"{key}={_shown(value)}" for key, value in self._assumed(overrides).items() if value is not None]
        return f"{text}; not visible in the file, so taken as published: {', '.join(assumed)}" if assumed else text

    def _assumed(self, overrides: Sequence[str]) -> dict[str, Any]:
        """What the user does not say."""
        said = {override.partition("=")[0].strip() for override in overrides}
        return {key: value for key, value in self.found.assumed.items() if key not in said}


def recognize(
    weights: Mapping[str, Tensor], beside: Mapping[str, Any] | None = None, *, layout: str | None = None
) -> Recognized:
    """The layout of published weights and the recipe of their model, by names and shapes.

    `beside`: the contents of the JSON files beside them, by name; `layout`: what the user says it is. Raises MaeError where no
    layout knows them, or several do.
    """
    names = registry().names("layouts") if layout is None else [layout]
    fitting = [Recognized(name, found) for name, found in _ask(names, weights, beside or {})]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        which = "; ".join(f"{one.layout} ({one.found.title})" for one in fitting)
        raise MaeError(f"these names and shapes are those of several layouts: {which}; say which one, by its name")
    if layout is not None:
        raise MaeError(
            f"the layout {layout!r} does not recognise these names and shapes ({some_of(sorted(weights))}); name the recipe of "
            "their model too, and the import will say what does not fit"
        )
    raise MaeError(
        f"no layout knows weights with these names: {some_of(sorted(weights))}; if you know better, name their layout and the "
        f"recipe of their model. Layouts: {', '.join(names)}"
    )


def _ask(names: Sequence[str], weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Iterator[tuple[str, Found]]:
    for name in names:
        component = registry().get("layouts", name)
        try:
            found = component.load()().recognize(weights, beside)
        except Exception as error:  # one plugin's mistake must not keep the others from being asked
            if len(names) == 1:
                raise MaeError(f"the layout {name!r} cannot look at these weights: {error}") from error
            warnings.warn(f"layout {name!r} failed to look at these weights: {error}", stacklevel=3)
        else:
            if found is not None:
                yield name, found


def _put(tree: dict[str, Any], key: str, value: object) -> None:
    """One value, where it is not said already."""
    *path, last = key.split(".")
    for part in path:
        tree = tree.setdefault(part, {})
    tree.setdefault(last, value)


def _sizes(model: Mapping[str, Any]) -> str:
    """The sizes in a section `model`, in words."""
    parts = [f"encoder ({_said(model.get('encoder', {}))})"]
    for entry, section in model.get("modalities", {}).items():
        tokenizer = section.get("tokenizer", {})
        samples = f" of {_by(tokenizer['input_size'])}" if "input_size" in tokenizer else ""
        parts.append(f"{entry}{samples} in patches of {_by(tokenizer['patch_size'])}" if "patch_size" in tokenizer else entry)
        if decoder := section.get("decoder"):
            parts.append(f"decoder ({_said(decoder)})")
    return ", ".join(parts)


def _said(section: Mapping[str, Any]) -> str:
    sizes = {key: section[key] for key in ("width", "depth", "depths", "heads") if key in section}
    return ", ".join(f"{key} {_shown(value)}" for key, value in sizes.items())


def _by(sides: Sequence[int]) -> str:
    return " x ".join(map(str, sides))


def _shown(value: object) -> str:
    return str(value).replace(" ", "")
