import importlib.machinery
import importlib.util
import os
import sys
import types
import wave

import numpy as np
import pytest
import torch

from mae_core.interfaces import BadSample
from mae_core.training.plan import Key
from mae_core.training.sources import Source
from mae_core.training.stream import Samples, make_loader, running
from mae_registry import ConfigError
from mae_video.clips import ClipSampler, read_clip
from mae_video.datasets import VideoFolder
from mae_video.pyav_reader import PyAvVideo
from mae_video.reading import MODULES, find_reader, open_video
from mae_video.tokenizer import Tubelets

INSTALLED = [name for name, module in MODULES.items() if importlib.util.find_spec(module)]
readers = pytest.mark.parametrize("reader", INSTALLED)
avi_readers = pytest.mark.parametrize("reader", [name for name in INSTALLED if name != "torchcodec"])


def numbers(frames):
    """Which frames these are; see conftest.grey_frames."""
    return (frames.float().mean((1, 2, 3)) / 4).round().int().tolist()


@avi_readers
def test_frames_come_in_the_order_asked_for(reader, write_avi):
    with open_video(write_avi(), reader) as video:
        assert (video.num_frames, video.fps) == (40, pytest.approx(10))
        frames = video.frames([0, 39, 7, 7, 12])
    assert frames.shape == (5, 3, 48, 64)
    assert numbers(frames) == [0, 39, 7, 7, 12]


@readers
def test_frames_of_a_file_with_b_frames_and_several_key_frames(reader, write_mp4):
    path = write_mp4(times=range(60))
    for indices in ([0], [59], [30, 2, 31], list(range(60)), [11, 12, 13, 24, 58]):
        with open_video(path, reader) as video:
            assert numbers(video.frames(indices)) == indices


@readers
def test_sampling_follows_time_at_a_variable_rate(reader, write_mp4):
    # 20 frames of 1/30 s, then 20 of 1/10 s
    times = [*range(20), *range(20, 80, 3)]
    with open_video(write_mp4(times=times), reader) as video:
        shown = numbers(video.frames_at([0, 10 / 30, 19.9 / 30, 20 / 30, 22.5 / 30, 23 / 30, 50 / 30, 99]))
    assert shown == [0, 10, 19, 20, 20, 21, 30, 39]


@pytest.mark.data
def test_every_reader_gives_the_same_frames(data):
    for path in sorted(data.iterdir()):
        if path.name.startswith("CORRUPT"):
            continue
        for fps in (None, 12.0):
            clips, rates = [], []
            for reader in INSTALLED:
                if reader == "torchcodec" and path.suffix == ".avi":
                    continue
                with open_video(path, reader) as video:
                    clips.append(ClipSampler(8, 4, fps).read(video, 0.3))
                    rates.append(video.fps)
            assert all(bool((clip == clips[0]).all()) for clip in clips), path.name
            assert rates == pytest.approx([rates[0]] * len(rates), rel=1e-6)


@readers
@pytest.mark.data
def test_a_corrupt_file_is_refused_on_one_line(reader, data):
    path = data / "CORRUPT_truncated_h264.mp4"
    with pytest.raises(BadSample) as error, open_video(path, reader) as video:
        video.frames(range(0, 48, 3))
    assert str(error.value).startswith(f"{path}: the video cannot be decoded: ")
    assert "\n" not in str(error.value)


PLAYLISTS = (
    b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.avi\n#EXT-X-ENDLIST\n",
    b"ffconcat version 1.0\nfile secret.avi\n",
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
)


@readers
@pytest.mark.parametrize("playlist", PLAYLISTS)
def test_playlists_open_no_other_file(reader, playlist, write_avi, tmp_path):
    write_avi("secret.avi", num_frames=4)
    for name in ("a.mp4", "a.avi"):
        (tmp_path / name).write_bytes(playlist)
        with pytest.raises(BadSample, match="not a video"), open_video(tmp_path / name, reader):
            pass


@pytest.mark.parametrize("error", [MemoryError(), SystemError("of C"), ValueError("a\nb")])
def test_whatever_a_decoder_raises_is_a_bad_sample(error, write_avi):
    with pytest.raises(BadSample, match="the video cannot be decoded: "), open_video(write_avi(num_frames=4)):
        raise error


JUNK = b"\0\0\0\x18ftypisom" + b"no video " * 100
"""What begins as an MP4 file."""


@readers
def test_what_is_no_video_is_refused(reader, tmp_path):
    empty, text, junk, sound = (tmp_path / f"{name}.mp4" for name in ("empty", "text", "junk", "sound"))
    empty.touch()
    text.write_text("no video " * 100)
    junk.write_bytes(JUNK)
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000))
    expected = {
        empty: "the file is empty",
        text: "it is not a video in a container that can be read .*",
        junk: "the video cannot be decoded: .*",
        sound: "it is not a video in a container that can be read .*",
        tmp_path / "missing.mp4": "the file cannot be read: No such file or directory",
    }
    for path, reason in expected.items():
        with pytest.raises(BadSample, match=f"^{path}: {reason}$"), open_video(path, reader):
            pass


def test_messages_do_not_change_from_run_to_run(tmp_path):
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(JUNK)
    for reader in INSTALLED:
        with pytest.raises(BadSample) as error, open_video(junk, reader):
            pass
        assert "[" not in str(error.value).replace("[Errno", "")  # decord's begin with the time of day


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
@readers
def test_a_truncated_mp4_is_refused_or_read_but_never_hangs(reader, cut, write_mp4):
    path = write_mp4(times=range(60))
    data = path.read_bytes()
    path.write_bytes(data[: int(cut * len(data))])  # the index of an MP4 is at its end
    with pytest.raises(BadSample), open_video(path, reader) as video:
        video.frames(range(60))


def test_an_error_of_ours_inside_the_block_is_not_taken_for_the_files(write_avi):
    with pytest.raises(ConfigError, match="mine"), open_video(write_avi()):
        raise ConfigError("mine")


def test_readers_that_are_missing_or_broken(monkeypatch, write_avi):
    monkeypatch.setattr("mae_video.reading.MODULES", {"decord": "no_such_module", "pyav": "neither_this"})
    with pytest.raises(ConfigError, match=r"^reader 'pyav' is not installed: pip install neither_this, or choose another"):
        find_reader("pyav")
    with (
        pytest.raises(ConfigError, match=r"^reader 'auto' is not installed: pip install no_such_module"),
        open_video(write_avi()),
    ):
        pass


def test_auto_takes_the_first_that_is_installed(monkeypatch):
    monkeypatch.setattr("mae_video.reading.MODULES", {"decord": "no_such_module", "pyav": "json"})
    assert find_reader("auto") == "pyav"


class Counted:
    """A video of 300 frames at 30 a second that notes which ones it is asked for."""

    num_frames, fps = 300, 30.0

    def frames(self, indices):
        self.asked = list(indices)

    def frames_at(self, seconds):
        self.asked = [int(second * self.fps + 1e-3) for second in seconds]


def asked(sampler, start, **facts):
    video = Counted()
    video.__dict__.update(facts)
    sampler.read(video, start)
    return video.asked


def test_stride_counts_frames():
    sampler = ClipSampler(16, 4)
    assert asked(sampler, 0.0) == list(range(0, 64, 4))
    assert asked(sampler, 0.999999) == list(range(236, 300, 4))
    assert asked(sampler, 0.0, fps=10.0) == list(range(0, 64, 4))


def test_a_short_file_repeats_its_last_frame():
    assert asked(ClipSampler(4, 4), 0.7, num_frames=10) == [0, 4, 8, 9]
    assert asked(ClipSampler(4, 4), 0.7, num_frames=1) == [0, 0, 0, 0]
    assert asked(ClipSampler(4, 4, 30.0), 0.7, num_frames=1) == [0, 0, 0, 0]
    assert max(asked(ClipSampler(16, 4, 30.0), 0.7, num_frames=10)) == 9


@pytest.mark.parametrize(("fps", "start"), [(30.0, 0.0), (15.0, 0.5), (60.0, 1.0), (29.97, 0.25)])
def test_fps_corrected_sampling_is_the_published_rule(fps, start):
    span = 16 * 4 / 30.0 * fps
    first = start * max(0, 300 - span)
    expected = np.linspace(first, first + span - 1, 16).clip(0, 299)
    assert np.abs(np.array(asked(ClipSampler(16, 4, 30.0), start, fps=fps)) - np.floor(expected + 1e-3)).max() == 0


def test_read_clip_gives_the_middle_and_goes_closer_in_short_files(write_avi):
    tokenizer = Tubelets(8, input_size=(4, 32, 32), patch_size=(2, 16, 16))
    clip = read_clip(write_avi(num_frames=40), tokenizer)
    assert clip.shape == (3, 4, 32, 32)
    assert numbers(clip.transpose(0, 1)) == [12, 16, 20, 24]
    assert numbers(read_clip(write_avi(num_frames=8), tokenizer).transpose(0, 1)) == [0, 2, 4, 6]
    assert numbers(read_clip(write_avi(num_frames=1), tokenizer).transpose(0, 1)) == [0, 0, 0, 0]
    with pytest.raises(ConfigError, match="the tokenizer takes 1 channels; videos give 3"):
        read_clip(os.devnull, Tubelets(8, input_size=(4, 32, 32), patch_size=(2, 16, 16), channels=1, mean=(0,), std=(1,)))


@pytest.mark.data
def test_full_hd(data):
    clip = read_clip(data / "demo_skeleton.mp4", Tubelets(8))
    assert clip.shape == (3, 16, 224, 224)


def test_pyav_decodes_from_the_last_key_frame_on_and_no_frame_that_nothing_needs(write_mp4):
    av = pytest.importorskip("av")

    class Packet:
        def __init__(self, packet):
            self.packet = packet

        def __getattr__(self, name):
            return getattr(self.packet, name)

        def decode(self):
            frames = self.packet.decode()
            decoded.extend(frames)
            return frames

    class Container:
        def __init__(self, container):
            self.container = container

        def __getattr__(self, name):
            return getattr(self.container, name)

        def demux(self, stream):
            return map(Packet, self.container.demux(stream))

    decoded: list[object] = []
    with av.open(str(write_mp4(times=range(60), key_every=12))) as container:
        video = PyAvVideo(Container(container))
        whole = video.frames(range(60))
        assert len(decoded) == 60
        assert numbers(whole) == list(range(60))
        for indices, most in (([2, 50], 6), (range(0, 60, 4), 60 - 12), ([11, 12, 13, 59], 28)):
            decoded.clear()
            assert torch.equal(video.frames(indices), whole[list(indices)])
            assert len(decoded) <= most


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.ts", "libx264"), ("a.mpg", "mpeg2video"), ("a.mp4", "mpeg4"), ("a.mkv", "libx265"), ("a.webm", "libsvtav1")],
)
def test_pyav_gives_the_frames_of_decoding_from_start_to_end(name, codec, write_mp4):
    av = pytest.importorskip("av")
    path = write_mp4(name, times=range(60), size=(96, 128), codec=codec)
    with av.open(str(path)) as container:
        whole = torch.stack([torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)])
    for indices in (range(60), range(1, 60, 4), [29], [13, 47, 58]):
        with open_video(path, "pyav") as video:
            assert video.num_frames == 60
            assert torch.equal(video.frames(indices), whole[list(indices)].permute(0, 3, 1, 2))


def test_a_damaged_file_is_told_of_once_and_not_by_the_decoder(tmp_path, capfd):
    pytest.importorskip("decord")
    path = tmp_path / "cut.mp4"
    path.write_bytes(b"\0\0\0\x20ftypisom" + bytes(4000))
    with pytest.raises(BadSample) as error, open_video(path, "decord"):
        pass
    assert capfd.readouterr().err == ""
    assert "/workspace/" not in str(error.value)


class StandInDecoder:
    """What of torchcodec a machine without its libraries or a GPU can try."""

    def __init__(self, source, **settings):
        self.settings = settings
        self.metadata = types.SimpleNamespace(average_fps=10.0)

    def __len__(self):
        return 40

    def get_frames_at(self, indices):
        assert self.settings["device"] == "cuda"
        return types.SimpleNamespace(data=torch.zeros(len(indices), 3, 48, 64, dtype=torch.uint8))


@pytest.fixture
def torchcodec(monkeypatch):
    """A stand-in for the package."""
    package, decoders = types.ModuleType("torchcodec"), types.ModuleType("torchcodec.decoders")
    package.__spec__ = importlib.machinery.ModuleSpec("torchcodec", None)
    vars(decoders)["VideoDecoder"] = StandInDecoder
    monkeypatch.setitem(sys.modules, "torchcodec", package)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)


def test_a_gpu_decodes_where_it_is_asked_to(torchcodec, monkeypatch, write_mp4):
    path = write_mp4(times=range(4))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with open_video(path, "torchcodec_gpu") as video:
        assert (video.num_frames, video.frames([0, 3]).shape) == (40, (2, 3, 48, 64))


def test_decoding_on_a_gpu_needs_one_and_no_workers(torchcodec, monkeypatch, write_mp4):
    path = write_mp4(times=range(4))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"^reader 'torchcodec_gpu' needs a GPU, and there is none that torch can"):
        find_reader("torchcodec_gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    folder = VideoFolder((3, 2, 16, 16), root=str(path.parent), reader="torchcodec_gpu")
    samples = Samples({"video": Source({"video": folder})}, 0)
    loader = make_loader(samples, [[Key("video", 0, 0)]], num_workers=1, pin_memory=False)
    with running(loader) as loaded:
        assert next(loaded).failure.endswith("set train.num_workers=0")
