"""The checks of datasets and modalities pass what is sound, and say what is wrong with what is not."""

import pytest

from mae_core.registry import registry
from mae_core.testing import check_dataset, check_modality
from mae_registry import Component


def test_a_sound_dataset_passes():
    check_dataset({"name": "ramps", "count": 2}, sample_shape=(2, 24))
    check_dataset("several_views", sample_shape=(2, 24))
    check_dataset("labelled", sample_shape=(2, 24))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("global_noise", "load uses the global generator of torch. Contract: mae_core.interfaces.Dataset.load"),
        ("remembering", "load(0) with an equal generator gives another sample the second time"),
        ("wrong_shape", "a sample has the shape (2, 23), not (2, 24)"),
        (
            "reads_several_views",
            "what read(0) gives has the shape (3, 2, 24), not (2, 24). Contract: mae_core.interfaces.Dataset.read",
        ),
        ("unpicklable", "pickling it for a worker process failed: PicklingError: an open file"),
        ("endless_previews", "previews gives 1 and 3 where up to 0 and 2 are asked for"),
        ("no_name", "describe(0) is '', no text"),
        ("unsorted_classes", "the names of classes are not sorted, or not different. Contract: mae_core.interfaces.Labels"),
        ("too_few_targets", "there are 3 targets for 4 samples"),
        ("unknown_class", "the targets are not those of 2 classes"),
        ("keeps_labels", "read gives another 'label' than `labels` says, or none"),
        ("one_test_view", "what read_views(0) gives has the shape (1, 2, 24), not (2, 2, 24)"),
        ({"name": "ramps", "count": 1}, "it has 1 samples; the check needs 2"),
    ],
    ids=str,
)
def test_broken_datasets(fails, section, message):
    assert message in fails(check_dataset, section, sample_shape=(2, 24))


@pytest.fixture
def number(tmp_path):
    (tmp_path / "a.txt").write_text("0.5")
    return tmp_path / "a.txt"


def test_a_sound_modality_passes(number):
    check_modality("sound", {"tokenizer": {"length": 21, "side": 7}}, file=number)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("another", "modality 'another': looking it up failed: unknown modalities name 'another'"),
        ("without_masker", "its defaults name no masker. Contract: mae_core.interfaces.Modality.defaults"),
        (
            "careless",
            "reading a file that holds b'' raises ValueError (could not convert string to float: ''), where BadSample",
        ),
        ("pictureless", "picture(reconstructions, path) writes no PNG to `path`"),
        ("silent", "picture(reconstructions, path) must return every path that it wrote"),
        ("picture_nowhere", "importing `picture` failed: AttributeError"),
        ("loud", "['TXT'] must be lower case with the dot"),
        ("unused_weight", "no finite gradient reaches backbone.inputs.unused_weight.tokenizer.extra"),
    ],
)
def test_broken_modalities(fails, name, message, number):
    if name == "another":  # registered under another name than its own
        registry()._components.pop(("modalities", "another"))
    assert message in fails(check_modality, name, file=number)


def test_a_modality_under_another_name(fails):
    registry().add(Component("modalities", "alias", "broken_data:MISNAMED", "test"))
    assert "it calls itself 'another'" in fails(check_modality, "alias")


def test_parts_that_do_not_fit_the_modality(fails):
    assert "building its model failed: " in fails(check_modality, "sound", {"tokenizer": {"side": 5}})
