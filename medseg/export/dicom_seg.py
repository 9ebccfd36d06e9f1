"""DICOM SEG (PS3.3 A.51): masks or probabilities that refer to the DICOM files they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from medseg.errors import InputError
from medseg.export import derived
from medseg.export.derived import LO, ST, Frames, code, fitted
from medseg.export.placement import doubts
from medseg.export.segment_codes import property_codes
from medseg.image import to_stored
from medseg.inference.prediction import Prediction
from medseg.inference.record import NOTICE, notice
from medseg.overlay import Colour, label_colour
from medseg.postprocess import to_label_map
from medseg.version import __version__

SegKind: TypeAlias = Literal["BINARY", "FRACTIONAL", "LABELMAP"]
"""Masks, one bit a pixel and label; probabilities in steps of 1/255; or the number of a pixel's only label."""

_LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"  # PS3.4 B.5; pydicom 3.0 has no name for it
_KINDS = {"BINARY": "mask", "FRACTIONAL": "probability", "LABELMAP": "label map"}


def write_dicom_seg(
    predictions: Sequence[Prediction],
    sources: derived.Sources,
    path: Path,
    *,
    kind: SegKind = "BINARY",
) -> None:
    """Write one DICOM SEG of the `predictions`, each of another frame, a segment a label.

    `sources` is the DICOM file that all predictions were read from, or one file of a series for each. Every segment has
    a frame for every prediction, the empty ones too, so "nothing found" can be told from "not looked at". Frame of
    reference, position and spacing are the source's, where it has them. The segments' descriptions name models,
    weights and settings, which all predictions must share.

    Raises ReadError for a source that is no DICOM, lacks what a SEG must repeat, or contradicts itself; InputError
    where a file is not the one of the prediction's image, the predictions do not belong together, or labels overlap
    in a LABELMAP.
    """
    with derived.refusing(path, "DICOM SEG"):
        derived.save(_build(derived.read_frames(predictions, sources), kind), path)


def _build(frames: Frames, kind: SegKind) -> Dataset:
    first, headers = frames[0][0], [header for _, header in frames]
    sop_class = _LABEL_MAP_STORAGE if kind == "LABELMAP" else SegmentationStorage
    seg = derived.begin(headers[0], sop_class, "SEG", derived.series_description(frames, _KINDS[kind]))
    seg.DeviceSerialNumber = first.member_sha256[0][:16]
    seg.ImageType = ["DERIVED", "PRIMARY"]
    seg.ContentLabel, seg.ContentDescription, seg.ContentCreatorName = "MEDSEG", NOTICE, ""
    seg.SegmentationType = kind
    derived.refer(seg, headers)
    segments = () if kind == "LABELMAP" else range(1, len(first.labels) + 1)
    derived.add_groups(seg, frames, segments, code("113076", "DCM", "Segmentation"))
    about = fitted(" ".join(filter(None, (notice(first.image), doubts(headers), first.describe()))), ST)
    seg.SegmentSequence = [_segment(first, index, about) for index in range(len(first.labels))]
    _add_pixels(seg, frames, kind)
    return seg


def _add_pixels(seg: Dataset, frames: Frames, kind: SegKind) -> None:
    seg.SamplesPerPixel, seg.PhotometricInterpretation, seg.PixelRepresentation = 1, "MONOCHROME2", 0
    seg.PresentationLUTShape, seg.BurnedInAnnotation = "IDENTITY", "NO"
    seg.BitsAllocated = seg.BitsStored = 1 if kind == "BINARY" else 8
    seg.HighBit = seg.BitsStored - 1
    seg.SegmentsOverlap = "YES" if any((prediction.masks.sum(axis=0) > 1).any() for prediction, _ in frames) else "NO"
    pixels = _stack(frames, kind)
    seg.Rows, seg.Columns = pixels.shape[-2:]
    if kind == "FRACTIONAL":
        seg.SegmentationFractionalType, seg.MaximumFractionalValue = "PROBABILITY", 255
        seg.SegmentsOverlap = "UNDEFINED"
    if kind == "LABELMAP":
        if seg.SegmentsOverlap == "YES":
            raise InputError("Labels overlap here, and a LABELMAP holds one label a pixel: choose BINARY.")
        seg.PixelPaddingValue = 0  # background, and no segment: OHIF and dcmqi count a described 0 as the first label
    if kind == "BINARY":  # frames follow each other without a gap, lowest bit first (PS3.5 8.1.1)
        pixels = np.packbits(pixels.ravel(), bitorder="little")
    content = pixels.tobytes()
    seg.PixelData = content + b"\0" * (len(content) % 2)


def _stack(frames: Frames, kind: SegKind) -> np.ndarray[Any, Any]:
    """(K, frames, H, W) uint8 on the stored grid: 0 and 1, or probabilities × 255; of a LABELMAP (frames, H, W)."""
    planes = []
    for prediction, _ in frames:
        if kind == "FRACTIONAL":
            values = np.rint(prediction.probabilities.clip(0, 1) * 255)
        else:
            values = to_label_map(prediction.masks) if kind == "LABELMAP" else prediction.masks
        planes.append(to_stored(values, prediction.image.orientation).astype(np.uint8))
    stack = np.stack(planes)
    return stack if kind == "LABELMAP" else stack.swapaxes(0, 1)


def _segment(prediction: Prediction, index: int, about: str) -> Dataset:
    segment, algorithm = Dataset(), Dataset()
    segment.SegmentNumber, segment.SegmentLabel = index + 1, fitted(prediction.labels[index], LO)
    segment.SegmentDescription = about
    segment.SegmentAlgorithmType, segment.SegmentAlgorithmName = "AUTOMATIC", fitted(prediction.ensemble.name, LO)
    category, kind = property_codes(prediction.labels[index])
    segment.SegmentedPropertyCategoryCodeSequence = [category]
    segment.SegmentedPropertyTypeCodeSequence = [kind]
    algorithm.AlgorithmFamilyCodeSequence = [code("123110", "DCM", "Artificial Intelligence")]
    algorithm.AlgorithmName, algorithm.AlgorithmVersion = fitted(prediction.ensemble.name, LO), __version__
    algorithm.AlgorithmSource = "medseg"
    segment.SegmentationAlgorithmIdentificationSequence = [algorithm]
    segment.RecommendedDisplayCIELabValue = cielab(label_colour(index))
    return segment


def cielab(colour: Colour) -> list[int]:
    """An sRGB colour as PCS-Values (PS3.3 C.10.7.1.1): CIE L*a*b* under D50, each in 16 bits.

    Source: IEC 61966-2-1, with Bradford's adaptation from D65 to D50; CIE 15.
    """
    levels = np.asarray(colour) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    x, y, z = _TO_XYZ_D50 @ linear / _D50
    fx, fy, fz = (v ** (1 / 3) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in (x, y, z))
    lightness, a, b = 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)
    scaled = (lightness * 655.35, (a + 128) * 257, (b + 128) * 257)
    return [int(np.clip(np.rint(value), 0, 65535)) for value in scaled]


_TO_XYZ_D50 = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
_D50 = _TO_XYZ_D50.sum(axis=1)
