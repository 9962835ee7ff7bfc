"""Several runs side by side."""

import pytest
from evaluated import write_evaluation, write_run
from pages import Page

from mae_core.runs.comparison import compare
from mae_core.runs.comparison_page import draw, table, write_comparison
from mae_registry import MaeError


@pytest.fixture
def runs(tmp_path):
    """Two ratios of pre-training with two seeds each, and a fine-tuning of each."""
    found = []
    for ratio in (0.5, 0.75):
        for seed in (0, 1):
            name = f"{ratio}-{seed}"
            found.append(write_run(tmp_path / f"pre-{name}", losses=[1.0, ratio], seed=seed, ratio=ratio))
            tuned = write_run(tmp_path / f"tuned-{name}", losses=[2.0, 0.5], task="classify", seed=seed, recipe="image/tune")
            config = (tuned / "config.yaml").read_text() + f"init: {{checkpoint: {found[-1]}}}\n"
            (tuned / "config.yaml").write_text(config)
            write_evaluation(tuned, num_right=5 + 2 * seed + int(ratio > 0.6), seed=seed)
            found.append(tuned)
    return found


def test_seeds_of_one_recipe_are_one_group_also_of_the_runs_that_begin_with_them(runs):
    groups = compare(runs)
    assert [group.name for group in groups] == [
        "pre-0.5-0, pre-0.5-1",
        "tuned-0.5-0, tuned-0.5-1",
        "pre-0.75-0, pre-0.75-1",
        "tuned-0.75-0, tuned-0.75-1",
    ]
    assert [group.seeds for group in groups] == [[0, 1]] * 4
    assert [group.metrics for group in groups] == [{}, {"accuracy": [0.5, 0.7]}, {}, {"accuracy": [0.6, 0.8]}]
    assert [group.loss for group in groups] == [0.5, 0.5, 0.75, 0.5]
    assert groups[2].differs == {"train.ratio": 0.75}


def test_the_table_has_means_and_deviations(runs):
    names, rows = table(compare(runs))
    assert [dict(zip(names, row, strict=True))["accuracy"] for row in rows] == ["–", "60.00 ± 14.14%", "–", "70.00 ± 14.14%"]
    assert [dict(zip(names, row, strict=True))["what"] for row in rows] == ["pre-training", "fine-tuning"] * 2
    names, rows = table(compare(runs[:1]))
    assert "accuracy" not in names  # nor any other column with nothing in it
    assert "differs in" not in names


def test_the_page_has_one_table_and_one_plot(runs, tmp_path):
    page = Page(write_comparison(compare(runs), tmp_path / "page.html"))
    assert len(page.all("table")) == len(page.all("img")) == 1
    assert "ratio=0.75" in page.text


def test_metrics_are_drawn_where_there_are_any_and_losses_otherwise(runs, tmp_path):
    mixed, trained = draw(compare(runs)), draw(compare(runs[::2]))
    assert mixed is not None
    assert trained is not None
    assert [label.get_text().split("\n")[0] for label in mixed.axes[0].get_yticklabels()] == [
        "tuned-0.5-0, tuned-0.5-1",
        "tuned-0.75-0, tuned-0.75-1",
    ]
    assert len(trained.axes[0].lines) == 4
    assert draw(compare([write_run(tmp_path / "fresh")])) is None


def test_evaluations_without_a_recipe_are_told_apart_by_protocol_and_checkpoint(tmp_path):
    for name, protocol, checkpoint, seed in (
        ("a", "k-NN", "x", 0),
        ("b", "k-NN", "x", 1),
        ("c", "k-NN", "y", 0),
        ("d", "fast probe", "x", 0),
    ):
        write_evaluation(tmp_path / name, num_right=8, protocol=protocol, checkpoint=checkpoint, seed=seed)
    assert [group.name for group in compare([tmp_path / name for name in "abcd"])] == ["a, b", "c", "d"]


def test_other_data_or_other_features_are_no_seeds(tmp_path):
    for name, root, features in (("a", "x", "mean"), ("b", "x", "mean"), ("c", "y", "mean"), ("d", "x", "cls")):
        write_evaluation(tmp_path / name, num_right=8, data={"root": root, "features": features})
    assert [group.name for group in compare([tmp_path / name for name in "abcd"])] == ["a, b", "c", "d"]


def test_splits_that_runs_have_made_are_the_same_on_the_same_data_alone(tmp_path):
    for name, root in (("a", "x"), ("b", "x"), ("c", "y")):
        folder = write_run(tmp_path / name, losses=[1.0])
        (folder / "split.csv").touch()
        data = f"data: {{image: {{root: {root}, labels: {folder / 'split.csv'}}}}}\n"
        (folder / "config.yaml").write_text((folder / "config.yaml").read_text() + data)
    groups = compare([tmp_path / name for name in "abc"])
    assert [group.name for group in groups] == ["a, b", "c"]
    assert groups[1].differs == {"data.image.root": "y"}


def test_a_folder_without_a_run_is_named(runs, tmp_path):
    with pytest.raises(MaeError, match=r"is not the folder of a run: it has no config\.yaml"):
        compare([runs[0], tmp_path])
    (runs[0] / "config.yaml").write_text("[1]")
    with pytest.raises(MaeError, match=r"config\.yaml is damaged"):
        compare(runs)
