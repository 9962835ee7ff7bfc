"""Conformance checks of components, to be called from a plugin's tests. They need no test framework.

    def test_patches() -> None:
        check_tokenizer({"name": "my_patches", "input_size": [24, 40], "patch_size": [8, 8]})

Components are taken by their registered name, as a recipe takes them: a name alone, or a section with parameters, whose
annotations are checked too. A check of odd sizes, or of another number of channels, is the same check of another section. Every
failure is an AssertionError that says which contract was broken and where it is written down.
"""

from mae_core.testing.coders import check_decoder, check_encoder
from mae_core.testing.data import check_dataset
from mae_core.testing.maskers import check_masker
from mae_core.testing.models import check_modality
from mae_core.testing.parts import check_positions, check_target, check_tokenizer

__all__ = [
    "check_dataset",
    "check_decoder",
    "check_encoder",
    "check_masker",
    "check_modality",
    "check_positions",
    "check_target",
    "check_tokenizer",
]
