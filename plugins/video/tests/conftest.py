from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mae_video.avi import encode_avi

DATA = Path(__file__).parents[3].parent / "shared" / "data" / "video"


@pytest.fixture
def data() -> Path:
    """Real clips, where they are."""
    if not DATA.is_dir():
        pytest.skip(f"the optional data folder is missing: {DATA}")
    return DATA


def grey_frames(num_frames: int, height: int, width: int) -> list[np.ndarray]:
    """Frame i is grey of the value 4 i: a frame can be told by its mean."""
    return [np.full((height, width, 3), 4 * number, np.uint8) for number in range(num_frames)]


@pytest.fixture
def write_avi(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "clip.avi", *, num_frames: int = 40, size: tuple[int, int] = (48, 64), fps: int = 10) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_avi(grey_frames(num_frames, *size), fps=fps))
        return path

    return write


@pytest.fixture
def write_mp4(tmp_path: Path) -> Callable[..., Path]:
    av = pytest.importorskip("av")

    def write(
        name: str = "clip.mp4",
        *,
        times: Sequence[int],
        size: tuple[int, int] = (48, 64),
        key_every: int = 12,
        codec: str = "libx264",
    ) -> Path:
        """Frame i is shown from times[i] / 30 s; with B-frames."""
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=30)
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
            stream.codec_context.gop_size, stream.codec_context.max_b_frames = key_every, 2
            stream.codec_context.options = {"crf": "10"} if codec == "libx264" else {}
            for time, array in zip(times, grey_frames(len(times), *size), strict=True):
                frame = av.VideoFrame.from_ndarray(array, format="rgb24")
                frame.pts = time
                frame.time_base = Fraction(1, 30)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write
