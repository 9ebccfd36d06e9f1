"""An image ready for the networks, with what is known of its geometry and nothing of the patient."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from medseg.arrays import Affine, Pixels, Spacing
from medseg.errors import InputError


@dataclass(frozen=True, eq=False)
class Image:
    """One upright frame.

    `pixels` (H, W, C) float32 in [0, 1], C = 1 for grey, 3 for colour, else the file's channels in its order.
    `spacing_mm` is (row, column) on the upright grid, None where the file is silent. `modality` is DICOM's (0008,0060)
    code, None outside DICOM. `frame` of `frames` (counted from 0) is the one held.
    `window` is the (centre, width) applied, in the units after the modality step; `windows` are those the file offers,
    and `extent` its lowest and highest value in these units, None where the image takes no window. `orientation` is
    the EXIF code 1 to 8 that was undone to make the image upright. `notes` are sentences the user should see beside
    the image. `file_sha256` is the hash of the file that was read, None where there was none. `affine` is that of the
    whole NIfTI volume that the frame is an axial slice of (voxel indices to mm right, front, up); None elsewhere.
    """

    pixels: Pixels
    spacing_mm: Spacing | None = None
    modality: str | None = None
    frame: int = 0
    frames: int = 1
    window: tuple[float, float] | None = None
    orientation: int = 1
    notes: tuple[str, ...] = ()
    file_sha256: str | None = None
    affine: Affine | None = None
    windows: tuple[tuple[float, float], ...] = ()
    extent: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Raises InputError for pixels or a spacing that are not as said above."""
        pixels = self.pixels
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or not pixels.size:
            came = f"of the shape {pixels.shape}" if isinstance(pixels, np.ndarray) else f"a {type(pixels).__name__}"
            raise InputError(f"An image's pixels are an array (height, width, channels), and these are {came}.")
        if pixels.dtype != np.float32:
            raise InputError(
                f"An image's pixels are float32 in [0, 1], and these are {pixels.dtype}. Scale them to [0, 1] first: "
                "pixels.astype(np.float32) / 255 for 8 bits."
            )
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= -_SLACK and high <= 1 + _SLACK):
            raise InputError(
                f"An image's pixels lie in [0, 1], and these go from {low:g} to {high:g}. Scale them first."
            )
        if self.spacing_mm is not None and not _is_spacing(self.spacing_mm):
            raise InputError(f"A spacing is two lengths above 0 in mm (row, column), not {self.spacing_mm!r}, or None.")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the upright grid in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @cached_property
    def sha256(self) -> str:
        """Hash of shape and pixel values: the same image gives the same hash, whatever file it came in."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels, dtype="<f4").data)
        return digest.hexdigest()


_SLACK = 1e-3
"""What rounding may add to a level; it is far below a grey level of 8 bits."""


def _is_spacing(value: Any) -> bool:
    try:
        row, column = (float(side) for side in value)
    except (TypeError, ValueError):
        return False
    return 0 < row < math.inf and 0 < column < math.inf


def to_upright(array: np.ndarray[Any, Any], orientation: int) -> np.ndarray[Any, Any]:
    """The (..., H, W) `array` of the stored pixel grid, turned upright as EXIF tag 0x0112 `orientation` (1 to 8) says.

    Source: CIPA DC-008 (Exif 2.32), 4.6.4 A, tag Orientation.
    """
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(-1, -2)
    if orientation in (2, 3, 6, 7):
        array = array[..., ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[..., ::-1, :]
    return array


def to_stored(array: np.ndarray[Any, Any], orientation: int) -> np.ndarray[Any, Any]:
    """The inverse of `to_upright`: an upright (..., H, W) `array` on the pixel grid of the file it belongs to."""
    if orientation in (3, 4, 7, 8):
        array = array[..., ::-1, :]
    if orientation in (2, 3, 6, 7):
        array = array[..., ::-1]
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(-1, -2)
    return array


def slice_affine(image: Image) -> np.ndarray:
    """The affine (4, 4) of the NIfTI volume that `image` is of, moved so that its slice is the only one."""
    from nibabel.orientations import io_orientation  # late: only NIfTI needs it

    affine = np.array(image.affine)
    turn = io_orientation(affine)
    axis = int(np.argmax(turn[:, 0] == 2))
    index = image.frame if turn[axis, 1] > 0 else image.frames - 1 - image.frame
    affine[:3, 3] += index * affine[:3, axis]
    return affine
