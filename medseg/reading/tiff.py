"""TIFF and BigTIFF bytes → stored pixels, of 1 to 64 bits per sample, integers or floats.

Pages are frames, whatever notes of other programs say of them. All samples are channels but those that the tag
ExtraSamples calls alpha, so a fourth one beside RGB that the file leaves unnamed is a channel, such as near infrared.

tifffile and not Pillow: Pillow refuses 16-bit RGB and float samples other than 32-bit grey, and turns the grid upright
by itself.
"""

from __future__ import annotations

import io

import numpy as np
import tifffile
from PIL import Image

from medseg.errors import ReadError
from medseg.reading.alpha import Notes, without_alpha
from medseg.reading.stored import Opened, Stored, check_channels, check_frame, check_size

_ORIENTATION = 0x0112
_ALPHA = (1, 2)  # TIFF 6.0 section 18: associated, unassociated; 0 leaves the sample's meaning to the user
_JPEG = (6, 7)  # compressions whose pixels come out as RGB, whatever the colour space in between


def open_tiff(data: bytes) -> Opened:
    """The pages of a TIFF."""
    file = tifffile.TiffFile(io.BytesIO(data))
    frames = len(file.pages)
    return Opened("TIFF", frames, lambda frame: _read(file, frame, frames, len(data)))


def _read(file: tifffile.TiffFile, frame: int, frames: int, file_bytes: int) -> Stored:
    check_frame(frame, frames)
    page = file.pages[frame]
    if not isinstance(page, tifffile.TiffPage):
        raise ReadError("This TIFF stores its pixels in a way medseg does not read. Save it as grey or RGB.")
    _check_page(page, file_bytes)
    pixels = page.asarray(maxworkers=1)
    if "S" in page.axes:
        pixels = np.moveaxis(pixels, page.axes.index("S"), -1)
    return _from_page(page, pixels, frame, frames)


def _check_page(page: tifffile.TiffPage, file_bytes: int) -> None:
    """Refuse what is too large, cut off, or no plain image, by what the page's tags declare."""
    sides = (page.imagelength, page.imagewidth, page.tilelength, page.tilewidth, page.samplesperpixel)
    plain = page.dtype is not None and page.dtype.kind in "buif" and not set(page.axes) - set("YXS")
    if not plain or not all(isinstance(side, int) for side in sides):  # a damaged tag may hold a list
        raise ReadError("This TIFF stores its pixels in a way medseg does not read. Save it as grey or RGB.")
    check_size(page.imagelength, page.imagewidth, page.samplesperpixel * page.dtype.itemsize)
    colours = 3 if page.photometric == tifffile.PHOTOMETRIC.PALETTE else page.samplesperpixel
    check_channels(page.imagelength, page.imagewidth, max(1, colours - sum(k in _ALPHA for k in page.extrasamples)))
    if page.is_tiled:  # a tile is decoded whole, however small the image that it covers
        check_size(page.tilelength, page.tilewidth, page.samplesperpixel * page.dtype.itemsize)
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if not parts or any(offset < 1 or count < 1 or offset + count > file_bytes for offset, count in parts):
        raise ReadError("This TIFF is incomplete: some of its pixels lie beyond its end. Copy or export it again.")


def _from_page(page: tifffile.TiffPage, pixels: np.ndarray, frame: int, frames: int) -> Stored:
    photometric = tifffile.PHOTOMETRIC(page.photometric).name
    white, palette, inverted = _white(pixels, page.bitspersample), None, False
    notes: Notes = ()
    if photometric == "SEPARATED":
        pixels = _cmyk_to_rgb(pixels)
    else:
        pixels, notes = _channels(pixels, page.extrasamples)
    if photometric == "PALETTE" and page.colormap is not None and pixels.ndim == 2:
        pixels = pixels.astype(np.uint8 if pixels.dtype == np.bool_ else pixels.dtype, copy=False)
        palette = _palette(page.colormap, pixels)
    elif photometric == "MINISWHITE":
        # ImageJ turns its display, not its values: what its binary masks mark is 255, shown black.
        inverted = white is None or page.description.startswith("ImageJ=")
        pixels = pixels if inverted or white is None else (white - pixels).astype(pixels.dtype)
    elif photometric not in ("MINISBLACK", "RGB", "SEPARATED") and page.compression not in _JPEG:
        raise ReadError(
            f"This TIFF uses the colour space {photometric}, which medseg does not read. Save it as grey or RGB."
        )
    tag = page.tags.get(_ORIENTATION)
    orientation = tag.value if tag is not None and tag.value in range(1, 9) else 1
    return Stored(
        pixels, "TIFF", frame, frames, white, palette, orientation=orientation, notes=notes, inverted=inverted
    )


def _palette(colormap: np.ndarray, indices: np.ndarray) -> list[list[int]]:
    """A row of red, green, blue per index (TIFF 6.0 section 5): 16 bits a colour. Files of some writers hold 8, as
    libtiff knows too, and those that break the type of the tag up to 32."""
    if indices.dtype.kind != "u" or int(indices.max()) >= colormap.shape[1]:
        raise ReadError(f"This TIFF has {colormap.shape[1]} colours and points to others. Save it as grey or RGB.")
    highest = int(colormap.max())
    spare = 0 if highest < 2**8 else 8 if highest < 2**16 else 24
    colours: list[list[int]] = (colormap.T >> spare).tolist()
    return colours


def _channels(pixels: np.ndarray, extra: tuple[int, ...]) -> tuple[np.ndarray, Notes]:
    """(H, W), or (H, W, channels) where more than one sample is left without those that `extra` calls alpha."""
    if pixels.ndim == 2:
        return pixels, ()
    count = pixels.shape[2]
    if len(extra) >= count:
        raise ReadError("This TIFF names more extra samples than it has samples. Export it again.")
    if count in (2, 4) and [kind in _ALPHA for kind in extra] == [True]:
        return without_alpha(pixels)
    extra = (0,) * (count - len(extra)) + extra
    channels = pixels[..., [kind not in _ALPHA for kind in extra]]
    return channels[..., 0] if channels.shape[2] == 1 else channels, ()


def _white(pixels: np.ndarray, bits: int) -> float | None:
    if pixels.dtype.kind in "bu" and bits <= 16:
        return float(2**bits - 1)
    return None


def _cmyk_to_rgb(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim != 3 or pixels.shape[2] < 4 or pixels.dtype != np.uint8:
        raise ReadError("This TIFF holds CMYK of more than 8 bits, which medseg does not read. Save it as RGB.")
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels[..., :4]), "CMYK").convert("RGB"))
