"""What a check is about: a component by its registered name, built as a recipe builds it, and how its failures read."""

import random
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from mae_core.config.signature import Parameter, parameters
from mae_core.registry import registry
from mae_registry import MaeError, PluginError, did_you_mean

Section = str | Mapping[str, Any]
"""A component as a recipe names it: its name, or a mapping of `name` and parameters."""

ONE_RULE = "mae_core.interfaces: a constructor's keyword-only parameters come from the recipe"
GUIDE = "docs/plugins.md, Test a plugin"


class Subject:
    """Something that is checked. Failures name it, `owner`, and the part of `interface` that was broken."""

    def __init__(self, owner: str, interface: type) -> None:
        self.owner = owner
        self.interface = interface

    def at(self, member: str = "") -> str:
        """Where the interface states the rule, such as "mae_core.interfaces.Tokenizer.patchify"."""
        return f"mae_core.interfaces.{self.interface.__name__}.{member}".rstrip(".")

    def require(self, condition: bool, problem: str, *, contract: str) -> None:
        """Fail with `problem` unless `condition`."""
        if not condition:
            raise AssertionError(f"{self.owner}: {problem}. Contract: {contract}")

    def require_shape(self, tensor: torch.Tensor, shape: tuple[int, ...], what: str, *, contract: str) -> None:
        """Fail unless `tensor`, described by `what`, has this shape."""
        found = tuple(tensor.shape)
        self.require(found == shape, f"{what} has the shape {found}, not {shape}", contract=contract)

    @contextmanager
    def attempt(self, what: str, *, contract: str) -> Generator[None]:
        """Whatever error comes up inside is a failure of `what`."""
        try:
            yield
        except AssertionError:
            raise
        except Exception as error:  # the component may raise anything
            cause = " ".join(str(error).split())[:300]
            text = cause if isinstance(error, MaeError) else f"{type(error).__name__}: {cause}"
            raise AssertionError(f"{self.owner}: {what} failed: {text}. Contract: {contract}") from error

    @contextmanager
    def leaves_global_generators_alone(self, what: str, *, contract: str) -> Generator[None]:
        """Fail if torch's, Python's or NumPy's global generator was used inside."""
        before = _global_states()
        yield
        used = [name for name, state in _global_states().items() if state != before.get(name, state)]
        self.require(not used, f"{what} uses the global generator of {', '.join(used)}", contract=contract)


class Part(Subject):
    """The component that a recipe's section names, to be built as a recipe builds it.

    Raises AssertionError if it is not registered, cannot be imported, or has parameters that no recipe can give.
    """

    def __init__(self, kind: str, section: Section, interface: type) -> None:
        section = {"name": section} if isinstance(section, str) else section
        name = str(section["name"])
        super().__init__(f"{kind} {name!r}", interface)
        with self.attempt("looking it up", contract="mae_registry.hookspecs"):
            self.component = registry().get(kind, name).load()
        self._arguments = self._check_arguments(section)

    def build(self, *wired: object) -> Any:
        """A fresh one, given `wired` by position."""
        device = torch.get_default_device().type
        with self.attempt("building it" if device == "cpu" else f"building it on the {device} device", contract=self.at()):
            built = self.component(*wired, **self._arguments)
        self.require(isinstance(built, self.interface), f"it is no {self.interface.__name__}", contract=self.at())
        return built

    def _check_arguments(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """The section's values as the constructor takes them. Every default must itself be allowed."""
        try:
            known = parameters(self.component, self.owner)
        except PluginError as error:
            raise AssertionError(f"{error}. Contract: {ONE_RULE}") from error
        for name, parameter in known.items():
            if not parameter.required:
                self._validate(name, parameter, parameter.default, "the default ")
        given = {key: value for key, value in section.items() if key != "name"}
        for name in given.keys() - known:
            self.require(False, f"unknown parameter {name!r}.{did_you_mean(name, known)}".rstrip("."), contract=ONE_RULE)
        missing = [name for name, parameter in known.items() if parameter.required and name not in given]
        self.require(not missing, f"the check must give a value for {', '.join(missing)}", contract=ONE_RULE)
        return {name: self._validate(name, known[name], value, "") for name, value in given.items()}

    def _validate(self, name: str, parameter: Parameter, value: Any, what: str) -> Any:
        try:
            return parameter.validate(value)
        except ValueError as error:
            raise AssertionError(f"{self.owner}: parameter {name!r}: {what}{error}. Contract: {ONE_RULE}") from error


def _global_states() -> dict[str, Any]:
    states: dict[str, Any] = {"torch": torch.get_rng_state().tolist(), "random": random.getstate()}
    if "numpy" in sys.modules:
        kind, keys, *rest = sys.modules["numpy"].random.get_state()
        states["numpy.random"] = (kind, keys.tolist(), *rest)
    return states
