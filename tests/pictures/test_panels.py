"""What pictures of reconstructions show, in every modality."""

import dataclasses

import pytest
import torch

from mae_core.interfaces import Reconstruction
from mae_core.pictures.panels import facts, headings, panels
from mae_registry import MaeError

GENERATOR = torch.Generator().manual_seed(0)
SAMPLE, PREDICTION, RAW = (torch.randn(3, 8, 6, generator=GENERATOR) for _ in range(3))
HIDDEN = (torch.arange(8) < 4).reshape(1, 8, 1)
SHOWN = Reconstruction("a.png", "held out", SAMPLE, HIDDEN, PREDICTION, RAW, 0.5, 0.4321)


def test_panels_are_what_their_headings_say():
    original, masked, output, raw, pasted = panels(SHOWN)
    assert original.heading == "original"
    assert original.values.equal(SAMPLE)
    assert masked.heading == "masked: what the encoder sees"
    assert masked.values[:, :4].isnan().all()
    assert masked.values[:, 4:].equal(SAMPLE[:, 4:])
    assert output.heading == "output, denormalised with the hidden patches' true mean and variance"
    assert output.values.equal(PREDICTION)
    assert raw.heading == "raw normalised prediction, -2 to 2"
    assert raw.values.equal(RAW)
    assert [panel.is_raw for panel in panels(SHOWN)] == [False, False, False, True, False]
    assert pasted.heading == "output with the visible patches pasted in"
    assert pasted.values.equal(torch.cat([PREDICTION[:, :4], SAMPLE[:, 4:]], dim=1))


def test_without_raw_predictions_no_heading_speaks_of_statistics():
    assert [panel.heading for panel in panels(dataclasses.replace(SHOWN, raw=None))] == [
        "original",
        "masked: what the encoder sees",
        "reconstruction: the model's output",
        "output with the visible patches pasted in",
    ]


def test_what_is_not_predicted_is_said_to_be_empty():
    prediction = PREDICTION.clone()
    prediction[:, 1] = torch.nan
    headings = [panel.heading for panel in panels(dataclasses.replace(SHOWN, prediction=prediction))]
    assert [heading.endswith("; empty: not predicted") for heading in headings] == [False, False, True, False, True]


def test_facts():
    assert facts(SHOWN) == ["a.png", "held out", "mask ratio 50%", "loss 0.4321"]
    odd = dataclasses.replace(SHOWN, title="a\n\udce9  b", note="")
    assert facts(odd) == ["a ? b", "mask ratio 50%", "loss 0.4321"]


def test_there_is_something_to_show():
    assert headings([SHOWN, SHOWN]) == [panel.heading for panel in panels(SHOWN)]
    with pytest.raises(MaeError, match="nothing to show"):
        headings([])
