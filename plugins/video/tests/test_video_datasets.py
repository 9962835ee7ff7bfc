import json
import os
import pickle
from random import Random

import numpy as np
import pytest
import torch
from in_shards import in_shards
from PIL import Image

from mae_core.data.boxes import Box
from mae_core.data.rand_augment import RandAugment
from mae_core.interfaces import BadSample
from mae_registry import ConfigError
from mae_video.crops import center_crop, crop, multi_scale_box
from mae_video.datasets import MULTI_SCALE, VideoFolder
from mae_video.demo import (
    MAX_PAN,
    MAX_ZOOM,
    NUM_FRAMES,
    NUM_PATHS,
    PHOTOGRAPHS,
    SIDE,
    WINDOW,
    MovingPhotographs,
    move_camera,
)
from mae_video.modality import VIDEO
from mae_video.reading import open_video

SHAPE = (3, 4, 32, 32)


def test_a_folder_lists_videos_by_suffix_in_order(write_avi, tmp_path):
    for name in ("b.AVI", "a/x.mp4", "a/b/y.mkv", "c.webm", ".hidden/z.avi", "a/._x.mp4", "a/notes.txt"):
        write_avi(name, num_frames=4)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    folder = VideoFolder(SHAPE, root=str(tmp_path))
    names = [os.path.relpath(folder.describe(index), tmp_path) for index in range(len(folder))]
    assert names == ["a/b/y.mkv", "a/x.mp4", "b.AVI", "c.webm"]
    assert folder.describe(2) == str(tmp_path / "b.AVI")


def test_a_load_depends_on_its_arguments_alone(write_avi, tmp_path):
    for number in range(3):
        write_avi(f"{number}.avi", num_frames=30 + number)
    folder = VideoFolder(SHAPE, root=str(tmp_path), flip=0.5)
    first = folder.load(1, random=Random(5))
    assert first.shape == SHAPE
    assert first.dtype == torch.uint8
    folder.load(2, random=Random(1))
    assert torch.equal(pickle.loads(pickle.dumps(folder)).load(1, random=Random(5)), first)
    assert any(not torch.equal(folder.load(1, random=Random(seed)), first) for seed in range(5))


def test_several_views_are_crops_of_one_clip(tmp_path):
    videos = MovingPhotographs(SHAPE, folder=str(tmp_path), split="held_out")
    folder = VideoFolder(SHAPE, root=str(tmp_path / "held_out"), num_views=3)
    assert folder.num_views == 3
    views = folder.load(0, random=Random(0))
    assert views.shape == (3, *SHAPE)
    assert not torch.equal(views[0], views[1])
    alone = VideoFolder(SHAPE, root=str(tmp_path / "held_out")).load(0, random=Random(0))
    assert torch.equal(alone, views[0])
    assert len(videos) == NUM_PATHS * 2


def test_previews_are_the_middles_and_leave_out_what_cannot_be_read(write_avi, tmp_path):
    write_avi("a.avi", num_frames=16)
    (tmp_path / "b.mp4").touch()
    write_avi("c.avi", num_frames=40)
    previews = VideoFolder(SHAPE, root=str(tmp_path)).previews(9)
    assert [(preview.title, preview.note) for preview in previews] == [("a.avi", "training"), ("c.avi", "training")]
    assert (previews[1].sample.float().mean((0, 2, 3)) / 4).round().tolist() == [12, 16, 20, 24]


TINY = """
model:
  encoder: {name: vit, width: 16, depth: 1, heads: 2, class_token: false}
  modalities:
    video:
      tokenizer: {name: tubelets, input_size: [4, 32, 32]}
      masker: {name: random, ratio: 0.5}
      decoder: {name: vit, width: 16, depth: 1, heads: 2}
data: {video: {name: video_folder, root: null, num_views: 2}}
optimizer: {name: adamw, lr: 1e-3}
schedule: {name: cosine, warmup_epochs: 0}
train: {epochs: 2, batch_size: 8, num_workers: 2, num_pictures: 1, max_bad_share: 1.0}
"""


def test_training_replaces_counts_and_lists_bad_files_and_no_worker_dies(forks, write_avi, tmp_path):
    for number in range(5):
        write_avi(f"clips/good{number}.avi", num_frames=20)
    whole = write_avi("clips/cut.avi", num_frames=20)
    whole.write_bytes(whole.read_bytes()[:200])
    (tmp_path / "clips" / "empty.mp4").touch()
    (tmp_path / "clips" / "text.mkv").write_text("no video")
    (tmp_path / "tiny.yaml").write_text(TINY)
    done = forks.mae("pretrain", "tiny.yaml", "data.video.root=clips", "--out", "run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    bad = [json.loads(line) for line in (tmp_path / "run" / "bad_samples.jsonl").read_text().splitlines()]
    assert {os.path.basename(item["sample"]) for item in bad} == {"empty.mp4", "text.mkv", "cut.avi"}
    assert all("good" in item["replaced_by"] for item in bad)
    assert f"{tmp_path}/clips/empty.mp4: the file is empty" in {item["reason"] for item in bad}
    assert list((tmp_path / "run" / "pictures").glob("*.gif"))


def test_an_unreadable_file_is_a_bad_sample(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(BadSample, match=f"^{tmp_path}/empty.mp4: the file is empty$"):
        VideoFolder(SHAPE, root=str(tmp_path)).load(0, random=Random(0))


def test_wrong_folders_and_options(tmp_path, write_avi):
    with pytest.raises(ConfigError, match=r"add data\.video\.root=DIR"):
        VideoFolder(SHAPE)
    with pytest.raises(ConfigError, match=f"there is no folder {tmp_path}/none"):
        VideoFolder(SHAPE, root=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=f"{tmp_path} contains no videos; .* .mp4"):
        VideoFolder(SHAPE, root=str(tmp_path))
    write_avi()
    with pytest.raises(ConfigError, match=r"give multi_scale, or crop_scale, and set the other to null"):
        VideoFolder(SHAPE, root=str(tmp_path), crop_scale=(0.5, 1.0))
    with pytest.raises(ConfigError, match=r"crop_scale is \[1, 0\.5\]; .* the lower one first"):
        VideoFolder(SHAPE, root=str(tmp_path), multi_scale=None, crop_scale=(1.0, 0.5))


def test_labels_are_repeated_for_every_view(write_avi, tmp_path):
    for name in ("run", "walk"):
        write_avi(f"{name}/1.avi", num_frames=20)
    options = {"root": str(tmp_path), "labels": "folders"}
    assert VideoFolder(SHAPE, **options).labels.names == ("run", "walk")
    one = VideoFolder(SHAPE, **options).load(1, random=Random(0))
    assert (one.x.shape, one.extras["label"].tolist()) == (SHAPE, 1)
    assert VideoFolder(SHAPE, **options).read(1).extras["label"].tolist() == 1
    two = VideoFolder(SHAPE, **options, num_views=2).load(1, random=Random(0))
    assert (two.x.shape, two.extras["label"].tolist()) == ((2, *SHAPE), [1, 1])
    assert VideoFolder(SHAPE, **options).read_views(1).extras["label"].tolist() == [1]
    many = VideoFolder(SHAPE, **options, test_clips=2, test_crops=3).read_views(1)
    assert (many.x.shape, many.extras["label"].tolist()) == ((6, *SHAPE), [1] * 6)


def test_views_for_testing_are_spread_over_time_and_over_the_longer_side(write_avi, tmp_path):
    path = write_avi("a.avi", num_frames=21)
    with open_video(path) as video:
        every = video.frames(range(21))
    height, width = every.shape[2:]
    assert width > height
    folder = VideoFolder(SHAPE, root=str(tmp_path), stride=2, test_clips=5, test_crops=3)
    assert folder.num_test_views == 15
    views = folder.read_views(0).x
    # clips span 8 frames, so that they may start at 0 to 13
    for number, (first, left) in enumerate((first, left) for first in (0, 3, 7, 10, 13) for left in (0, 0.5, 1)):
        box = Box(0, round(left * (width - height)), height, height)
        expected = crop(every[first : first + 7 : 2], box, SHAPE, antialias=True)
        assert torch.equal(views[number], expected), (first, left)
    alone = VideoFolder(SHAPE, root=str(tmp_path), stride=2)
    assert torch.equal(alone.read_views(0).x[0], alone.read(0))


def test_rand_augment_changes_all_frames_of_a_clip_alike(write_avi, tmp_path):
    write_avi("a.avi", num_frames=20)
    options = {"root": str(tmp_path), "multi_scale": None, "crop_scale": (0.5, 1.0), "flip": 0.5}
    plain, folder = VideoFolder(SHAPE, **options), VideoFolder(SHAPE, **options, auto_augment="rand-m7-n4-mstd0.5-inc1")
    augment = RandAugment("rand-m7-n4-mstd0.5-inc1", size=SHAPE[2:], fill=(128, 128, 128))
    changed = 0
    for seed in range(10):
        found, random = folder.load(0, random=Random(seed)), Random(seed)
        sample = plain.load(0, random=random)
        expected = augment(sample.transpose(0, 1), random=random).transpose(0, 1)
        assert torch.equal(found, expected)
        changed += not torch.equal(found, sample)
    assert changed > 5
    assert torch.equal(folder.read(0), plain.read(0))


def test_multi_scale_boxes_are_the_published_ones():
    boxes = {multi_scale_box(240, 320, (3, 16, 224, 224), MULTI_SCALE, Random(seed)) for seed in range(4000)}
    # 240 x 0.875 = 210, x 0.75 = 180, x 0.66 = 158; neighbours may be paired
    sides = {(box.height, box.width) for box in boxes}
    assert sides == {
        (a, b) for i, a in enumerate((240, 210, 180, 158)) for j, b in enumerate((240, 210, 180, 158)) if abs(i - j) < 2
    }
    places = {(box.top, box.left) for box in boxes if (box.height, box.width) == (180, 180)}
    assert len(places) == 13
    assert {(0, 0), (0, 140), (60, 0), (60, 140), (30, 70), (15, 35), (45, 105), (30, 0)} <= places


def test_a_side_near_the_samples_is_the_samples():
    boxes = {multi_scale_box(226, 300, (3, 16, 224, 224), (1.0,), Random(seed)) for seed in range(100)}
    assert {(box.height, box.width) for box in boxes} == {(224, 224)}


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (31, 33), (64, 48)])
def test_frames_of_any_size_are_cropped(size):
    frames = torch.randint(256, (4, 3, *size), dtype=torch.uint8)
    assert center_crop(frames, SHAPE).shape == SHAPE
    for seed in range(20):
        box = multi_scale_box(*size, SHAPE, MULTI_SCALE, Random(seed))
        assert crop(frames, box, SHAPE, antialias=True).shape == SHAPE


def test_all_frames_are_cropped_alike():
    frame = torch.randint(256, (3, 48, 64), dtype=torch.uint8)
    sample = crop(frame.expand(4, -1, -1, -1), Box(3, 5, 40, 50), SHAPE, antialias=True)
    assert torch.equal(sample[:, :1].expand(-1, 4, -1, -1), sample)


def test_moving_photographs_hold_two_out_and_are_made_once(tmp_path):
    videos = MovingPhotographs(SHAPE, folder=str(tmp_path), repeats=2, stride=2)
    num_files = NUM_PATHS * len(PHOTOGRAPHS["train"])
    assert len(videos) == 2 * num_files
    path = videos.describe(3)
    assert videos.describe(3 + num_files) == path
    written = os.stat(path).st_mtime_ns
    assert torch.equal(
        MovingPhotographs(SHAPE, folder=str(tmp_path), repeats=2, stride=2).load(3, random=Random(0)),
        videos.load(3, random=Random(0)),
    )
    assert os.stat(path).st_mtime_ns == written
    notes = [preview.note for preview in videos.previews(4)]
    assert notes == ["held out", "held out", "training", "training"]
    with open_video(path) as video:
        frames = video.frames([0, video.num_frames - 1]).float()
    assert np.abs((frames[0] - frames[1]).numpy()).mean() > 1  # the camera moves


def test_the_camera_pans_and_zooms_within_its_limits():
    width, height = 200, 160
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    photograph = Image.fromarray(np.stack([x, y, np.zeros_like(x)], axis=2).astype(np.uint8))  # colours tell places
    for seed in range(20):
        frames = move_camera(photograph, Random(seed))
        assert len(frames) == NUM_FRAMES
        assert {frame.shape for frame in frames} == {(SIDE, SIDE, 3)}
        left, top, _ = np.stack([frames[0][0, 0], frames[-1][0, 0]]).T.astype(int)
        sides = np.array([int(frame[0, -1, 0]) - int(frame[0, 0, 0]) + 1 for frame in (frames[0], frames[-1])])
        assert WINDOW[0] * height - 3 < sides[0] < WINDOW[1] * height + 3
        assert 1 / MAX_ZOOM - 0.15 < sides[1] / sides[0] < MAX_ZOOM + 0.15
        for place, length in ((left, width), (top, height)):
            # one that comes near an edge as it zooms out is pushed back by what it grew
            assert abs(place[1] - place[0]) <= MAX_PAN * sides[0] + max(0, sides[1] - sides[0]) + 3
            assert (place + sides <= length + 3).all()


@pytest.mark.parametrize("reader", ["decord", "pyav"])
def test_clips_in_shards_are_those_of_the_folder(reader, write_avi, write_mp4, tmp_path):
    write_avi("files/a/1.avi", num_frames=20)
    (tmp_path / "files" / "b").mkdir()
    write_mp4("files/b/2.mp4", times=range(24))
    (tmp_path / "files" / "b" / "3.avi").write_bytes(b"no video")
    root = in_shards(tmp_path / "files", tmp_path / "s", VIDEO, labels="folders")
    options = {"num_views": 2, "reader": reader}
    folder = VideoFolder(SHAPE, root=str(tmp_path / "files"), labels="folders", **options)
    shards = VideoFolder(SHAPE, root=root, **options)
    for index in range(2):
        first, second = (dataset.load(index, random=Random(index)) for dataset in (folder, shards))
        assert torch.equal(first.x, second.x)
        assert torch.equal(first.extras["label"], second.extras["label"])
    with pytest.raises(BadSample, match=r"/s/000000\.tar:b/3\.avi: it is not a video"):
        shards.load(2, random=Random(0))
