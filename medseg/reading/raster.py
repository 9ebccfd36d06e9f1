"""PNG, JPEG, BMP, GIF and WebP bytes → stored pixels, with Pillow.

What is a frame and what a channel: the images of an animation are frames; the samples of a pixel are its channels.
EXIF orientation is reported, not applied, because masks must come back on the stored grid.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import imagecodecs
import numpy as np
from PIL import GifImagePlugin, Image

from medseg.errors import ReadError
from medseg.reading import jpeg
from medseg.reading.alpha import Notes, without_alpha
from medseg.reading.stored import MAX_PIXELS, Opened, Stored, check_channels, check_size

_ORIENTATION = 0x0112
_TAGGED = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
# Frames after the first stay indices as long as the palette is the same, so that a mask of several frames keeps them.
GifImagePlugin.LOADING_STRATEGY = GifImagePlugin.LoadingStrategy.RGB_AFTER_DIFFERENT_PALETTE_ONLY


def open_png(data: bytes) -> Opened:
    """The images of an (animated) PNG; of a 16-bit one, of which Pillow would keep 8, its default image."""
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    check_size(height, width, 8 if data[24] == 16 else 4)
    check_channels(height, width, _PNG_CHANNELS.get(data[25], 1))
    if data[24] == 16:
        return Opened("PNG", 1, lambda _: _read_png16(data))
    with _opened(data, "PNG") as image:
        frames = int(getattr(image, "n_frames", 1))
    return Opened("PNG", frames, lambda frame: _read_png(data, frame, frames))


_PNG_CHANNELS = {2: 3, 3: 3, 6: 3}  # by colour type: RGB, palette, RGB and alpha; all others are grey


def open_jpeg(data: bytes) -> Opened:
    """The image of a JPEG. The further ones that phones append (MPO) are previews and gain maps of the first."""
    return Opened("JPEG", 1, lambda _: _read_jpeg(data))


def is_bmp(data: bytes) -> bool:
    """Whether `data` begins with the headers of a BMP: two letters alone would fit too much."""
    return data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in (12, 40, 52, 56, 64, 108, 124)


def open_other(data: bytes, kind: str) -> Opened:
    """The images of a BMP, GIF or WebP."""
    with _opened(data, kind) as image:
        check_size(image.height, image.width, 4)
        check_channels(image.height, image.width, 1 if image.mode in ("1", "L") else 3)
        frames = int(getattr(image, "n_frames", 1))
    return Opened(kind, frames, lambda frame: _read_other(data, kind, frame, frames))


def _read_png16(data: bytes) -> Stored:
    pixels: np.ndarray = imagecodecs.png_decode(data)
    notes: Notes = ()
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels, notes = without_alpha(pixels)
    # Pillow finds the chunk only by decoding everything once more, so ask it only where there is something to find.
    orientation = 1
    if any(name in data for name in _TAGGED):
        with _opened(data, "PNG") as image:
            orientation = _orientation(image)
    white = float(2 ** _bits(pixels, data) - 1)
    return Stored(pixels, "PNG", white=white, orientation=orientation, notes=notes)


def _bits(pixels: np.ndarray, data: bytes) -> int:
    """The bits that white has. The chunk sBIT names those of the source (PNG 11.3.2.7), which a writer scales up to
    all 16: only where the spare ones are neither empty nor a copy of the first did it leave the values as they were."""
    at = data.find(b"sBIT", 33, data.find(b"IDAT"))
    length = int.from_bytes(data[at - 4 : at], "big") if at > 0 else 0
    bits = max(data[at + 4 : at + 4 + length], default=16) if 1 <= length <= 4 else 16
    if not 8 <= bits < 16:
        return 16
    spare = 16 - bits
    scaled = pixels >> spare << spare
    filled = (pixels == scaled).all() or (pixels == scaled | pixels >> bits).all()
    return 16 if filled else bits


def _read_png(data: bytes, frame: int, frames: int) -> Stored:
    depth, colour = data[24], data[25]
    with _opened(data, "PNG") as image:
        image.seek(frame)
        stored = _from_pillow(image, "PNG", frame, frames)
    if colour == 0 and depth in (2, 4) and stored.white == 255.0:
        # Pillow stretches 2 and 4 bits to 0..255; a label map of labels 0..3 must keep its numbers.
        levels = 2**depth - 1
        pixels = stored.pixels // (255 // levels)
        return Stored(pixels, "PNG", frame, frames, float(levels), orientation=stored.orientation)
    return stored


def _read_jpeg(data: bytes) -> Stored:
    """A truncated JPEG is refused: Pillow raises where libjpeg alone would fill in grey, but not if an end follows."""
    with _opened(data, "JPEG") as image:
        check_size(image.height, image.width, 4)
        check_channels(image.height, image.width, 1 if image.mode == "L" else 3)
        stored = _from_pillow(image, "JPEG", 0, 1)
    jpeg.check_whole(jpeg.ended(data), stored.pixels, _jpeg_pixels)
    return stored


def _jpeg_pixels(stream: bytes) -> np.ndarray:
    with _opened(stream, "JPEG") as image:
        return _from_pillow(image, "JPEG", 0, 1).pixels


def _read_other(data: bytes, kind: str, frame: int, frames: int) -> Stored:
    with _opened(data, kind) as image:
        image.seek(frame)
        return _from_pillow(image, kind, frame, frames, lossy=kind == "WEBP" and not _is_lossless(data))


def _is_lossless(data: bytes) -> bool:
    """Whether all images of a WebP are of its lossless kind (chunk VP8L), by the chunks of the file."""
    return {name for name in _chunks(data) if name in (b"VP8 ", b"VP8L")} == {b"VP8L"}


def _chunks(data: bytes, at: int = 12) -> Iterator[bytes]:
    while at + 8 <= len(data):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        yield name
        at += 8 + (16 if name == b"ANMF" else length + length % 2)  # the image of an animation lies within its frame


def _opened(data: bytes, kind: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=(kind,))
    except Image.DecompressionBombError as error:
        raise ReadError(f"This {kind} declares more pixels than the {MAX_PIXELS} that medseg reads.") from error


def _from_pillow(image: Image.Image, kind: str, frame: int, frames: int, *, lossy: bool = False) -> Stored:
    image.load()
    lossy, orientation = lossy or kind == "JPEG", _orientation(image)
    palette: list[list[int]] | None = None
    notes: Notes = ()
    if image.mode in ("P", "PA"):
        palette = _palette(image.getpalette("RGB") or [])
    elif image.mode in ("CMYK", "YCbCr", "RGBX"):
        image = image.convert("RGB")
    elif image.mode not in ("1", "L", "LA", "RGB", "RGBA"):
        raise ReadError(f"This {kind} stores its pixels in a way medseg does not read. Save it as 8-bit grey or RGB.")
    pixels = np.asarray(image)
    white = 1.0 if pixels.dtype == np.bool_ else 255.0
    pixels = pixels.astype(np.uint8, copy=False)
    if image.mode == "PA":
        pixels = pixels[..., 0]
    elif image.mode in ("LA", "RGBA"):
        pixels, notes = without_alpha(pixels)
    return Stored(pixels, kind, frame, frames, white, palette, lossy, orientation, notes=notes)


def _palette(flat: list[int]) -> list[list[int]]:
    """256 rows of red, green, blue; indices the file gives no colour are black, as in every viewer."""
    flat = (flat + [0] * 768)[:768]
    return [flat[i : i + 3] for i in range(0, 768, 3)]


def _orientation(image: Image.Image) -> int:
    code = image.getexif().get(_ORIENTATION, 1)
    return code if code in range(1, 9) else 1
