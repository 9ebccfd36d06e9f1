"""One image with its masks as a zip in the layout of folders that training reads."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image

from medseg.arrays import Mask, Masks, Pixels
from medseg.errors import InputError
from medseg.image import Image
from medseg.inference.record import notice


def write_pair(image: Image, masks: Masks, labels: tuple[str, ...], path: Path) -> None:
    """Image and masks (K, H, W) as images/NAME and masks/NAME.png, of several labels masks/LABEL/NAME.png each.

    `load_data` reads back the very pixels: upright, on the image's own grid, as the networks see them. The image
    is an 8-bit PNG where that loses nothing, else a TIFF of 32-bit floats. NAME is made from the pixels' hash; nothing
    else of the file that the image came in goes along. Raises InputError for a label that cannot name a folder.
    """
    several = len(labels) > 1
    for label in labels if several else ():
        if label.startswith(".") or set(label) & set('/\\:*?"<>|'):
            raise InputError(f"The label {label!r} cannot name a folder: rename it in ensemble.json.")
    name = f"image-{image.sha256[:12]}"
    suffix, encoded = _encoded(image.pixels)
    with zipfile.ZipFile(path, "w") as archive:  # stored: what goes in is compressed already
        archive.comment = notice(image).encode()
        _add(archive, f"images/{name}{suffix}", encoded)
        for label, mask in zip(labels, masks, strict=True):
            _add(archive, f"masks/{label}/{name}.png" if several else f"masks/{name}.png", _mask_png(mask))


def _add(archive: zipfile.ZipFile, place: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(place), content)  # dated 1980: the same pair gives the same file


def _encoded(pixels: Pixels) -> tuple[str, bytes]:
    """(suffix, content) of a lossless file of `pixels` (H, W, C)."""
    plain = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    levels = np.rint(plain * np.float32(255)).astype(np.uint8)
    file = io.BytesIO()
    if pixels.shape[2] in (1, 3) and np.array_equal(levels.astype(np.float32) / np.float32(255), plain):
        PIL.Image.fromarray(levels).save(file, format="PNG")
        return ".png", file.getvalue()
    photometric = "rgb" if pixels.shape[2] == 3 else "minisblack"
    import tifffile

    planes = "contig" if plain.ndim == 3 else None  # else tifffile takes the rows of other than RGB for pages
    tifffile.imwrite(file, plain, photometric=photometric, planarconfig=planes, compression="zlib", metadata=None)
    return ".tiff", file.getvalue()


def _mask_png(mask: Mask) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(mask.astype(np.uint8) * 255).save(file, format="PNG")
    return file.getvalue()
