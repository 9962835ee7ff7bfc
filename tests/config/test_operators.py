"""A new operator of the masker language needs its class and one declaration, and nothing else."""

import json

import pytest
import torch
from jsonschema import Draft202012Validator

from mae_core import Grid, Mask
from mae_core.build_maskers import masker_from_section
from mae_core.cli import main
from mae_core.config import json_schema, load_config
from mae_core.config.operators import OPERATORS, One, OneWithoutRatio, Operand, Operator, Several, Weighted
from mae_core.config.structure import component_sections
from mae_core.interfaces import Masker
from mae_core.masking.compose import CompositeMasker
from mae_core.pictures.mask_subjects import find_subjects, one_line
from mae_registry import ConfigError

GRID = Grid(h=6, w=6)
RANDOM = "{name: random, ratio: 0.5}"


class First(CompositeMasker):
    """Its first part, mirrored if that is asked for."""

    def __init__(
        self, parts: list[Masker], weights: list[float] | None = None, *, mirror: bool = False, ratio: float = 0.0
    ) -> None:
        super().__init__(parts)
        self.weights = weights
        self.mirror = mirror
        self.ratio = ratio

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU."""
        mask = self.parts[0](grid, batch_size, generator=generator)
        assert isinstance(mask, Mask)
        return Mask.from_hidden(mask.hidden.flip(1)) if self.mirror else mask


OPERANDS = [(One(), RANDOM), (OneWithoutRatio(), "random"), (Several(), f"[{RANDOM}, grid]"), (Weighted(), f"[{RANDOM}, grid]")]


@pytest.fixture(params=OPERANDS, ids=lambda param: type(param[0]).__name__)
def operand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Operand, str]:
    """An operator `first` is declared; how its operand is written."""
    shape, written = request.param
    monkeypatch.setitem(OPERATORS, "first", Operator(f"{__name__}:First", shape))
    return shape, written


def section(written: str) -> str:
    return f"{{first: {written}, mirror: true, ratio: 0.5}}"


def test_it_is_checked_built_and_written(operand: tuple[Operand, str]) -> None:
    shape, written = operand
    masker = masker_from_section(section(written))
    assert isinstance(masker, First)
    assert (masker.mirror, masker.ratio) == (True, 0.5)
    assert masker.weights == ([1, 1] if isinstance(shape, Weighted) else None)
    mask = masker(GRID, 2, generator=torch.Generator().manual_seed(0))
    plain = masker_from_section(RANDOM)(GRID, 2, generator=torch.Generator().manual_seed(0))
    assert isinstance(plain, Mask)
    assert mask.hidden.equal(plain.hidden.flip(1))
    (subject,) = find_subjects(section(written), grid=GRID)
    assert one_line(subject.section) == section(written)


def test_it_is_in_the_schema_and_its_parts_are_components(operand: tuple[Operand, str]) -> None:
    _, written = operand
    cfg = load_config("image/mae_vit_base", [f"model.modalities.image.masker={section(written)}"])
    validator = Draft202012Validator(json_schema())
    validator.validate(cfg.to_dict())
    wrong = cfg.to_dict()
    wrong["model"]["modalities"]["image"]["masker"]["miror"] = True
    assert not validator.is_valid(wrong)
    found = [each["name"] for _, kind, each in component_sections(cfg.to_dict()) if kind == "maskers"]
    assert found[0] == "random"


def test_its_mistakes_have_their_places(operand: tuple[Operand, str]) -> None:
    _, written = operand
    with pytest.raises(ConfigError, match=r"^masker: miror: unknown parameter of 'first'. Did you mean 'mirror'\?"):
        masker_from_section(f"{{first: {written}, miror: true, ratio: 0.5}}")
    with pytest.raises(ConfigError, match=r"^masker: first\..*: unknown maskers name 'rondom'"):
        masker_from_section(section(written.replace("random", "rondom")))


def test_it_nests_with_the_others(operand: tuple[Operand, str]) -> None:
    _, written = operand
    mask = masker_from_section(f"{{repeat: {{invert: {section(written)}}}, times: 2}}")(
        GRID, 3, generator=torch.Generator().manual_seed(0)
    )
    assert isinstance(mask, Mask)
    assert (mask.repeats, len(mask.hidden)) == (2, 6)


def test_it_is_listed(operand: tuple[Operand, str], capfd: pytest.CaptureFixture[str]) -> None:
    shape, _ = operand
    with pytest.raises(SystemExit):
        main(["masks", "--json"])
    listed = {masker["name"]: masker for masker in json.loads(capfd.readouterr().out)}
    assert listed["first"]["operands"] == shape.written
    assert listed["first"]["about"] == "Its first part, mirrored if that is asked for."
    assert set(listed["first"]["parameters"]) == {"mirror", "ratio"}
