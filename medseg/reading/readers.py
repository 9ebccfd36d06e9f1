"""Files → upright pictures and masks. The files themselves are opened and decoded by worker processes only."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medseg.arrays import Masks
from medseg.errors import InputError, ReadError
from medseg.image import Image, to_stored, to_upright
from medseg.reading.grey import check_window, to_grey, to_unit
from medseg.reading.marks import Value, lie_alike, select_values, to_masks
from medseg.reading.stored import Stored, from_header
from medseg.reading.workers import Pool

_pool = Pool()


def read_image(path: str | os.PathLike[str], *, frame: int = 0, window: tuple[float, float] | None = None) -> Image:
    """The upright picture in a PNG, JPEG, TIFF, DICOM or NIfTI file, told apart by content, not by name.

    Grey DICOM goes stored values → modality LUT or rescale → VOI LUT or window → inversion for MONOCHROME1 (PS3.4 N.2);
    without VOI LUT and window, and for NIfTI, the values between darkest and brightest that are no padding are shown.
    Pictures are divided by their white, as `grey.to_unit` says. Whatever was assumed stands in `Image.notes`.

    Channels are the samples of a TIFF's pixels, without alpha, and the volumes of a 4-D NIfTI; those of a NIfTI, and of
    a TIFF that names no white and has other than three, are measurements with a range each and are scaled one by one.

    `frame` counts frames, pages or axial slices (feet first) from 0. `window` (centre, width), in the units after the
    modality step, replaces the file's own window or VOI LUT; its shape is the file's VOI LUT function for DICOM (LINEAR
    unless it says otherwise) and LINEAR_EXACT for NIfTI. Raises ReadError for a file that cannot be read or has no such
    frame, InputError for a window that makes no sense or is given for a picture that is not grey DICOM or NIfTI of one
    channel.
    """
    stored = _read(path, frame)
    pixels, shown, notes, extent = _levels(stored, window)
    return Image(
        np.ascontiguousarray(_upright(pixels, stored.orientation)),
        stored.spacing_mm,
        stored.modality,
        stored.frame,
        stored.frames,
        shown,
        stored.orientation,
        (*stored.notes, *notes),
        stored.file_sha256,
        None if stored.affine is None else np.array(stored.affine),
        windows=stored.grey.windows if stored.grey else (),
        extent=extent,
    )


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
    if isinstance(labels, str) or not labels:
        raise InputError("Masks are read for a list of one or more labels. Name the labels of the mask.")
    stored = _read_mask(path, like)
    return _placed(np.stack(to_masks(stored, len(labels))), stored, like)


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


def _read_mask(path: str | os.PathLike[str], like: Image | None) -> Stored:
    frame = like.frame if like is not None and like.frame and count_frames(path) > 1 else 0
    return _read(path, frame)


def _placed(masks: Masks, stored: Stored, like: Image | None) -> Masks:
    turned = to_upright(masks, stored.orientation) if like is None else _fitted(masks, stored, like)
    return np.ascontiguousarray(turned)


def count_frames(path: str | os.PathLike[str]) -> int:
    """How many frames, pages or axial slices the file holds, by its header. Raises ReadError."""
    header, _ = _pool.ask({"path": _absolute(path), "frame": None})
    return int(header["frames"])


def read_source(path: str | os.PathLike[str], frames: Sequence[int]) -> tuple[list[dict[str, Any]], str]:
    """What a DICOM result repeats of each of the `frames` (counted from 0) of the DICOM it was made from, patient and
    study included, as DICOM JSON (`dicom_source.read_source`); and the file's sha256. Raises ReadError, also for a file
    that is no DICOM."""
    header, _ = _pool.ask({"path": _absolute(path), "source": list(frames)})
    return list(header["source"]), str(header["file_sha256"])


def _read(path: str | os.PathLike[str], frame: int) -> Stored:
    header, pixels = _pool.ask({"path": _absolute(path), "frame": operator.index(frame)})
    if pixels is None:
        raise ReadError("The file could not be decoded. Export it again.")
    return from_header(header, pixels)


def _absolute(path: str | os.PathLike[str]) -> str:
    """Workers keep the folder they were started in, so they are told where a file is from the root."""
    return os.path.abspath(os.fspath(path))


def _levels(
    stored: Stored, window: tuple[float, float] | None
) -> tuple[np.ndarray, tuple[float, float] | None, tuple[str, ...], tuple[float, float] | None]:
    """(H, W, C) levels in [0, 1] on the stored grid, the window applied, notes, and the range windows choose from."""
    if stored.pixels.ndim == 3 and (stored.grey is not None or (stored.white is None and stored.pixels.shape[2] != 3)):
        if window is not None:
            raise InputError("A window applies to one channel, and this picture has several. Leave the window out.")
        return _levels_by_channel(stored)
    if stored.grey is not None:
        grey = stored.grey
        if window is not None:
            grey = replace(grey, voi_lut=None, window=check_window(window, grey.function))
        levels, notes, extent = to_grey(stored.pixels, grey)
        return levels[..., None], None if grey.voi_lut else grey.window, notes, extent
    if window is not None:
        raise InputError("A window applies to grey DICOM and NIfTI files, and this is neither. Leave the window out.")
    if stored.palette is not None:
        return np.asarray(stored.palette, np.float32)[stored.pixels] / np.float32(255), None, (), None
    levels, notes = to_unit(stored)
    return levels if levels.ndim == 3 else levels[..., None], None, notes, None


def _levels_by_channel(stored: Stored) -> tuple[np.ndarray, None, tuple[str, ...], None]:
    channels = np.moveaxis(stored.pixels, -1, 0)
    found = [_levels(replace(stored, pixels=channel), None) for channel in channels]
    notes = [f"Channel {number}: {note}" for number, (_, _, own, _) in enumerate(found, start=1) for note in own]
    return np.concatenate([levels for levels, *_ in found], axis=-1), None, tuple(notes), None


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """`to_upright` for (H, W, C), the order that pictures have."""
    return np.moveaxis(to_upright(np.moveaxis(pixels, -1, 0), orientation), 0, -1)


def _fitted(masks: Masks, stored: Stored, like: Image) -> Masks:
    """`masks` turned upright, refused where they do not cover the image `like`."""
    if stored.frames not in (1, like.frames):
        raise ReadError(
            f"The mask file has {stored.frames} frames, the image's {like.frames}. Choose the mask of this image."
        )
    if not lie_alike(stored.affine, like):
        raise ReadError(
            "The mask's affine is not that of its image, so one of them lies elsewhere in the patient or mirrored. "
            "Save the mask with the image's affine."
        )
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
