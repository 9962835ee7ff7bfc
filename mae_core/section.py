"""How a component says that one of its parameters describes another component."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """Marks a parameter that is itself a section of a component: `Annotated[Mapping[str, Any], Section("heads")]`."""

    kind: str
    """The kind of the component that the section describes."""
