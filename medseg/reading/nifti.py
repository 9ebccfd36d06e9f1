"""NIfTI-1 and NIfTI-2 bytes (a single .nii or .nii.gz file) → one axial slice.

Convention, the same for pictures and masks: the volume is brought to the closest canonical orientation (RAS+), `frame`
counts along its third axis from the feet up, and the slice is shown as radiologists look at it: anterior at the top,
the patient's right on the left. With `a` the RAS+ array, the picture is `a[::-1, ::-1, frame].T`.

What is a frame and what a channel: slices are frames; what the file holds beyond three axes, the Decathlon's modalities
on the fourth or the standard's vectors on the fifth, stands at one place and is its channels. The header cannot tell
modalities from points in time (both lie on the fourth axis, and writers claim seconds for both), so a series is read as
channels too, with a note; a model of another number of channels refuses it.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, io_orientation

from medseg.arrays import Spacing
from medseg.errors import ReadError
from medseg.reading.stored import MAX_BYTES, Grey, Stored, check_channels, check_frame, check_size

HEADER_BYTES = 540
"""Length of the NIfTI-2 header; NIfTI-1 needs 348 of them."""

_MILLIMETRES = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}
_COLOURS = (("R", "G", "B"), ("R", "G", "B", "A"))


def is_nifti(data: bytes) -> bool:
    """Whether `data` begins with a NIfTI header; that of a .hdr/.img pair counts, to be refused by name."""
    return data[344:348] in (b"n+1\0", b"ni1\0") or data[4:8] in (b"n+2\0", b"ni2\0")


def count_nifti(data: bytes) -> int:
    """How many slices the (first) volume has along its canonical third axis."""
    volume = _open(data)
    return _shape(volume)[_axes(_turn(volume))[2]]


def read_nifti(data: bytes, frame: int) -> Stored:
    """Slice `frame` of the volume, scaled by scl_slope and scl_inter; the volumes of a 4-D file are its channels."""
    volume = _open(data)
    turn, shape = _turn(volume), _shape(volume)
    column, row, axis = _axes(turn)
    frames = shape[axis]
    check_frame(frame, frames)
    itemsize = max(8, volume.get_data_dtype().itemsize)  # 8: scaling makes float64
    check_channels(shape[row], shape[column], shape[3])
    check_size(shape[row], shape[column], shape[3] * itemsize)
    index = frame if turn[axis, 1] > 0 else frames - 1 - frame
    where: list[Any] = [slice(None)] * 4
    where[axis] = slice(index, index + 1)
    block = np.asanyarray(volume.dataobj.reshape(shape)[tuple(where)])
    pixels = _plain(apply_orientation(block, turn)[::-1, ::-1, 0].swapaxes(0, 1))
    zooms = (*volume.header.get_zooms(), 1.0)
    unit = volume.header.get_xyzt_units()[0]
    colour = volume.get_data_dtype().names is not None
    return Stored(
        pixels,
        "NIfTI",
        frame,
        frames,
        white=255.0 if colour else None,
        spacing_mm=_spacing(zooms[row], zooms[column], unit),
        grey=None if colour else Grey(function="LINEAR_EXACT"),
        notes=_notes(volume, shape[3], unit),
        affine=_affine(volume, unit),
    )


def unpack(data: bytes) -> bytes:
    """A .nii.gz unpacked as far as its header declares, never further: a few kilobytes cannot become gigabytes."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            header = packed.read(HEADER_BYTES)
            if not is_nifti(header):
                raise ReadError("This gzip archive holds no NIfTI volume. Unpack it and choose the picture inside.")
            return header + packed.read(max(0, _declared_bytes(header) - len(header)))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ReadError("This gzip archive is damaged or incomplete. Copy or export it again.") from error


def _declared_bytes(header: bytes) -> int:
    parsed = nibabel.Nifti2Header(header[:540], check=False) if header[4:7] in (b"n+2", b"ni2") else None
    parsed = parsed or nibabel.Nifti1Header(header[:348], check=False)
    voxels = math.prod(int(side) for side in parsed.get_data_shape())
    declared = int(parsed.get_data_offset()) + voxels * int(parsed.get_data_dtype().itemsize)
    if declared > MAX_BYTES:
        raise ReadError(
            f"This NIfTI declares {declared // 2**20} MiB of voxels; medseg reads {MAX_BYTES // 2**20}. Crop it."
        )
    return declared


def _open(data: bytes) -> nibabel.Nifti1Image:
    """The volume with no voxel decoded yet; refused where its array is odd or lies beyond the file's end."""
    if data[344:348] == b"ni1\0" or data[4:8] == b"ni2\0":
        raise ReadError("This is one half of a NIfTI pair (.hdr and .img). Save it as one .nii or .nii.gz file.")
    declared = _declared_bytes(data)
    if declared > len(data):
        raise ReadError(f"This NIfTI declares {declared} bytes and holds {len(data)}. Copy or export it again.")
    kind = nibabel.Nifti2Image if data[4:7] == b"n+2" else nibabel.Nifti1Image
    volume = kind.from_bytes(data)
    vectors = len(volume.shape) == 5 and volume.shape[3] == 1
    if not (2 <= len(volume.shape) <= 4 or vectors) or min(volume.shape) < 1:
        raise ReadError(f"This NIfTI holds an array of shape {volume.shape}; medseg reads slices of 3-D volumes.")
    dtype = volume.get_data_dtype()
    if dtype.names and math.prod(volume.shape[3:]) > 1:
        raise ReadError("This NIfTI holds several volumes of colours. Save the one that is meant.")
    if dtype.kind not in "uif" and dtype.names not in _COLOURS:
        raise ReadError("This NIfTI holds numbers that are no grey levels or colours. Save it as integers or floats.")
    return volume


def _shape(volume: nibabel.Nifti1Image) -> tuple[int, int, int, int]:
    """The three sides of the array and its channels: a 2-D file is a volume of one slice."""
    x, y, z = (*volume.shape, 1)[:3]
    return x, y, z, math.prod(volume.shape[3:])


def _turn(volume: nibabel.Nifti1Image) -> np.ndarray:
    """For each stored axis, the canonical axis it lies closest to and its direction along it (1 or -1)."""
    if np.isfinite(volume.affine).all():
        turn = np.asarray(io_orientation(volume.affine))
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


def _spacing(row: float, column: float, unit: str) -> Spacing | None:
    spacing = float(row) * _MILLIMETRES[unit], float(column) * _MILLIMETRES[unit]
    return spacing if all(math.isfinite(v) and v > 0 for v in spacing) else None


def _affine(volume: nibabel.Nifti1Image, unit: str) -> list[list[float]] | None:
    """The volume's affine in mm, None where the file does not say how the patient lies."""
    if not volume.header["sform_code"] and not volume.header["qform_code"]:
        return None
    scale = np.diag([*[_MILLIMETRES[unit]] * 3, 1.0])
    affine: list[list[float]] = (scale @ volume.affine).tolist()
    return affine


def _notes(volume: nibabel.Nifti1Image, channels: int, unit: str) -> tuple[str, ...]:
    notes = []
    if unit == "unknown":
        notes.append("The file names no unit of length: its spacing is taken as millimetres.")
    if not volume.header["sform_code"] and not volume.header["qform_code"]:
        notes.append("The file does not say how the patient lies: left and right, front and back may be exchanged.")
    if channels > 1:
        notes.append(f"The file holds {channels} volumes: they are read as channels.")
    return tuple(notes)
