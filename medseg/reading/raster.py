"""PNG, JPEG and TIFF bytes → stored pixels.

What is a frame and what a channel: the pages of a TIFF and the pictures of an animated PNG are frames, whatever notes
of other programs say of them; the samples of a pixel are its channels. Alpha is none of them: it is dropped, never
blended, since a transparent pixel of a scan is still a measured pixel. EXIF orientation is reported, not applied,
because masks must come back on the stored grid.
"""

from __future__ import annotations

import io

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from medseg.errors import ReadError
from medseg.reading.stored import MAX_PIXELS, Stored, check_channels, check_frame, check_size

_ORIENTATION = 0x0112
_RGB_COLUMNS = 3
_ALPHA = (1, 2)  # TIFF 6.0 section 18: associated, unassociated; 0 leaves the sample's meaning to the user


def count_png(data: bytes) -> int:
    """How many frames an (animated) PNG holds; a 16-bit one always 1, its default picture."""
    if data[24] == 16:
        return 1
    with _opened(data, "PNG") as picture:
        return int(getattr(picture, "n_frames", 1))


def read_png(data: bytes, frame: int) -> Stored:
    """Frame `frame` of a PNG; all 16 bits of a 16-bit one, where Pillow would keep 8 of RGB."""
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    depth, colour = data[24], data[25]
    check_size(height, width, 8 if depth == 16 else 4)
    frames = count_png(data)
    check_frame(frame, frames)
    if depth == 16:
        pixels = _without_alpha(imagecodecs.png_decode(data))
        # Pillow finds the chunk only by decoding everything once more, so ask it only where there is something to find.
        tagged = any(name in data for name in (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp"))
        with _opened(data, "PNG") as picture:
            orientation = _orientation(picture) if tagged else 1
        return Stored(pixels, "PNG", white=65535.0, orientation=orientation)
    with _opened(data, "PNG") as picture:
        picture.seek(frame)
        stored = _from_pillow(picture, "PNG", frame, frames)
    if colour == 0 and depth in (2, 4) and stored.white == 255.0:
        # Pillow stretches 2 and 4 bits to 0..255; a label map of labels 0..3 must keep its numbers.
        levels = 2**depth - 1
        return Stored(
            stored.pixels // (255 // levels), "PNG", frame, frames, float(levels), orientation=stored.orientation
        )
    return stored


def count_jpeg(data: bytes) -> int:
    """1: the further pictures that phones append (MPO) are previews and gain maps of the first."""
    return 1


def read_jpeg(data: bytes, frame: int) -> Stored:
    """The picture of a JPEG. A truncated one is refused: Pillow raises where libjpeg alone would fill in grey."""
    check_frame(frame, 1)
    with _opened(data, "JPEG") as picture:
        check_size(picture.height, picture.width, 4)
        return _from_pillow(picture, "JPEG", 0, 1)


def _opened(data: bytes, kind: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=(kind,))
    except Image.DecompressionBombError as error:
        raise ReadError(f"This {kind} declares more pixels than the {MAX_PIXELS} that medseg reads.") from error


def _from_pillow(picture: Image.Image, kind: str, frame: int, frames: int) -> Stored:
    picture.load()
    lossy, orientation = kind == "JPEG", _orientation(picture)
    palette = None
    if picture.mode in ("P", "PA"):
        palette = _palette(picture.getpalette("RGB") or [])
    elif picture.mode in ("CMYK", "YCbCr"):
        picture = picture.convert("RGB")
    elif picture.mode not in ("1", "L", "LA", "RGB", "RGBA"):
        raise ReadError(f"This {kind} stores its pixels in a way medseg does not read. Save it as 8-bit grey or RGB.")
    pixels = np.asarray(picture)
    white = 1.0 if pixels.dtype == np.bool_ else 255.0
    pixels = _without_alpha(pixels.astype(np.uint8, copy=False))
    return Stored(pixels, kind, frame, frames, white, palette, lossy, orientation)


def _palette(flat: list[int]) -> list[list[int]]:
    """256 rows of red, green, blue; indices the file gives no colour are black, as in every viewer."""
    flat = (flat + [0] * 768)[:768]
    return [flat[i : i + 3] for i in range(0, 768, 3)]


def _orientation(picture: Image.Image) -> int:
    code = picture.getexif().get(_ORIENTATION, 1)
    return code if code in range(1, 9) else 1


def _without_alpha(pixels: np.ndarray) -> np.ndarray:
    """(H, W) for grey with or without alpha, (H, W, 3) for RGB with or without."""
    if pixels.ndim == 2:
        return pixels
    return pixels[..., 0] if pixels.shape[2] < _RGB_COLUMNS else pixels[..., :_RGB_COLUMNS]


def count_tiff(data: bytes) -> int:
    """How many pages a TIFF holds."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return len(file.pages)


def read_tiff(data: bytes, frame: int) -> Stored:
    """Page `frame` of a TIFF or BigTIFF of 1 to 64 bits per sample, integers or floats.

    All samples are channels but those that the tag ExtraSamples calls alpha, so a fourth one beside RGB that the file
    leaves unnamed is a channel, such as near infrared.

    tifffile and not Pillow: Pillow refuses 16-bit RGB and float samples other than 32-bit grey, and turns the grid
    upright by itself.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        frames = len(file.pages)
        check_frame(frame, frames)
        page = file.pages[frame]
        _check_page(page, len(data))
        pixels = (
            np.moveaxis(page.asarray(maxworkers=1), page.axes.index("S"), -1)
            if "S" in page.axes
            else page.asarray(maxworkers=1)
        )
        return _from_page(page, pixels, frame, frames)


def _check_page(page: tifffile.TiffPage, file_bytes: int) -> None:
    """Refuse what is too large, cut off, or not a plain picture, by what the page's tags declare."""
    sides = (page.imagelength, page.imagewidth, page.tilelength, page.tilewidth, page.samplesperpixel)
    plain = page.dtype is not None and page.dtype.kind in "buif" and not set(page.axes) - set("YXS")
    if not plain or not all(isinstance(side, int) for side in sides):  # a damaged tag may hold a list
        raise ReadError("This TIFF stores its pixels in a way medseg does not read. Save it as grey or RGB.")
    check_size(page.imagelength, page.imagewidth, page.samplesperpixel * page.dtype.itemsize)
    if page.samplesperpixel > _RGB_COLUMNS + 1:
        check_channels(page.imagelength, page.imagewidth, page.samplesperpixel)
    if page.is_tiled:  # a tile is decoded whole, however small the picture that it covers
        check_size(page.tilelength, page.tilewidth, page.samplesperpixel * page.dtype.itemsize)
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if not parts or any(offset < 1 or count < 1 or offset + count > file_bytes for offset, count in parts):
        raise ReadError("This TIFF is incomplete: some of its pixels lie beyond its end. Copy or export it again.")


def _from_page(page: tifffile.TiffPage, pixels: np.ndarray, frame: int, frames: int) -> Stored:
    photometric, palette = tifffile.PHOTOMETRIC(page.photometric), None
    white = _white(pixels, page.bitspersample)
    pixels = _cmyk_to_rgb(pixels) if photometric.name == "SEPARATED" else _channels(pixels, page.extrasamples)
    if photometric.name == "PALETTE" and page.colormap is not None and pixels.ndim == 2:
        palette = (page.colormap.T >> 8).tolist()  # TIFF 6.0 section 5: 16 bits a colour
    elif photometric.name == "MINISWHITE" and white is not None:
        pixels = (white - pixels).astype(pixels.dtype)
    elif photometric.name not in ("MINISBLACK", "RGB", "SEPARATED") and page.compression not in (
        6,
        7,
    ):  # JPEG comes out as RGB
        raise ReadError(
            f"This TIFF uses the colour space {photometric.name}, which medseg does not read. Save it as grey or RGB."
        )
    tag = page.tags.get(_ORIENTATION)
    orientation = tag.value if tag is not None and tag.value in range(1, 9) else 1
    return Stored(pixels, "TIFF", frame, frames, white, palette, orientation=orientation)


def _channels(pixels: np.ndarray, extra: tuple[int, ...]) -> np.ndarray:
    """(H, W), or (H, W, channels) where more than one sample is left without those that `extra` calls alpha."""
    if pixels.ndim == 2:
        return pixels
    if len(extra) >= pixels.shape[2]:
        raise ReadError("This TIFF names more extra samples than it has samples. Export it again.")
    extra = (0,) * (pixels.shape[2] - len(extra)) + extra
    kept = pixels[..., [kind not in _ALPHA for kind in extra]]
    return kept[..., 0] if kept.shape[2] == 1 else kept


def _white(pixels: np.ndarray, bits: int) -> float | None:
    if pixels.dtype.kind in "bu" and bits <= 16:
        return float(2**bits - 1)
    return None


def _cmyk_to_rgb(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim != 3 or pixels.shape[2] < 4 or pixels.dtype != np.uint8:
        raise ReadError("This TIFF holds CMYK of more than 8 bits, which medseg does not read. Save it as RGB.")
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels[..., :4]), "CMYK").convert("RGB"))
