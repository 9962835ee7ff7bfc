"""The section of the report that shows what an evaluation found."""

import base64

import pytest
from evaluated import write_evaluation, write_run
from pages import Page
from PIL import Image

from mae_core.config import load_config
from mae_core.runs.report import write_report


def draw(index, path):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), (index, 0, 0)).save(path)


def test_everything_that_was_found_is_shown(tmp_path):
    config = load_config("image/mae_vit_base", ["train.epochs=80"])
    write_evaluation(write_run(tmp_path / "run"), num_right=7, config=config, draw=draw)
    page = Page(write_report(tmp_path / "run"))
    for shown in (
        "accuracy 70.00%",
        "fine-tuning",
        "runs/mine",
        "train.epochs: published 800, here 80",
        "Confusion matrix",
        "Most confused pairs",
        "bee, taken for cat (0.9)",
    ):
        assert shown in page.text
    pictures = [base64.b64decode((attributes["src"] or "").partition(",")[2]) for attributes in page.all("img")]
    assert pictures == [(tmp_path / f"run/wrong/{number:02}.png").read_bytes() for number in range(3)]
    counts = [attributes["style"] for attributes in page.all("td") if attributes.get("class") == "right"]
    assert counts == ["--share:75%", "--share:67%", "--share:67%"]  # 3 of 4, and twice 2 of 3


def test_results_without_a_run_have_a_page_of_their_own(tmp_path):
    write_evaluation(tmp_path, num_right=9, protocol="k-NN")
    page = Page(write_report(tmp_path))
    assert "k-NN" in page.text
    assert "0.png" not in page.text  # which was right
    assert "9.png" in page.text
    for absent in ("Training", "Configuration", "Bad samples", "Deviations"):
        assert absent not in page.text


def test_a_large_matrix_is_not_drawn(tmp_path):
    write_evaluation(tmp_path, num_right=9, classes=[f"class {number}" for number in range(31)])
    page = Page(write_report(tmp_path))
    assert not [attributes for attributes in page.all("table") if attributes.get("class") == "matrix"]
    assert "too many to be drawn" in page.text


def test_names_of_classes_and_files_are_escaped(tmp_path):
    nasty = "<b>'\"&"
    write_evaluation(tmp_path, num_right=5, classes=[nasty, "bee"], draw=draw, checkpoint=nasty, protocol=nasty)
    page = Page(write_report(tmp_path))
    assert page.all("b") == []
    assert page.text.count(nasty) >= 8


@pytest.mark.parametrize(("task", "shown"), [("pretrain", True), ("classify", False)])
def test_only_pretraining_has_reconstructions(tmp_path, task, shown):
    page = Page(write_report(write_run(tmp_path / "run", task=task)))
    assert ("Reconstructions" in page.text) == shown
