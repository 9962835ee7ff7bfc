"""How an evaluation differs from the shipped recipe that it extends."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mae_core.config import Config, load_config

IGNORED = re.compile(
    r"data\.\w+\.(root|labels|split)|task\.validation(\.(root|labels|split))?|init(\.checkpoint)?"
    r"|train\.(seed|device_batch_size|num_workers|checkpoint_steps|keep_checkpoints|num_pictures|num_validations|max_bad_share)"
    r"|model\.modalities\.\w+\.(masker|decoder|decoder_positions|target)\b.*"
)
"""Where things are, what does not change the result, and parts that no evaluation builds."""

_ABSENT = object()


def find_deviations(config: Config) -> list[str] | None:
    """ "KEY: published X, here Y" for each key that differs from the shipped recipe; None where `config` is based on none."""
    if config.based_on is None:
        return None
    published = load_config(config.based_on).to_dict()
    return [
        f"{key}: published {_shown(theirs)}, here {_shown(ours)}"
        for key, theirs, ours in _differences(published, config.to_dict(), "")
        if not IGNORED.fullmatch(key)
    ]


def _differences(published: Mapping[str, Any], here: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """Keys with both values. Of components with different names, only what both have is compared."""
    is_other = published.get("name") != here.get("name")
    for key in dict.fromkeys([*published, *here]):
        theirs, ours = published.get(key, _ABSENT), here.get(key, _ABSENT)
        if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
            yield from _differences(theirs, ours, f"{prefix}{key}.")
        elif theirs != ours and not (is_other and _ABSENT in (theirs, ours)):
            yield prefix + key, theirs, ours


def _shown(value: Any) -> str:
    """A section by its name, anything else as in YAML."""
    if value is _ABSENT or value is None:
        return "none"
    if isinstance(value, Mapping) and "name" in value:
        return str(value["name"])
    return value if isinstance(value, str) else json.dumps(value)
