"""What several seeds of one evaluation found, together."""

import pytest
from evaluated import write_evaluation

from mae_core.evaluation.seeds import join_seeds, seen_from_above


def test_seeds_are_joined(tmp_path):
    def draw(index, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"png")

    def evaluate(seed):
        return write_evaluation(tmp_path / f"seed-{seed}", num_right=8 - seed, seed=seed, draw=draw, metrics={"loss": 0.5})

    found = [seen_from_above(evaluate(seed)) for seed in (0, 1)]
    both = join_seeds(found)
    assert both.seeds == [0, 1]
    assert both.metrics == {"accuracy": [0.8, 0.7], "loss": [0.5, 0.5]}
    assert abs(both.mean("accuracy") - 0.75) < 1e-12
    assert abs((both.deviation("accuracy") or 0) - 0.005**0.5) < 1e-12  # half of 0.1, times the root of 2
    assert both.confusion == [[6, 2, 0], [0, 5, 1], [2, 0, 4]]
    assert [(pair.true, pair.predicted, pair.count) for pair in both.confused][:1] == [("ant", "bee", 2)]
    assert [each.num_samples for each in both.of_classes] == [4, 3, 3]
    assert [each.score for each in both.of_classes] == pytest.approx([0.75, 5 / 6, 2 / 3])
    assert all((tmp_path / (wrong.picture or "")).is_file() for wrong in both.wrong)
    assert both.seconds == 10.0
    assert join_seeds(found[:1]).deviation("accuracy") is None
