import io
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from mae_core.data.files import Content
from mae_core.interfaces import BadSample
from mae_image import reading
from mae_image.reading import read_image, read_rgb
from mae_registry import ConfigError

SAMPLE = Path(__file__).parents[4] / "shared" / "data" / "imagenet-sample"


def scene(height=48, width=64, *, mode="RGB"):
    """A smooth, asymmetric picture: turning or mirroring it shows."""
    rows, cols = np.mgrid[0:height, 0:width]
    rgb = np.stack([255 * cols / width, 255 * rows / height, 255 * (rows * cols) / (height * width)], -1)
    return Image.fromarray(rgb.astype(np.uint8)).convert(mode)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(data, **options):
    return read_rgb(Content("a file", data), **options)


def pixels(image):
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def png16(values, color):
    """A 16-bit PNG, which Pillow writes for grey only. `values`: (H, W, channels)."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def slowly(monkeypatch, data):
    """The same bytes through Pillow alone."""
    monkeypatch.setattr(reading, "decode_jpeg", lambda *_, **__: pytest.fail("the fast path was taken"))
    monkeypatch.setattr(reading, "_plain_jpeg", lambda *_: None)
    image = Image.open(io.BytesIO(data))
    monkeypatch.setattr(image, "format", "slow")
    monkeypatch.setattr(reading.Image, "open", lambda *_, **__: image)
    return decoded(data)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_lossless_colours_come_out_as_they_are(kind):
    image = scene().quantize(64).convert("RGB") if kind == "GIF" else scene()
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decoded(encoded(image, kind, **options))
    assert found.dtype == torch.uint8
    assert found.shape == (3, 48, 64)
    assert torch.equal(found, pixels(image))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK"])
def test_other_modes_become_rgb(mode):
    image = scene(mode=mode)
    assert torch.equal(decoded(encoded(image, "TIFF")), pixels(image))


def test_jpegs_agree_with_pillow(monkeypatch, tmp_path):
    for options in ({"quality": 90}, {"progressive": True}, {"subsampling": 0}):
        for mode in ("RGB", "L"):
            data = encoded(scene(61, 83, mode=mode), "JPEG", **options)
            assert torch.equal(decoded(data), pixels(Image.open(io.BytesIO(data))))
            with monkeypatch.context() as patch:
                assert torch.equal(slowly(patch, data), pixels(Image.open(io.BytesIO(data))))
    (tmp_path / "a.jpg").write_bytes(data)
    assert torch.equal(read_rgb(tmp_path / "a.jpg"), decoded(data))


def test_cmyk_jpeg():
    image = scene()
    found = decoded(encoded(image.convert("CMYK"), "JPEG", quality=95))
    assert (found.float() - pixels(image).float()).abs().mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied_once(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(scene(), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if orientation >= 5:
        assert upright.size == (48, 64)
    assert torch.equal(decoded(data), pixels(upright))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"this is no TIFF header at all", b"II*\0\x08\0\0\0\x03\0\x12\x01\x03\0"])
def test_damaged_exif_does_not_lose_the_photograph(kind, exif):
    data = encoded(scene(), kind, exif=b"Exif\0\0" + exif)
    assert torch.equal(decoded(data), decoded(encoded(scene(), kind)))


def test_ordinary_jpegs_take_the_fast_path(monkeypatch):
    monkeypatch.setattr(reading, "_to_rgb", lambda _: pytest.fail("the slow path was taken"))
    for mode in ("RGB", "L"):
        assert decoded(encoded(scene(mode=mode), "JPEG")).shape == (3, 48, 64)


def test_transparent_pixels_are_laid_over_white():
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[:, :, 3] = [255, 0, 51]
    found = decoded(encoded(Image.fromarray(rgba), "PNG"))
    assert found[:, 0].T.tolist() == [[200, 0, 0], [255, 255, 255], [244, 204, 204]]

    grey = np.zeros((1, 2, 2), np.uint8)
    grey[..., 1] = [255, 0]
    assert decoded(encoded(Image.fromarray(grey), "PNG"))[0].tolist() == [[0, 255]]


def test_palette_with_a_transparent_entry():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    data = encoded(image, "PNG", transparency=1)
    assert decoded(data)[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    values = np.array([[0, 128, 129, 257, 32768, 65406, 65535]], np.uint16)
    found = decoded(encoded(Image.fromarray(values), kind))
    assert found[1].tolist() == [[0, 0, 1, 1, 128, 254, 255]]


def test_sixteen_bit_colours_are_scaled_not_clipped():
    values = np.array([[[0, 32768, 65535], [256, 25700, 51400]]], np.uint16)
    assert decoded(png16(values, 2))[:, 0].T.tolist() == [[0, 128, 255], [1, 100, 200]]
    with_alpha = np.concatenate([values, np.full((1, 2, 1), 65535, np.uint16)], -1)
    assert torch.equal(decoded(png16(with_alpha, 6)), decoded(png16(values, 2)))


def test_the_first_frame_of_an_animation():
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    for kind in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if kind == "WEBP" else {}
        found = decoded(encoded(first, kind, save_all=True, append_images=[second], **options))
        assert torch.equal(found, pixels(first))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_truncated_files(kind, share, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    path = tmp_path / "cut.image"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadSample) as caught:
        read_rgb(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_last_bytes_is_bad_on_either_path(progressive, monkeypatch):
    data = encoded(scene(200, 200), "JPEG", progressive=progressive)
    for num_lost in (2, 30, len(data) // 2):
        with pytest.raises(BadSample, match=r"cannot be decoded: .*truncated"):
            decoded(data[:-num_lost])
        with monkeypatch.context() as patch, pytest.raises(BadSample, match=r"cannot be decoded: .*truncated"):
            slowly(patch, data[:-num_lost])


def test_damaged_photographs_are_read_as_pillow_reads_them_or_refused():
    whole = encoded(scene(), "JPEG", quality=90)
    random = np.random.default_rng(0)
    num_read = 0
    for _ in range(300):
        data = bytearray(whole)
        data[random.integers(2, len(data))] ^= 1 << random.integers(8)
        try:
            found = decoded(bytes(data))
        except BadSample:
            continue
        num_read += 1
        with Image.open(io.BytesIO(bytes(data))) as image:
            assert torch.equal(found, pixels(ImageOps.exif_transpose(image)))
    assert 100 < num_read < 300


def test_what_is_no_image(tmp_path):
    (tmp_path / "text.jpg").write_text("this is a letter")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in (
        ("text.jpg", "it is not an image"),
        ("empty.jpg", "the file is empty"),
        ("folder.jpg", "the file cannot be read"),
        ("missing.jpg", "the file cannot be read: No such file or directory"),
    ):
        with pytest.raises(BadSample) as caught:
            read_rgb(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: {reason}")
    for data in (b"abc", b"\0"):
        with pytest.raises(BadSample, match="a file: it is not an image"):
            decoded(data)


@pytest.mark.parametrize("content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"#define a_width 1\n"])
def test_formats_that_are_not_documented_are_not_opened_whatever_a_file_is_called(content, tmp_path):
    """Pillow would run Ghostscript on the first one."""
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BadSample, match="it is not an image in a format that can be read"):
        read_rgb(tmp_path / "a.jpg")
    for kind in ("PPM", "TGA", "ICO"):
        with pytest.raises(BadSample, match="it is not an image in a format that can be read"):
            decoded(encoded(scene(), kind))


@pytest.mark.parametrize("limit", [1000, 2000])  # Pillow warns above its limit and raises above twice that
def test_decompression_bombs_are_refused_unread(limit, monkeypatch):
    before = Image.MAX_IMAGE_PIXELS
    for decode in ("_decode_jpeg", "_to_rgb"):
        monkeypatch.setattr(reading, decode, lambda *_: pytest.fail("its pixels were read"))
    for kind in ("JPEG", "PNG"):
        with pytest.raises(BadSample, match=f"more than {limit:,} pixels"):
            decoded(encoded(scene(), kind), max_pixels=limit)
    assert before == Image.MAX_IMAGE_PIXELS


def test_pixels_without_a_range_are_refused():
    for dtype in (np.int32, np.float32):
        with pytest.raises(BadSample, match=r"32-bit .* convert it to 8 or 16 bits"):
            decoded(encoded(Image.fromarray(np.ones((4, 4), dtype)), "TIFF"))


def test_read_image_is_the_published_evaluation_crop(tmp_path):
    scene(300, 401).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png", SimpleNamespace(sample_shape=(3, 224, 224)))
    # Resize(256) of 300 x 401 gives 256 x 342, CenterCrop(224) begins at (16, 59)
    resized = scene(300, 401).resize((342, 256), Image.Resampling.BICUBIC)
    expected = pixels(resized.crop((59, 16, 59 + 224, 16 + 224)))
    assert found.shape == (3, 224, 224)
    assert (found.int() - expected.int()).abs().max() <= 1


def test_read_image_to_grey_keeps_grey_values(tmp_path):
    for grey in range(256):
        Image.new("L", (40, 40), grey).save(tmp_path / "a.png")
        found = read_image(tmp_path / "a.png", SimpleNamespace(sample_shape=(1, 16, 32)))
        assert torch.equal(found, torch.full((1, 16, 32), grey, dtype=torch.uint8))
    for colour, luminance in (("#f00", 76), ("#0f0", 150), ("#00f", 29)):
        Image.new("RGB", (4, 4), colour).save(tmp_path / "a.png")
        found = read_image(tmp_path / "a.png", SimpleNamespace(sample_shape=(1, 2, 2)))
        assert found.unique().tolist() == [luminance]


def test_read_image_refuses_other_channel_counts(tmp_path):
    scene().save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="takes 4 channels; photographs give 3"):
        read_image(tmp_path / "a.png", SimpleNamespace(sample_shape=(4, 16, 16)))


@pytest.mark.data
@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"no {SAMPLE}")
def test_real_photographs_agree_with_pillow():
    paths = sorted(SAMPLE.iterdir())[::8]
    assert len(paths) == 50
    for path in paths:
        with Image.open(path) as image:
            assert torch.equal(read_rgb(path), pixels(ImageOps.exif_transpose(image))), path
