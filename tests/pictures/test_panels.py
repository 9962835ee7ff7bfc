"""What pictures of reconstructions show, in every modality."""

import dataclasses

import numpy as np
import pytest
import torch

from mae_core.interfaces import Reconstruction
from mae_core.pictures.panels import FONT, facts, panels, shorten, tile, wrap

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


def test_a_tile_shows_0_to_1_and_nothing_as_middle_grey():
    values = torch.tensor([-1.0, 0.0, 0.25, 1.0, 2.0, torch.nan]).expand(3, 2, 6)
    drawn = np.asarray(tile(values, is_raw=False, factor=2))
    assert drawn.shape == (4, 12, 3)
    assert drawn[0, ::2, 0].tolist() == [0, 0, 64, 255, 255, 128]
    assert (drawn[0, ::2] == drawn[1, 1::2]).all()


def test_raw_values_are_drawn_around_grey():
    raw = torch.tensor([-9.0, -2.0, 0.0, 1.0, 2.0, 9.0]).expand(3, 2, 6)
    assert np.asarray(tile(raw, is_raw=True, factor=1))[0, :, 0].tolist() == [0, 0, 128, 191, 255, 255]


@pytest.mark.parametrize("num_channels", [1, 2, 5])
def test_other_channel_counts_are_drawn_as_their_mean(num_channels):
    values = torch.rand(num_channels, 4, 4)
    drawn = np.asarray(tile(values, is_raw=False, factor=1))
    assert np.array_equal(drawn[..., 0], (values.mean(0) * 255).round().byte().numpy())
    assert (drawn == drawn[..., :1]).all()


def test_long_names_keep_both_ends():
    text = "n01440764/" * 9 + "tench.JPEG"
    short = shorten(text, 120)
    assert FONT.getlength(short) <= 120
    assert short.startswith("n0")
    assert short.endswith("JPEG")
    assert shorten("short", 120) == "short"


def test_headings_wrap_at_words():
    lines = wrap("output with the visible patches pasted in", 120)
    assert " ".join(lines) == "output with the visible patches pasted in"
    assert len(lines) > 1
    assert all(FONT.getlength(line) <= 120 for line in lines)
