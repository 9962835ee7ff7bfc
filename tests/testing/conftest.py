"""The broken parts are registered as components of a plugin."""

import re

import broken_data
import broken_maskers
import broken_parts
import pytest

from mae_core.interfaces import Dataset, Decoder, Encoder, Masker, Modality, Positions, Target, Tokenizer
from mae_core.registry import registry
from mae_registry import Component

KINDS = {
    "datasets": Dataset,
    "decoders": Decoder,
    "encoders": Encoder,
    "maskers": Masker,
    "modalities": Modality,
    "positions": Positions,
    "targets": Target,
    "tokenizers": Tokenizer,
}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Everything in the broken_... modules, by its name in lower case with underscores; and the sound patches as `sound`."""
    monkeypatch.setattr(registry(), "_components", dict(registry()._components))
    for module in (broken_parts, broken_maskers, broken_data):
        for name, part in vars(module).items():
            for kind, interface in KINDS.items():
                own = isinstance(part, type) and issubclass(part, interface) and part.__module__ == module.__name__
                if own or isinstance(part, interface):
                    known = re.sub(r"(?<!^)(?=[A-Z0-9])", "_", name).lower() if own else part.name
                    registry().add(Component(kind, known, f"{module.__name__}:{name}", "test"))
    registry().add(Component("tokenizers", "sound", "broken_parts:Patches", "test"))
    registry().add(Component("tokenizers", "no_module", "broken_parts_of_nowhere:Patches", "test"))
    registry().add(Component("tokenizers", "no_tokenizer", "broken_data:Ramps", "test"))


@pytest.fixture
def fails():
    """`fails(check, ...)`: the message of the failure, which says where the contract is written down."""

    def failure_of(check, *arguments, **options) -> str:
        with pytest.raises(AssertionError) as failure:
            check(*arguments, **options)
        message = str(failure.value)
        places = ("mae_core.", "docs/plugins.md", "mae_registry", "check must")
        assert any(place in message for place in places), message
        return message

    return failure_of
