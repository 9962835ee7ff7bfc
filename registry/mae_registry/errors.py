"""Errors that are meant to be read by the person who caused them."""

import difflib
from collections.abc import Iterable, Sequence


class MaeError(ValueError):
    """A mistake of the user's: the message says what was wrong, where, what is allowed and what to do.

    The command line prints the message alone and exits with 1; there is no traceback without `--debug`.
    """


class ConfigError(MaeError):
    """A recipe, an override or a component's parameter is wrong."""


class PluginError(MaeError):
    """A plugin is broken, missing, or claims what another one has. `fix` says what to do, and ends the message."""

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}; to fix this, {self.fix}" if self.fix else self.message


MAX_KNOWN = 50
"""Names that are listed in a message, at most; of more than these, only the `NUM_LIKELY` nearest ones are."""
NUM_LIKELY = 10


def some_of(names: Sequence[str], limit: int = 4) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown `name`: the nearest known one, then all that are allowed, or the likeliest."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    if len(known) > MAX_KNOWN:
        likely = difflib.get_close_matches(name, known, n=NUM_LIKELY, cutoff=0)
        return f"{hint} Known: {', '.join(likely)}, and {len(known) - NUM_LIKELY} more."
    return f"{hint} Known: {', '.join(known) if known else '(none)'}."
