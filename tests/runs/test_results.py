"""Results of evaluations: the numbers, what is written, and what differs from the published recipe."""

import json
from pathlib import Path

import pytest
import torch

from mae_core.config import Config, load_config
from mae_core.runs.deviations import find_deviations
from mae_core.runs.results import RESULTS, Results, read_results, write_results
from mae_core.runs.scoring import Predictions, judge
from mae_registry import MaeError

CLASSES = ("ant", "bee", "cat")
TARGETS = torch.tensor([0, 0, 0, 1, 1, 2])
SCORES = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.0, 0.9, 0.1], [0.1, 0.8, 0.1], [0.4, 0.3, 0.3], [0.2, 0.2, 0.6]])
ONE_EACH = Predictions([f"{i}.png" for i in range(6)], TARGETS, SCORES)


def write(folder: Path, predictions: Predictions = ONE_EACH, config: Config | None = None, **options) -> Results:
    config = config or load_config("image/mae_vit_base")
    facts = {"protocol": "fine-tuning", "data": {"train": 9}, "checkpoint": "x", "seed": 3, "seconds": 1.5}
    return write_results(folder, predictions, config=config, classes=CLASSES, **{**facts, **options})


def test_one_label_each_by_hand():
    judged = judge(ONE_EACH, CLASSES)
    assert judged.metrics == {"accuracy": 0.5}  # five classes would be needed for a top 5
    assert judged.confusion == [[1, 2, 0], [1, 1, 0], [0, 0, 1]]
    assert [(pair.true, pair.predicted, pair.count) for pair in judged.confused] == [("ant", "bee", 2), ("bee", "ant", 1)]
    assert [(each.num_samples, each.score) for each in judged.of_classes] == [(3, pytest.approx(1 / 3)), (2, 0.5), (1, 1.0)]
    assert [(i, wrong.true, wrong.predicted) for i, wrong in judged.wrong] == [
        (2, ["ant"], "bee"),
        (1, ["ant"], "bee"),
        (4, ["bee"], "ant"),
    ]


def test_top_5_counts_a_label_among_the_five_highest():
    scores = torch.arange(7.0).expand(7, 7)
    judged = judge(Predictions(list("abcdefg"), torch.arange(7), scores), list("abcdefg"))
    assert judged.metrics == {"accuracy": pytest.approx(1 / 7), "top5": pytest.approx(5 / 7)}


def test_average_precision_of_several_labels_by_hand():
    targets = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0]])
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.5, 0.7, 0.1], [0.2, 0.6, 0.9]])
    judged = judge(Predictions(["a", "b", "c"], targets, scores), CLASSES)
    ant, bee = (1 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2  # precision where each label is found, going down the scores
    assert judged.metrics["map"] == pytest.approx((ant + bee) / 2)  # no sample is a cat
    assert [each.score for each in judged.of_classes] == [pytest.approx(ant), pytest.approx(bee), None]
    assert judged.confusion is None
    assert [(i, wrong.true, wrong.predicted) for i, wrong in judged.wrong] == [(2, ["ant", "bee"], "cat")]
    assert judged.metrics["accuracy"] == pytest.approx(2 / 3)


def test_what_is_written_is_read_again(tmp_path):
    written = write(tmp_path, metrics={"loss": 0.25})
    assert read_results(tmp_path) == written
    tree = json.loads((tmp_path / RESULTS).read_text())
    assert tree["metrics"] == {
        "accuracy": {"mean": 0.5, "std": None, "values": [0.5]},
        "loss": {"mean": 0.25, "std": None, "values": [0.25]},
    }
    assert read_results(tmp_path / "elsewhere") is None


def test_wrong_predictions_are_drawn_where_they_can_be(tmp_path):
    drawn = []

    def draw(index: int, path: Path) -> None:
        drawn.append((index, path))

    results = write(tmp_path, draw=draw)
    assert drawn == [(2, tmp_path / "wrong/00.png"), (1, tmp_path / "wrong/01.png"), (4, tmp_path / "wrong/02.png")]
    assert [wrong.picture for wrong in results.wrong] == ["wrong/00.png", "wrong/01.png", "wrong/02.png"]
    assert {wrong.picture for wrong in write(tmp_path).wrong} == {None}


def test_a_picture_that_cannot_be_drawn_costs_no_results(tmp_path):
    def draw(index: int, path: Path) -> None:
        if index == 1:
            raise ValueError("odd shape")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"png")

    with pytest.warns(UserWarning, match=r"no picture of 1\.png: .*odd shape"):
        results = write(tmp_path, draw=draw)
    assert [wrong.picture for wrong in results.wrong] == ["wrong/00.png", None, "wrong/02.png"]
    write(tmp_path)
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"metrics": {}}', '{"metrics": 1}'])
def test_damaged_results_are_named(tmp_path, content):
    (tmp_path / RESULTS).write_text(content)
    with pytest.raises(MaeError, match=r"results\.json is damaged"):
        read_results(tmp_path)


def test_deviations_from_the_shipped_recipe():
    overrides = [
        "train.epochs=80",
        "train.num_workers=1",
        "data.image.root=/photographs",
        "model.modalities.image.masker.ratio=0.5",
        "model.modalities.image.positions=learned",
        "optimizer.lr=1.0e-3",
        "optimizer.base_lr=null",
    ]
    assert find_deviations(load_config("image/mae_vit_base")) == []
    assert find_deviations(load_config("image/mae_vit_base", overrides)) == [
        "model.modalities.image.positions.name: published sincos, here learned",
        "optimizer.base_lr: published 0.00015, here none",
        "optimizer.lr: published none, here 0.001",
        "train.epochs: published 800, here 80",
    ]


def test_a_recipe_is_based_on_the_shipped_one_that_it_extends(tmp_path):
    (tmp_path / "middle.yaml").write_text("extends: image/mae_vit_base\n")
    (tmp_path / "mine.yaml").write_text("extends: [middle.yaml]\ntrain: {epochs: 90}\n")
    config = load_config(tmp_path / "mine.yaml")
    assert config.based_on == "image/mae_vit_base"
    assert find_deviations(config) == ["train.epochs: published 800, here 90"]
    assert load_config({"extends": "image/mae_vit_base"}).based_on == "image/mae_vit_base"
    alone = load_config(config.to_dict())
    assert alone.based_on is None
    assert find_deviations(alone) is None
