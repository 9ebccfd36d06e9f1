"""Files → upright images and masks. The files themselves are opened and decoded by worker processes only."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from medseg.arrays import Masks, Probabilities
from medseg.errors import InputError, ReadError
from medseg.image import Image, to_stored, to_upright
from medseg.reading.grey import check_window
from medseg.reading.marks import Value, held_values, lie_alike, select_values, to_masks
from medseg.reading.series import Series, ask_image
from medseg.reading.stored import Stored, from_header
from medseg.reading.studies import one_series
from medseg.reading.workers import POOL_SIZE, absolute, pool

File = str | os.PathLike[str] | Series
_Planes = TypeVar("_Planes", Masks, Probabilities)
_FEWEST_LEVELS = 16
"""Of a file with more grey levels, probabilities are read."""


def read_image(path: File, *, frame: int | None = None, window: tuple[float, float] | None = None) -> Image:
    """The upright image in a PNG, JPEG, JPEG 2000, TIFF, BMP, GIF, WebP, DICOM or NIfTI file, told apart by content.

    A folder, a zip or a DICOMDIR of single DICOM files is read where it holds one series, as a stack of slices; of
    several, pass one of `list_series(path)`.

    Grey DICOM goes stored values → modality LUT or rescale → VOI LUT or window → inversion for MONOCHROME1 (PS3.4 N.2);
    without VOI LUT and window, and for NIfTI, the values between darkest and brightest that are no padding are shown,
    those of all frames and slices. Other images are divided by the white of their bits, as `grey.to_unit` says.
    Whatever was assumed or left out stands in `Image.notes`.

    Channels are the samples of a TIFF's pixels, without alpha, and the volumes of a 4-D NIfTI; those of a NIfTI, and of
    a TIFF that names no white and has other than three, are measurements with a range each and are scaled one by one.

    `frame` counts frames, pages or slices (feet first) from 0; without it volumes and series open in the middle,
    everything else at its first. `window` (centre, width), in the units after the modality step, replaces the file's
    own window or VOI LUT; its shape is the file's VOI LUT function for DICOM (LINEAR unless it says otherwise) and
    LINEAR_EXACT elsewhere. Raises ReadError for a file that cannot be read or has no such frame, InputError for a
    window that makes no sense or is given for values that are not grey, or of 8 bits and no DICOM or NIfTI.
    """
    _check_arguments(frame, window)
    with _missing_named(path):
        return read_file_or_series(path, frame=frame, window=window)


def read_file_or_series(path: File, *, frame: int | None = None, window: tuple[float, float] | None = None) -> Image:
    """As `read_image`, and no sentence holds a name."""
    series = one_series(path)
    return read_file(path, frame=frame, window=window) if series is None else series.read(frame, window)


def read_file(
    path: str | os.PathLike[str] | Series, *, frame: int | None = None, window: tuple[float, float] | None = None
) -> Image:
    """As `read_image`, for what strangers upload: folders, zips and what a DICOMDIR lists are refused, not looked
    into, and no sentence holds a name."""
    _check_arguments(frame, window)
    if isinstance(path, Series):
        return path.read(frame, window)
    return ask_image(absolute(path), None if frame is None else operator.index(frame), window)


@contextmanager
def _missing_named(path: File) -> Iterator[None]:
    """Name the file that is not there to those who named it themselves."""
    try:
        yield
    except ReadError:
        if isinstance(path, Series) or os.path.exists(path):
            raise
        raise ReadError(f"There is no file {os.fspath(path)!r}. Check its name and that you may read it.") from None


def _check_arguments(frame: object, window: object) -> None:
    """Raises InputError for a frame or a window that fits no file: the file is not to be blamed for it."""
    if frame is not None and not hasattr(frame, "__index__"):
        raise InputError(f"A frame is a whole number counted from 0, and {frame!r} was given.")
    if window is None:
        return
    try:
        centre, width = map(float, window)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise InputError(f"A window is two numbers (centre, width), and {window!r} was given.") from None
    check_window((centre, width), "LINEAR_EXACT")


def read_masks(path: str | os.PathLike[str], labels: Sequence[str], *, like: Image | None = None) -> Masks:
    """(K, H, W) bool, upright: one mask per label, as `medseg.reading.marks` reads the values of the file.

    One label: everything beside 0 in a lossless file of one value; the bright half of soft edges and JPEG. Several
    labels: a label map of the integers 0 (background) to K; the indices of palette files are the values. What does not
    fit is refused with the values: a label map for one label, a photograph in the mask's place, a dim JPEG.

    The mask's own EXIF orientation is undone. A mask without one that fits the stored grid of `like`, the image it
    belongs to, is turned as that was, also where the upright grid has the same size. Of several frames the one of
    `like` is read, frame 0 without it. Raises ReadError for a file that is no such mask, not of `like`'s size, or a
    NIfTI that lies elsewhere in the patient than `like`.
    """
    with _missing_named(path):
        return read_mask_file(path, labels, like=like)


def read_mask_file(path: str | os.PathLike[str], labels: Sequence[str], *, like: Image | None = None) -> Masks:
    """As `read_masks`, for what strangers upload: no sentence holds a name."""
    if isinstance(labels, str) or not labels:
        raise InputError("Masks are read for a list of one or more labels. Name the labels of the mask.")
    stored = _read_mask(path, like)
    return _placed(np.stack(to_masks(stored, len(labels))), stored, like)


def read_levels(path: str | os.PathLike[str], *, like: Image, few: bool) -> Probabilities | None:
    """(1, H, W) in [0, 1], upright: the probabilities that a grey, lossless file of 8 or 16 bits holds as shares of its
    white, as papers on polyps publish theirs; None for any other, and unless `few` for one of at most 16 levels. Frames
    and grid are as for `read_masks`."""
    stored = _read_mask(path, like)
    values = stored.pixels[..., 0] if stored.pixels.ndim == 3 else stored.pixels
    grey = stored.pixels.ndim == 2 or bool((stored.pixels == stored.pixels[..., :1]).all())
    if not grey or stored.lossy or stored.palette is not None or values.dtype not in (np.uint8, np.uint16):
        return None
    if not few and len(np.unique(values)) <= _FEWEST_LEVELS:
        return None
    return _placed((values / np.iinfo(values.dtype).max).astype(np.float32)[np.newaxis], stored, like)


def read_values(
    path: str | os.PathLike[str],
    groups: Sequence[Sequence[Value]],
    known: Sequence[Value] = (),
    *,
    like: Image | None = None,
) -> Masks:
    """(K, H, W) bool, upright: of a label map, for each group the pixels that hold one of its values.

    A value is a number (of a palette file the index) or a colour (red, green, blue). `known` are all values that may
    occur beside 0, () for any. Frames and grid are as for `read_masks`. Raises ReadError for a value that is not known,
    a JPEG, whose values are not those that were drawn, and what `read_masks` refuses.
    """
    stored = _read_mask(path, like)
    return _placed(np.stack(select_values(stored, groups, known)), stored, like)


def read_one_mask(path: str | os.PathLike[str], *, like: Image) -> tuple[Masks, frozenset[float] | None]:
    """As `read_mask_file` for one label, and the values that the file holds, None for a JPEG and for colours."""
    stored = _read_mask(path, like)
    return _placed(np.stack(to_masks(stored, 1)), stored, like), held_values(stored)


def values_in(path: str | os.PathLike[str], frame: int) -> frozenset[float] | None:
    """The values that `frame` of a label map, or its only one, holds; None for a JPEG and for colours. Raises ReadError
    for a file that cannot be read."""
    return held_values(_read(path, _frame_in(path, frame)))


def _read_mask(path: str | os.PathLike[str], like: Image | None) -> Stored:
    return _read(path, _frame_in(path, like.frame if like is not None else 0))


def _frame_in(path: str | os.PathLike[str], frame: int) -> int:
    """`frame`, or 0 of a file that has one frame."""
    return frame if frame and count_frames(path) > 1 else 0


def _placed(masks: _Planes, stored: Stored, like: Image | None) -> _Planes:
    turned = to_upright(masks, stored.orientation) if like is None else _fitted(masks, stored, like)
    return np.ascontiguousarray(turned)


def count_frames(path: File) -> int:
    """How many frames, pages or slices the file or series holds, by its headers. Raises ReadError."""
    if isinstance(path, Series):
        return path.frames
    header, _ = pool.ask({"do": "frames", "path": absolute(path)})
    return int(header["frames"])


def read_patients(paths: Sequence[Path]) -> dict[Path, str]:
    """For each of the DICOM files that says whose it is, a hash that all files of one patient share: of the Patient ID,
    which leaves the file in no other form. What cannot be read or names nobody is absent."""

    def ask(path: Path) -> str | None:
        try:
            header, _ = pool.ask({"do": "patient", "path": absolute(path)})
        except ReadError:
            return None  # whoever reads its pixels says what is wrong with it
        return None if header["patient"] is None else str(header["patient"])

    with ThreadPoolExecutor(POOL_SIZE) as threads:
        return {path: patient for path, patient in zip(paths, threads.map(ask, paths), strict=True) if patient}


def read_source(path: str | os.PathLike[str], frames: Sequence[int]) -> tuple[list[dict[str, Any]], str]:
    """What a DICOM result repeats of each of the `frames` (counted from 0) of the DICOM it was made from, patient and
    study included, as DICOM JSON (`dicom_source.read_source`); and the file's sha256. Raises ReadError, also for a file
    that is no DICOM."""
    header, _ = pool.ask({"do": "source", "path": absolute(path), "frames": list(frames)})
    return list(header["source"]), str(header["file_sha256"])


def _read(path: str | os.PathLike[str], frame: int) -> Stored:
    header, pixels = pool.ask({"do": "stored", "path": absolute(path), "frame": operator.index(frame)})
    if pixels is None:
        raise ReadError("The file could not be decoded. Export it again.")
    return from_header(header, pixels)


def _fitted(masks: _Planes, stored: Stored, like: Image) -> _Planes:
    """`masks` turned upright, refused where they do not cover the image `like`."""
    if stored.frames not in (1, like.frames):
        raise ReadError(
            f"The mask file has {stored.frames} frames, the image's {like.frames}. Choose the mask of this image."
        )
    if not lie_alike(stored, like):
        raise ReadError(_elsewhere(stored, like))
    turn = stored.orientation
    if turn == 1 and masks.shape[1:] == to_stored(like.pixels[..., 0], like.orientation).shape:
        turn = like.orientation
    masks = to_upright(masks, turn)
    if masks.shape[1:] != like.size:
        raise ReadError(
            f"The mask is {masks.shape[2]} × {masks.shape[1]} pixels (width × height), the image {like.size[1]} × "
            f"{like.size[0]}. Choose the mask of this image."
        )
    return masks


def _elsewhere(stored: Stored, like: Image) -> str:
    """Why a mask and its image do not lie alike in the patient, or cannot be known to."""
    if stored.affine is None:
        return (
            f"The mask, a {stored.kind}, does not say how it lies in the patient, and its image, a slice of a NIfTI "
            "volume, does. Save the mask as NIfTI with the image's affine."
        )
    if like.affine is None:
        return (
            "The image does not say how it lies in the patient, and its mask does, so nothing tells whether they lie "
            "alike. Save the image with its affine."
        )
    return (
        "The mask's affine is not that of its image, so one of them lies elsewhere in the patient or mirrored. "
        "Save the mask with the image's affine."
    )
