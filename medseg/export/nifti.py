"""Masks and probabilities as NIfTI: one slice, which lies where the image's slice lies, or a volume of masks.

The slice has the axes of the volume that the image was read from, in their stored order and direction, and that
volume's affine moved to it, so a viewer lays one over the other. Other slices are not in the file: nobody looked at
them. Where all were segmented, the volume of their masks has that affine itself. For other images the file says no
more than their spacing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from jaxtyping import UInt8
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform

from medseg.image import Image, slice_affine, to_stored
from medseg.inference.prediction import Prediction
from medseg.inference.record import notice
from medseg.postprocess import to_label_map

_CANONICAL = np.array([[0, 1], [1, 1], [2, 1]])
_UNPLACED = np.array([[0, -1], [1, 1], [2, 1]])
"""How an array without affine lies (NIfTI-1, method 1): from the right to the left, as radiologists look at it."""


def write_mask_nifti(prediction: Prediction, path: Path) -> None:
    """The masks as unsigned bytes, 0 background and k + 1 label k, the later label where they overlap."""
    nibabel.save(_slice(to_label_map(prediction.masks), prediction), path)


def write_probabilities_nifti(prediction: Prediction, path: Path) -> None:
    """The probabilities as 32-bit floats; of several labels each is a volume on the fourth axis."""
    planes = np.moveaxis(prediction.probabilities, 0, -1)
    nibabel.save(_slice(planes[..., 0] if planes.shape[-1] == 1 else planes, prediction), path)


def mask_volume(label_maps: Sequence[UInt8[np.ndarray, "H W"]], image: Image, labels: Sequence[str]) -> bytes:
    """An uncompressed NIfTI file of the label maps of all slices, in their order; `image` is any of these slices, read
    from a NIfTI volume with an affine, whose grid the file has."""
    slices = np.concatenate([_canonical(label_map, image) for label_map in label_maps], axis=2)
    return bytes(_volume(slices, image, image.affine, labels).to_bytes())


def _slice(planes: np.ndarray[Any, Any], prediction: Prediction) -> nibabel.Nifti1Image:
    """One slice of `planes` (H, W) or (H, W, K), upright."""
    image = prediction.image
    affine = None if image.affine is None else slice_affine(image)
    return _volume(_canonical(planes, image), image, affine, prediction.labels)


def _canonical(planes: np.ndarray[Any, Any], image: Image) -> np.ndarray[Any, Any]:
    """Upright `planes` (H, W) or (H, W, K) as a volume of one slice, its axes to the right, the front and the head."""
    stored = np.moveaxis(to_stored(np.moveaxis(planes, (0, 1), (-2, -1)), image.orientation), (-2, -1), (0, 1))
    return stored.swapaxes(0, 1)[::-1, ::-1, np.newaxis]  # the inverse of how medseg.reading.nifti shows a slice


def _volume(
    canonical: np.ndarray[Any, Any], image: Image, affine: np.ndarray[Any, Any] | None, labels: Sequence[str]
) -> nibabel.Nifti1Image:
    """The slices with the axes of the file that `image` is of, and with `affine`."""
    turn = _UNPLACED if image.affine is None else io_orientation(image.affine)
    array = np.ascontiguousarray(apply_orientation(canonical, ornt_transform(_CANONICAL, turn)))
    volume = nibabel.Nifti1Image(array, affine)
    if image.affine is None and image.spacing_mm is not None:
        row, column = image.spacing_mm
        volume.header.set_zooms((column, row, *[1.0] * (array.ndim - 2)))
    if image.affine is not None or image.spacing_mm is not None:
        volume.header.set_xyzt_units("mm")
    volume.header["descrip"] = f"medseg. {notice(image)}".encode()[:79]
    named = ", ".join(f"{number} {label}" for number, label in enumerate(labels, start=1))
    comment = f"{notice(image)} Labels: {named}".encode()
    volume.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", comment))
    return volume
