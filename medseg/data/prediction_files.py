"""Predictions as other programs write them: arrays of probabilities (npz, npy), and DICOM SEG."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medseg.arrays import Masks, Probabilities
from medseg.data.parts import stored_size
from medseg.errors import ReadError
from medseg.image import Image, to_upright

MAX_BYTES = 2**30
"""Of the arrays of one file, unpacked."""

ARRAYS = (".npz", ".npy")
_NAMES = ("probabilities", "softmax", "probs", "prediction", "pred")
_SLACK = 1e-3  # float16, and sums of a softmax
_Frame = tuple[str, int | None]


@dataclass(frozen=True, eq=False)
class Read:
    """What a model predicts for one image, upright: probabilities and masks, (K, H, W) both; of masks alone the
    probabilities are 0 and 1."""

    probabilities: Probabilities
    masks: Masks

    @classmethod
    def of(cls, masks: Masks) -> Read:
        return cls(masks.astype(np.float32), masks)

    @classmethod
    def at_half(cls, probabilities: Probabilities) -> Read:
        """With the masks at the threshold 0.5."""
        return cls(probabilities, probabilities >= 0.5)


def read_arrays(path: Path, labels: Sequence[str], image: Image) -> Read:
    """The predictions in an npz or npy: (H, W), (K, H, W), (H, W, K), or of a volume (K, slices, H, W), on the pixel
    grid of the image's file.

    An npz holds one array, or one named `probabilities` (as `medseg.export.npz` and nnU-Net write); `labels` in it
    name the axis. K + 1 classes are a softmax with the background first: every pixel goes to the greatest. Otherwise
    a pixel counts from 0.5 on; whole numbers must be 0 and 1, a mask. Raises ReadError for other shapes, and values
    that are no probabilities.
    """
    array, names = _load(path)
    if not array.size:
        raise ReadError("The array is empty.")
    if array.dtype == bool or (array.dtype.kind in "iu" and 0 <= array.min() <= array.max() <= 1):
        array = array.astype(np.float32)
    if array.dtype.kind != "f" or not np.isfinite(array).all() or array.min() < -_SLACK or array.max() > 1 + _SLACK:
        raise ReadError(f"The array holds no probabilities between 0 and 1 but {_values(array)}.")
    planes = _planes(array, len(labels), image)
    if names and len(names) == len(planes):
        planes = planes[[_place(label, names) for label in labels]]
    upright = np.ascontiguousarray(to_upright(planes, image.orientation), dtype=np.float32).clip(0, 1)
    if len(upright) == len(labels):
        return Read.at_half(upright)
    greatest = upright.argmax(axis=0)
    return Read(upright[1:], np.stack([greatest == label for label in range(1, len(upright))]))


def _values(array: np.ndarray) -> str:
    """What an array holds in place of probabilities, and what to do."""
    if array.dtype.kind not in "iuf":
        return f"values of the type {array.dtype}"
    if not np.isfinite(array).all():
        return f"{np.count_nonzero(~np.isfinite(array))} values that are no numbers (nan, inf): replace them"
    return f"values from {array.min():g} to {array.max():g}: save it past the sigmoid or softmax, or as 0 and 1"


def _load(path: Path) -> tuple[np.ndarray, list[str]]:
    """The array and, where the file names them, its labels."""
    try:
        if path.suffix.lower() == ".npy":
            return np.array(np.load(path, allow_pickle=False, mmap_mode="r")), []
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise ReadError(f"The arrays unpack to more than {MAX_BYTES} bytes. Save one file for each image.")
        with np.load(path, allow_pickle=False) as content:
            array: np.ndarray
            names = [name for name in _NAMES if name in content.files] or content.files
            if len(names) > 1 and names[0] not in _NAMES:
                raise ReadError(f"The file holds the arrays {', '.join(names[:8])}: name one of them probabilities.")
            labels = [str(label) for label in np.atleast_1d(content["labels"])] if "labels" in content.files else []
            array = content[names[0]]
            return array, labels
    except (
        OSError, ValueError, KeyError, IndexError, MemoryError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error
    ) as error:  # fmt: skip
        raise ReadError(f"This is no file of NumPy's that can be read ({type(error).__name__}).") from None


def _planes(array: np.ndarray, count: int, image: Image) -> np.ndarray:
    """(K or K + 1, H, W) on the stored grid."""
    size, counts = stored_size(image), (count, count + 1)
    if array.ndim == 2:
        array = array[np.newaxis]
    if array.ndim == 4 and array.shape[1] in (1, image.frames):
        array = array[:, image.frame if array.shape[1] > 1 else 0]
    if array.ndim == 3 and array.shape[1:] == size and array.shape[0] in counts:
        return array
    if array.ndim == 3 and array.shape[:2] == size and array.shape[2] in counts:
        return array.transpose(2, 0, 1)
    if array.ndim == 3 and count == 1 and array.shape == (image.frames, *size):
        return array[image.frame : image.frame + 1]
    raise ReadError(
        f"The array is {' × '.join(map(str, array.shape))}; for {count} labels and this image {count} (or, with the "
        f"background first, {count + 1}) × {size[0]} × {size[1]} is wanted."
    )


def _place(label: str, names: Sequence[str]) -> int:
    known = [name.strip().casefold() for name in names]
    if label.casefold() in known:
        return known.index(label.casefold())
    if len(known) == 1:
        return 0
    raise ReadError(f"There is nothing of {label}; there are {', '.join(names)}.")


@dataclass
class Segmentation:
    """A DICOM SEG: the names of its segments by number, where the frames of each source image lie, and the images that
    it is of; those without a frame have nothing marked, since writers leave out empty frames."""

    names: dict[int, str]
    frames: dict[_Frame, list[tuple[int, int]]] = field(default_factory=dict)
    images: frozenset[str] = frozenset()
    planes: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.uint8))
    kind: str = "BINARY"
    most: int = 1

    def read(self, place: _Frame, labels: Sequence[str], image: Image) -> Read:
        """The prediction for the source image (SOP instance, frame from 1 on)."""
        parts = self.frames.get(place) or self.frames.get((place[0], None), [])
        numbers = {label: [*self.names][_place(label, [*self.names.values()])] for label in labels}
        if self.planes.shape[1:] != stored_size(image):
            raise ReadError(f"The segmentation is of {self.planes.shape[1:]}, the image {image.size} (rows, columns).")
        stack = np.zeros((len(labels), *self.planes.shape[1:]), np.float32)
        for number, index in parts:
            for k, label in enumerate(labels):
                if self.kind == "LABELMAP":
                    stack[k] = np.maximum(stack[k], self.planes[index] == numbers[label])
                elif numbers[label] == number:
                    stack[k] = np.maximum(stack[k], self.planes[index] / self.most)
        return Read.at_half(np.ascontiguousarray(to_upright(stack, image.orientation)))


def read_segmentation(path: Path) -> Segmentation:
    """A DICOM SEG without compression (PS3.3 A.51), each frame with the image that it refers to.

    Raises ReadError for what is no such file, or says not which image a frame is of.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        seg = pydicom.dcmread(path)
        if seg.get("Modality") != "SEG":
            raise ReadError("This DICOM is no segmentation (SEG).")
        if seg.file_meta.TransferSyntaxUID.is_compressed:
            raise ReadError("The segmentation is compressed. Save it as Explicit VR Little Endian.")
        names = {int(s.SegmentNumber): str(s.get("SegmentLabel", "")) for s in seg.SegmentSequence}
        segmentation = Segmentation(
            names,
            images=frozenset(str(instance.ReferencedSOPInstanceUID) for instance in _instances(seg)),
            kind=str(seg.SegmentationType),
            most=max(int(seg.get("MaximumFractionalValue", 1)), 1),
        )
        segmentation.planes = _unpacked(seg)
        for index, (number, place) in enumerate(_references(seg)):
            segmentation.frames.setdefault(place, []).append((number, index))
    except (OSError, ValueError, KeyError, AttributeError, IndexError, TypeError, InvalidDicomError) as error:
        raise ReadError(f"This DICOM SEG cannot be read ({type(error).__name__}: {error}).") from None
    return segmentation


def _unpacked(seg: Any) -> np.ndarray:
    """(frames, rows, columns); of one bit, frames follow each other without a gap, lowest bit first (PS3.5 8.1.1)."""
    shape = (int(seg.get("NumberOfFrames", 1)), int(seg.Rows), int(seg.Columns))
    if int(np.prod(shape, dtype=np.float64)) > MAX_BYTES:
        raise ReadError(f"The segmentation unpacks to more than {MAX_BYTES} bytes.")
    if seg.BitsAllocated == 1:
        bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
        return np.asarray(bits[: int(np.prod(shape))].reshape(shape))
    kind = np.dtype("<u2" if seg.BitsAllocated == 16 else np.uint8)
    return np.frombuffer(seg.PixelData, kind)[: int(np.prod(shape))].reshape(shape)


def _instances(seg: Any) -> list[Any]:
    """The images that the segmentation as a whole refers to (PS3.3 C.12.4)."""
    series = seg.get("ReferencedSeriesSequence", [])
    return [reference for entry in series for reference in entry.get("ReferencedInstanceSequence", [])]


def _references(seg: Any) -> Iterator[tuple[int, _Frame]]:
    """Of every frame its segment (0 in a label map) and the image it refers to (PS3.3 C.7.6.16.2.6)."""
    shared = seg.get("SharedFunctionalGroupsSequence", [{}])[0]
    instances = _instances(seg)
    for groups in seg.PerFrameFunctionalGroupsSequence:
        segment = groups.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence")
        number = int(segment[0].ReferencedSegmentNumber) if segment else 0
        derivation = groups.get("DerivationImageSequence") or shared.get("DerivationImageSequence")
        sources = derivation[0].get("SourceImageSequence") if derivation else None
        if not sources and len(instances) != 1:
            raise ReadError("The segmentation does not say which image each frame is of.")
        source = sources[0] if sources else instances[0]
        frame = source.get("ReferencedFrameNumber")
        first = frame[0] if isinstance(frame, Sequence) and not isinstance(frame, str) else frame
        yield number, (str(source.ReferencedSOPInstanceUID), None if first is None else int(first))


def source_of(path: Path, frame: int) -> _Frame | None:
    """How a DICOM SEG refers to that frame (from 0 on) of a file; None for what is no DICOM."""
    header = _header(path, "SOPInstanceUID")
    return (str(header.SOPInstanceUID), frame + 1) if header is not None and "SOPInstanceUID" in header else None


def is_segmentation(path: Path) -> bool:
    """Whether the file is a DICOM of modality SEG."""
    header = _header(path, "Modality")
    return header is not None and header.get("Modality") == "SEG"


def _header(path: Path, tag: str) -> Any:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[tag])
    except (OSError, ValueError, AttributeError, InvalidDicomError):
        return None
