"""NIfTI-1 and NIfTI-2 bytes (a single .nii or .nii.gz file) → one axial slice.

Convention, the same for images and masks: the volume is brought to the closest canonical orientation (RAS+), `frame`
counts along its third axis from the feet up, and the slice is shown as radiologists look at it: anterior at the top,
the patient's right on the left. With `a` the RAS+ array, the image is `a[::-1, ::-1, frame].T`.

What is a frame and what a channel: slices are frames; what the file holds beyond three axes, the Decathlon's modalities
on the fourth or the standard's vectors on the fifth, stands at one place and is its channels. The header cannot tell
modalities from points in time (both lie on the fourth axis, and writers claim seconds for both), so a series is read as
channels too, with a note; a model of another number of channels refuses it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, io_orientation

from medseg.arrays import Spacing
from medseg.errors import ReadError
from medseg.reading.signatures import is_nifti
from medseg.reading.stored import (
    MAX_BYTES,
    Extents,
    Grey,
    Opened,
    Stored,
    check_channels,
    check_size,
    plausible_spacing,
)

HEADER_BYTES = 540
"""Length of the NIfTI-2 header; NIfTI-1 needs 348 of them."""

_MISSING = 0.01
"""Part of a volume that may be missing at its end. Writers that stop early are common enough; a cut file lacks more."""

_GZIP = 31
"""zlib's number for a window of 32 KiB in gzip's wrapping, whose checksum it checks."""

_SHEAR = 1e-3
"""Cosine of the angle between rows and columns up to which they count as square: rounded affines have less."""

_MILLIMETRES = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}
_COLOURS = (("R", "G", "B"), ("R", "G", "B", "A"))


def open_nifti(data: bytes | bytearray) -> Opened:
    """The slices of the volume along its canonical third axis; it opens in the middle.

    They are scaled by scl_slope and scl_inter; the volumes of a 4-D file are its channels. No voxel is copied before
    its slice is read.
    """
    header = _checked_header(data)
    turn, shape = _turn(header), _shape(header)
    column, row, axis = _axes(turn)
    check_channels(shape[row], shape[column], shape[3])
    check_size(shape[row], shape[column], shape[3] * max(8, header.get_data_dtype().itemsize))  # 8: float64 if scaled
    dtype, start, count = header.get_data_dtype(), int(header.get_data_offset()), math.prod(shape)
    missing = max(0, start + count * dtype.itemsize - len(data))
    if missing:
        data = data if isinstance(data, bytearray) else bytearray(data)
        data += bytes(missing)
    voxels = np.frombuffer(data, dtype, count, offset=start).reshape(shape, order="F")
    frames = shape[axis]
    notes = (f"The file ends {-(-missing // dtype.itemsize)} voxels early: they are taken as 0.",) if missing else ()

    def read(frame: int) -> Stored:
        stored = _read(header, voxels, frame)
        return replace(stored, notes=(*stored.notes, *notes))

    return Opened("NIfTI", frames, read, frames // 2, lambda: _extents(header, voxels))


def _read(header: nibabel.Nifti1Header, voxels: np.ndarray, frame: int) -> Stored:
    turn = _turn(header)
    column, row, axis = _axes(turn)
    frames = voxels.shape[axis]
    index = frame if turn[axis, 1] > 0 else frames - 1 - frame
    where: list[Any] = [slice(None)] * 4
    where[axis] = slice(index, index + 1)
    block = _scaled(header, voxels[tuple(where)])
    pixels = _plain(apply_orientation(block, turn)[::-1, ::-1, 0].swapaxes(0, 1))
    zooms = (*header.get_zooms(), 1.0)
    unit = header.get_xyzt_units()[0]
    colour = header.get_data_dtype().names is not None
    spacing = _spacing(zooms[row], zooms[column], unit) if _is_square(header, row, column) else None
    return Stored(
        pixels,
        "NIfTI",
        frame,
        frames,
        white=255.0 if colour else None,
        spacing_mm=spacing,
        grey=None if colour else Grey(function="LINEAR_EXACT"),
        notes=_notes(header, voxels.shape[3], unit, spacing),
        affine=_affine(header, unit),
    )


def _scaled(header: nibabel.Nifti1Header, block: np.ndarray) -> np.ndarray:
    """The stored numbers in the file's units, by scl_slope and scl_inter; as they are where it names no scale."""
    slope, inter = header.get_slope_inter()
    if block.dtype.names or slope is None or (slope, inter) == (1, 0):
        return block
    return np.asarray(block.astype(np.float64) * slope + inter)


def _extents(header: nibabel.Nifti1Header, voxels: np.ndarray) -> Extents:
    """The lowest and highest finite value of each channel over all slices."""
    return tuple(_extent(header, voxels[..., channel]) for channel in range(voxels.shape[3]))


def _extent(header: nibabel.Nifti1Header, voxels: np.ndarray) -> tuple[float, float]:
    ends = [
        end
        for index in range(voxels.shape[2])
        for block in [voxels[..., index]]
        for finite in [block if block.dtype.kind != "f" else block[np.isfinite(block)]]
        if finite.size
        for end in (finite.min(), finite.max())
    ]
    if not ends:
        raise ReadError("This NIfTI holds no value that is a number. Export it again.")
    scaled = _scaled(header, np.array([min(ends), max(ends)]))
    return float(scaled.min()), float(scaled.max())


def unpack(data: bytes) -> bytearray:
    """A .nii.gz unpacked as far as its header declares, never further: a few kilobytes cannot become gigabytes."""
    try:
        pieces = _pieces(data)
        unpacked = bytearray()
        while len(unpacked) < HEADER_BYTES and (piece := next(pieces, b"")):
            unpacked += piece
        if not is_nifti(unpacked):
            raise ReadError("This gzip archive holds no NIfTI volume. Unpack it and choose the image inside.")
        declared = _declared_bytes(unpacked)
        for piece in pieces:
            unpacked += piece
            if len(unpacked) >= declared:
                break
        return unpacked
    except (EOFError, zlib.error) as error:
        raise ReadError("This gzip archive is damaged or incomplete. Copy or export it again.") from error


def _pieces(data: bytes) -> Iterator[bytes]:
    """What a gzip archive of one or more members holds, in pieces of up to a mebibyte; the first has a whole header."""
    member = zlib.decompressobj(_GZIP)
    packed: bytes | memoryview = memoryview(data)
    while packed:
        step = memoryview(packed)[: 2**16]
        piece = member.decompress(step, 2**20)
        packed = packed[len(step) - len(member.unconsumed_tail) - len(member.unused_data) :]
        if piece:
            yield piece
        if member.eof:
            if packed[:2] != b"\x1f\x8b":  # padding, or nothing
                return
            member = zlib.decompressobj(_GZIP)
    raise EOFError


def _header(data: bytes | bytearray) -> nibabel.Nifti1Header:
    two = data[4:7] in (b"n+2", b"ni2")
    return nibabel.Nifti2Header(bytes(data[:540])) if two else nibabel.Nifti1Header(bytes(data[:348]))


def _declared_bytes(data: bytes | bytearray) -> int:
    header = _header(data)
    voxels = math.prod(int(side) for side in header.get_data_shape())
    declared = int(header.get_data_offset()) + voxels * int(header.get_data_dtype().itemsize)
    if declared > MAX_BYTES:
        raise ReadError(
            f"This NIfTI declares {declared // 2**20} MiB of voxels; medseg reads {MAX_BYTES // 2**20}. Crop it."
        )
    return declared


def _checked_header(data: bytes | bytearray) -> nibabel.Nifti1Header:
    """The header, refused where its array is odd or lies beyond the file's end."""
    if data[344:348] == b"ni1\0" or data[4:8] == b"ni2\0":
        raise ReadError("This is one half of a NIfTI pair (.hdr and .img). Save it as one .nii or .nii.gz file.")
    declared, header = _declared_bytes(data), _header(data)
    if declared - len(data) > _most_missing(header):
        raise ReadError(f"This NIfTI declares {declared} bytes and holds {len(data)}. Copy or export it again.")
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    vectors = len(shape) == 5 and shape[3] == 1
    if not (2 <= len(shape) <= 4 or vectors) or min(shape) < 1:
        raise ReadError(f"This NIfTI holds an array of shape {shape}; medseg reads slices of 3-D volumes.")
    if dtype.names and math.prod(shape[3:]) > 1:
        raise ReadError("This NIfTI holds several volumes of colours. Save the one that is meant.")
    if dtype.kind not in "uif" and dtype.names not in _COLOURS:
        raise ReadError("This NIfTI holds numbers that are no grey levels or colours. Save it as integers or floats.")
    return header


def _most_missing(header: nibabel.Nifti1Header) -> float:
    """How many bytes a file may be too short: less than its last slice, and no more than a hundredth of the volume."""
    shape, itemsize = _shape(header), int(header.get_data_dtype().itemsize)
    return min(shape[0] * shape[1] * itemsize - 1, math.prod(shape) * itemsize * _MISSING)


def _shape(header: nibabel.Nifti1Header) -> tuple[int, int, int, int]:
    """The three sides of the array and its channels: a 2-D file is a volume of one slice."""
    shape = header.get_data_shape()
    x, y, z = (*shape, 1)[:3]
    return int(x), int(y), int(z), math.prod(int(side) for side in shape[3:])


def _turn(header: nibabel.Nifti1Header) -> np.ndarray:
    """For each stored axis, the canonical axis it lies closest to and its direction along it (1 or -1)."""
    affine = header.get_best_affine()
    if np.isfinite(affine).all():
        turn = np.asarray(io_orientation(affine))
        if np.isfinite(turn).all():
            return turn
    raise ReadError("This NIfTI does not say how its axes lie in the patient: its affine is singular.")


def _axes(turn: np.ndarray) -> tuple[int, int, int]:
    """The stored axes that run left to right, posterior to anterior, feet to head."""
    x, y, z = (int(axis) for axis in np.argsort(turn[:, 0]))
    return x, y, z


def _plain(plane: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, channels) numbers, (H, W, 3) for the RGB structures of NIfTI."""
    plane = plane[..., 0] if plane.shape[2] == 1 else plane
    if plane.dtype.names:
        return np.stack([plane[name] for name in "RGB"], axis=-1)
    return plane.astype(np.float64) if plane.dtype.itemsize > 8 else plane


def _is_square(header: nibabel.Nifti1Header, row: int, column: int) -> bool:
    """Whether rows and columns cross at right angles: the area of a sheared pixel is not that of its sides."""
    sides = header.get_best_affine()[:3, [row, column]].T
    lengths = np.linalg.norm(sides, axis=1)
    return bool(abs(sides[0] @ sides[1]) <= _SHEAR * lengths.prod())


def _spacing(row: float, column: float, unit: str) -> Spacing | None:
    return plausible_spacing(float(row) * _MILLIMETRES[unit], float(column) * _MILLIMETRES[unit])


def _affine(header: nibabel.Nifti1Header, unit: str) -> list[list[float]] | None:
    """The volume's affine in mm, None where the file does not say how the patient lies."""
    if not header["sform_code"] and not header["qform_code"]:
        return None
    scale = np.diag([*[_MILLIMETRES[unit]] * 3, 1.0])
    affine: list[list[float]] = (scale @ header.get_best_affine()).tolist()
    return affine


def _notes(header: nibabel.Nifti1Header, channels: int, unit: str, spacing: Spacing | None) -> tuple[str, ...]:
    notes = []
    if spacing is None:
        notes.append("The file's spacing makes no sense, or its axes are sheared: lengths and areas are in pixels.")
    elif unit == "unknown":
        notes.append("The file names no unit of length: its spacing is taken as millimetres.")
    if not header["sform_code"] and not header["qform_code"]:
        notes.append("The file does not say how the patient lies: left and right, front and back may be exchanged.")
    if channels > 1:
        notes.append(f"The file holds {channels} volumes: they are read as channels.")
    return tuple(notes)
