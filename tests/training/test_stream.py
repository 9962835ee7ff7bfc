"""From data sets to micro-batches: extras, replacements, and loaders whose workers fail, hang or die."""

import contextlib
import multiprocessing
import os
import signal
import time

import pytest
import torch
from tones import Tones

from mae_core.interfaces import Sample
from mae_core.training import workers
from mae_core.training.plan import Key, MicroBatches, Plan
from mae_core.training.sources import Source
from mae_core.training.stream import Loaded, Samples, collate, make_loader, running
from mae_registry import MaeError

SHAPE = (3, 8, 8)


def loader(dataset, *, num_workers, batch_size=4):
    sources = {"image": Source({"image": dataset})}
    plan = Plan({"image": len(dataset)}, batch_size=batch_size, num_epochs=2, seed=0)
    batches = MicroBatches(plan, device_batch={"image": 2}, share=range(batch_size), first_step=0)
    return make_loader(Samples(sources, 0), batches, num_workers=num_workers, pin_memory=False)


def load_all(dataset, *, num_workers):
    with running(loader(dataset, num_workers=num_workers)) as batches:
        return list(batches)


def test_a_process_with_little_to_load_starts_no_idle_workers():
    samples = Samples({"image": Source({"image": Tones(SHAPE)})}, 0)
    loaders = [make_loader(samples, [[]] * size, num_workers=2, pin_memory=False) for size in (0, 1, 9)]
    assert [loader.torch.num_workers for loader in loaders] == [0, 1, 2]


@pytest.mark.parametrize("num_views", [1, 3])
def test_extras_come_with_their_samples_through_workers(num_views):
    dataset = Tones(SHAPE, num_views=num_views)
    here, there = (load_all(dataset, num_workers=number) for number in (0, 2))
    assert len(here) == len(there) == 24
    for one, other in zip(here, there, strict=True):
        assert one.names == other.names
        sample, same = one.samples["image"], other.samples["image"]
        assert sample.x.shape == (2 * num_views, *SHAPE)
        assert torch.equal(sample.x, same.x)
        expected = [int(name.split()[1]) % 3 for name in one.names for _ in range(num_views)]
        assert sample.extras["label"].tolist() == same.extras["label"].tolist() == expected


def test_a_share_of_a_batch_is_what_one_device_loads():
    plan = Plan({"a": 24}, batch_size=8, num_epochs=1, seed=0)
    shares = [list(MicroBatches(plan, device_batch={"a": 2}, share=share, first_step=1)) for share in (range(4), range(4, 8))]
    for number, step in enumerate((1, 2)):
        own = [[key for batch in share[2 * number : 2 * number + 2] for key in batch] for share in shares]
        assert own[0] + own[1] == plan.keys(step)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ({"time": torch.zeros(1, 3)}, {"time": torch.zeros(1, 4)}, "the extra 'time' must have one shape"),
        ({"time": torch.zeros(1)}, {}, "must have the same extras; found none and time"),
    ],
)
def test_extras_must_be_the_same_in_a_batch(one, other, message):
    x = torch.zeros(1, 2)
    batch = collate([Loaded({"image": Sample(x, extras)}, ["a"]) for extras in (one, other)])
    with pytest.raises(MaeError, match=rf"data\.image.*{message}"):
        batch.to(torch.device("cpu"))


def test_samples_of_unequal_shapes_are_told():
    batch = collate([Loaded({"image": Sample(torch.zeros(1, size))}, ["a"]) for size in (2, 3)])
    with pytest.raises(MaeError, match=r"data\.image: in one batch, samples must have one shape; found \(2,\) and \(3,\)"):
        batch.to(torch.device("cpu"))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_mistake_of_a_data_set_names_sample_and_cause(num_workers):
    failed = [batch for batch in load_all(Tones(SHAPE, mistakes=[5]), num_workers=num_workers) if batch.failure]
    assert len(failed) == 2  # it comes once an epoch, and nothing else is lost
    with pytest.raises(MaeError, match=r"data\.image: sample tone 5 could not be loaded: ZeroDivisionError: one by nothing"):
        failed[0].to(torch.device("cpu"))


def test_a_sample_that_cannot_be_read_is_replaced():
    samples = Samples({"image": Source({"image": Tones(SHAPE, bad=[2])})}, 0)
    loaded = samples[Key("image", 0, 2)]
    (replaced,) = loaded.replaced
    assert (replaced["sample"], replaced["reason"]) == ("tone 2", "tone 2 is torn")
    assert loaded.names == [replaced["replaced_by"]]
    assert loaded.names != ["tone 2"]


def assert_read_as_if_bad(loaded, *, number):
    """Every batch is the same as if sample `number` could not be read."""
    expected = load_all(Tones(SHAPE, bad=[number]), num_workers=0)
    assert [batch.names for batch in loaded] == [batch.names for batch in expected]
    assert all(torch.equal(*(each.samples["image"].x for each in pair)) for pair in zip(loaded, expected, strict=True))
    assert [each["sample"] for batch in loaded for each in batch.replaced] == [f"tone {number}"] * 2  # once an epoch


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_sample_at_which_a_worker_crashes_is_replaced_as_a_bad_one_is(num_workers):
    loaded = load_all(Tones(SHAPE, fatal=[3]), num_workers=num_workers)
    assert_read_as_if_bad(loaded, number=3)
    assert {each["reason"] for batch in loaded for each in batch.replaced} == {
        "tone 3: the worker that read it ended by signal 11 (SIGSEGV)"
    }


def test_a_sample_at_which_a_worker_is_killed_is_read_once_more_before_it_is_blamed():
    with pytest.warns(UserWarning, match="the worker that read tone 3 was killed") as warned:
        loaded = load_all(Tones(SHAPE, fatal=[3], fatal_signal=signal.SIGKILL), num_workers=2)
    assert len(warned) == 1
    assert_read_as_if_bad(loaded, number=3)


def test_killing_workers_changes_nothing():
    with running(loader(Tones(SHAPE), num_workers=2)) as batches:
        loaded = [next(batches)]
        for worker in multiprocessing.active_children():
            worker.kill()
        with pytest.warns(UserWarning, match="signal 9|was killed"):
            loaded += batches
    expected = load_all(Tones(SHAPE), num_workers=0)
    assert [batch.names for batch in loaded] == [batch.names for batch in expected]


def end_the_process(items):
    os._exit(7)


@pytest.mark.filterwarnings("ignore:a process that loads data")
def test_workers_that_always_die_end_the_run_with_a_reason():
    batches = [[Key("image", 0, 2)]]
    samples = Samples({"image": Source({"image": Tones(SHAPE)})}, 0)
    dying = make_loader(samples, batches, num_workers=1, pin_memory=False, join=end_the_process)
    with pytest.raises(MaeError, match=r"with exit code 7 .*train\.num_workers=0"), running(dying) as loaded:
        next(loaded)


class Hangs(Tones):
    def load(self, index, *, random):
        if index > 11:
            time.sleep(600)
        return super().load(index, random=random)


def test_workers_that_hang_do_not_keep_a_run_from_ending(monkeypatch):
    monkeypatch.setattr(workers, "GRACE", 0.5)
    started = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt), running(loader(Hangs(SHAPE), num_workers=2)) as batches:
        next(batches)
        started = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - started < 10
