"""Which samples make each step: every sample once an epoch, the same whatever loads them, modalities by weight."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mae_core.interfaces import Draws
from mae_core.training.plan import Key, MicroBatches, Plan
from mae_registry import ConfigError


def all_keys(plan):
    return [plan.keys(step) for step in range(plan.num_steps)]


@given(size=st.integers(1, 60), batch_size=st.integers(1, 12), num_epochs=st.integers(1, 4), seed=st.integers(0, 99))
def test_an_epoch_takes_every_sample_at_most_once_in_whole_batches(size, batch_size, num_epochs, seed):
    if size < batch_size:
        return
    plan = Plan({"a": size}, batch_size=batch_size, num_epochs=num_epochs, seed=seed)
    assert plan.steps_per_epoch == size // batch_size
    batches = all_keys(plan)
    assert len(batches) == num_epochs * (size // batch_size)
    assert {len(batch) for batch in batches} == {batch_size}
    for epoch in range(num_epochs):
        taken = [key.sample for batch in batches for key in batch if key.epoch == epoch]
        assert len(taken) == len(set(taken)) == size // batch_size * batch_size
        assert set(taken) <= set(range(size))


def test_epochs_and_seeds_are_shuffled_differently():
    plan = Plan({"a": 50}, batch_size=50, num_epochs=2, seed=0)
    other = Plan({"a": 50}, batch_size=50, num_epochs=2, seed=1)
    orders = [[key.sample for key in p.keys(step)] for p in (plan, other) for step in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert all(sorted(order) == list(range(50)) for order in orders)


@pytest.mark.parametrize("first_step", [0, 1, 5, 11, 12])
def test_micro_batches_cut_steps_and_go_on_anywhere(first_step):
    plan = Plan({"a": 26, "b": 24}, batch_size=8, num_epochs=2, seed=3)
    micro_batches = list(MicroBatches(plan, device_batch={"a": 4, "b": 2}, share=range(8), first_step=first_step))
    assert [key for batch in micro_batches for key in batch] == [key for batch in all_keys(plan)[first_step:] for key in batch]
    assert all(len(batch) == {"a": 4, "b": 2}[batch[0].source] for batch in micro_batches)


def test_a_step_takes_one_modality_and_each_modality_its_own_epochs():
    plan = Plan({"a": 16, "b": 8}, batch_size=4, num_epochs=30, seed=0)
    assert plan.steps_per_epoch == 6
    per_modality = {"a": [], "b": []}
    for step, batch in enumerate(all_keys(plan)):
        (modality,) = {key.source for key in batch}
        assert modality == plan.source(step)
        per_modality[modality] += batch
    for modality, size in plan.sizes.items():
        keys = per_modality[modality]
        assert [key.epoch for key in keys] == sorted(key.epoch for key in keys)
        for epoch in range(keys[-1].epoch):
            assert sorted(key.sample for key in keys if key.epoch == epoch) == list(range(size))
    assert set(per_modality["a"][:16]) == {Key("a", 0, index) for index in range(16)}


def test_modalities_come_in_proportion_to_their_batches_or_by_weight():
    def shares(**weights):
        plan = Plan({"a": 300, "b": 100}, batch_size=1, num_epochs=10, seed=0, weights=weights or None)
        counts = Counter(plan.source(step) for step in range(plan.num_steps))
        return counts["a"] / plan.num_steps

    assert shares() == pytest.approx(0.75, abs=0.03)
    assert shares(a=1.0, b=4.0) == pytest.approx(0.2, abs=0.03)


def drawn(weights, number, *, batch_size=1, num_epochs=1, seed=0):
    """The samples of each epoch."""
    draws = {"a": Draws(number, torch.tensor(weights, dtype=torch.float64))}
    plan = Plan({"a": len(weights)}, batch_size=batch_size, num_epochs=num_epochs, seed=seed, draws=draws)
    keys = [key for batch in all_keys(plan) for key in batch]
    return [[key.sample for key in keys if key.epoch == epoch] for epoch in range(num_epochs)]


def test_an_epoch_that_is_drawn_takes_its_number_of_samples_and_none_twice():
    epochs = drawn([1.0] * 30, 10, batch_size=3, num_epochs=4)
    assert [len(epoch) for epoch in epochs] == [9] * 4
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert drawn([1.0] * 30, 10, batch_size=3, num_epochs=4) == epochs
    assert drawn([1.0] * 30, 10, batch_size=3, num_epochs=4, seed=1) != epochs
    assert sorted(drawn([0.5] * 8, 8)[0]) == list(range(8))


def test_samples_are_drawn_as_often_as_their_weights_say():
    counts = Counter(epoch[0] for epoch in drawn([1.0, 2.0, 0.0, 5.0], 1, num_epochs=2000))
    assert counts[2] == 0
    for sample, share in ((0, 1 / 8), (1, 2 / 8), (3, 5 / 8)):
        assert counts[sample] / 2000 == pytest.approx(share, abs=0.045)  # four standard deviations
    # those of large weight do not come first
    epochs = drawn([1.0, 100.0], 2, num_epochs=400)
    assert sum(epoch[0] == 1 for epoch in epochs) == pytest.approx(200, abs=40)


def test_mistakes():
    with pytest.raises(ConfigError, match=r"3 samples an epoch do not fill .*batch_size=4; .* train\.batch_size=1$"):
        Plan({"a": 8, "b": 3}, batch_size=4, num_epochs=1, seed=0)
    with pytest.raises(ConfigError, match=r"train.weights names a, c, but the data are a, b"):
        Plan({"a": 8, "b": 8}, batch_size=4, num_epochs=1, seed=0, weights={"a": 1.0, "c": 1.0})
    with pytest.raises(ConfigError, match=r"data\.a: an epoch is 4 samples, none of them twice, but there are 3 to take"):
        drawn([1.0, 0.0, 1.0, 1.0], 4)
