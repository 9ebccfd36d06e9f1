"""How a DICOM wants its stored values shown, and what is known of its geometry: frame by frame where it says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset

from medseg.arrays import Spacing
from medseg.errors import ReadError
from medseg.reading.dicom_header import Geometry, frame_count, numbers
from medseg.reading.grey import entry_bits
from medseg.reading.stored import Grey, Lut, plausible_spacing

# The codes of PS3.3 C.7.3.1.1.1 that images carry.
_MODALITIES = re.compile(
    "AR|BDUS|BI|BMD|CR|CT|DG|DX|DXA|ES|GM|IO|IVOCT|IVUS|KER|LEN|LS|MG|MR|NM|OAM|OCT|OP|OPM|OPT|OPTBSV|OPTENF|OT|PT|PX|"
    "RF|RG|RTDOSE|RTIMAGE|SEG|SM|SRF|TG|US|VA|XA|XC"
)
_SEGMENTATIONS = (uid.SegmentationStorage, "1.2.840.10008.5.1.4.1.1.66.7")  # the second: label maps, since 2024
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_SPACINGS = {
    "ImagerPixelSpacing": "The spacing is that of the detector, not corrected for magnification.",
    "NominalScannedPixelSpacing": "The spacing is the nominal one of the film scanner.",
}


def grey(header: Dataset, frame: int, shape: Geometry) -> Grey:
    """The way from stored values to grey levels that the file gives for `frame`.

    Enhanced multi-frame files give it per frame or shared by all (PS3.3 C.7.6.16.2.9 and .10), others at the top.
    """
    transformation = layer(header, frame, "PixelValueTransformationSequence")
    voi = layer(header, frame, "FrameVOILUTSequence")
    slope = numbers(transformation, "RescaleSlope") or [1.0]
    intercept = numbers(transformation, "RescaleIntercept") or [0.0]
    if slope[0] == 0:
        raise ReadError("This DICOM's Rescale Slope (0028,1053) is 0: every pixel would be equal.")
    return Grey(
        slope=slope[0],
        intercept=intercept[0],
        modality_lut=_lut(header, "ModalityLUTSequence", shape.signed),
        voi_lut=_below_zero(_lut(voi, "VOILUTSequence", shape.signed), slope[0], intercept[0], shape),
        window=window_of(voi),
        function=_function(voi),
        inverted=shape.photometric == "MONOCHROME1",
        padding=_padding(header, shape),
        windows=_windows(voi),
    )


def _below_zero(lut: Lut | None, slope: float, intercept: float, shape: Geometry) -> Lut | None:
    """`lut` with its first input below 0 where it was read unsigned: implicit VR leaves the sign to the reader, and
    what the rescale gives may be negative though the stored values are not (PS3.3 C.11.2.1.1)."""
    if lut is None:
        return None
    ends = [slope * value + intercept for value in _range(shape)]
    return replace(lut, first=lut.first - 65536) if lut.first > 32767 and lut.first > max(ends) else lut


def _range(shape: Geometry) -> tuple[int, int]:
    """The lowest and highest sample that the stored bits can hold."""
    return (-(2 ** (shape.bits - 1)), 2 ** (shape.bits - 1) - 1) if shape.signed else (0, 2**shape.bits - 1)


def spacing(header: Dataset, frame: int) -> Spacing | None:
    """(row, column) distance in mm: of the patient where the file knows it, else of the detector or scanner."""
    measures = layer(header, frame, "PixelMeasuresSequence")
    return _spacing(measures, "PixelSpacing") or _spacing(header, _spacing_source(header, frame))


def modality(header: Dataset) -> str | None:
    """The Modality code (0008,0060), None where it is none of the short codes that the standard lists."""
    value = str(header.get("Modality") or "")
    return value if _MODALITIES.fullmatch(value) else None


def notes(header: Dataset, frame: int) -> tuple[str, ...]:
    """Sentences the user should see beside the image."""
    return (*_notes_of_kind(header), *_notes_of_spacing(header, frame), *_notes_of_look(header, frame))


def _notes_of_kind(header: Dataset) -> Iterator[str]:
    if header.get("SOPClassUID") in _SEGMENTATIONS:
        yield "This DICOM is a segmentation: its pixels are masks that somebody drew, not what a scanner measured."
    if frame_count(header) is None:
        yield "The file does not count its frames: as many are read as its pixels make."
    burned = header.get("BurnedInAnnotation")
    if burned == "YES":
        yield "The file says that text, perhaps a name, is burned into its pixels."
    elif burned != "NO":
        yield "The file does not say whether text, perhaps a name, is burned into its pixels."


def _notes_of_spacing(header: Dataset, frame: int) -> Iterator[str]:
    source = _spacing_source(header, frame)
    if source in _SPACINGS:
        yield _SPACINGS[source]
    layers = (layer(header, frame, "PixelMeasuresSequence"), header)
    if not source and any(numbers(each, keyword) for each in layers for keyword in ("PixelSpacing", *_SPACINGS)):
        yield "The file's spacing makes no sense: lengths and areas are counted in pixels."


def _notes_of_look(header: Dataset, frame: int) -> Iterator[str]:
    voi = layer(header, frame, "FrameVOILUTSequence")
    windows = len(numbers(voi, "WindowCenter"))
    if windows > 1 and window_of(voi) and "VOILUTSequence" not in voi:
        yield f"The file gives {windows} windows; the first is used."
    if windows and not window_of(voi):
        yield "The file's window is not valid and is not used."
    lut = _lut(voi, "VOILUTSequence", signed=False)
    if lut is not None and entry_bits(lut) != lut.bits:
        yield f"The file's look-up table declares {lut.bits} bits and holds {entry_bits(lut)}: these are white."
    if header.get("PresentationLUTShape") == "INVERSE" and header.get("PhotometricInterpretation") == "MONOCHROME2":
        yield "The file asks for inversion though it is MONOCHROME2; it is not inverted."


def layer(header: Dataset, frame: int, sequence: str) -> Dataset:
    """Where `frame`'s attributes of that functional group stand: its own item, the shared one, or the top level."""
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for groups in [*per_frame[frame : frame + 1], *shared[:1]]:
        if groups.get(sequence):
            return groups[sequence][0]  # type: ignore[no-any-return]
    return header


def is_volume(header: Dataset, frames: int) -> bool:
    """Whether the frames lie at different places (enhanced CT, MR, tomosynthesis) and not at different times."""
    places = [
        numbers(layer(header, frame, "PlanePositionSequence"), "ImagePositionPatient") for frame in (0, frames - 1)
    ]
    return frames > 1 and "PerFrameFunctionalGroupsSequence" in header and places[0] != places[1]


def _spacing_source(header: Dataset, frame: int) -> str:
    """The keyword that the spacing comes from; "" where the file has none that makes sense."""
    if _spacing(layer(header, frame, "PixelMeasuresSequence"), "PixelSpacing"):
        return "PixelSpacing"
    return next((keyword for keyword in ("PixelSpacing", *_SPACINGS) if _spacing(header, keyword)), "")


def _spacing(layer: Dataset, keyword: str) -> Spacing | None:
    values = numbers(layer, keyword) if keyword else []
    return plausible_spacing(values[0], values[1]) if len(values) == 2 else None


def _function(voi: Dataset) -> str:
    value = str(voi.get("VOILUTFunction") or "LINEAR")
    if value not in _FUNCTIONS:
        raise ReadError("This DICOM's VOI LUT Function (0028,1056) is not one of the standard.")
    return value


def window_of(voi: Dataset) -> tuple[float, float] | None:
    """The first (centre, width) where its width is valid; None where it is not, also when a later one is."""
    windows, first = _windows(voi), (*numbers(voi, "WindowCenter")[:1], *numbers(voi, "WindowWidth")[:1])
    return windows[0] if windows and windows[0] == first else None


def _windows(voi: Dataset) -> tuple[tuple[float, float], ...]:
    """Each (centre, width) of a width that the standard allows (PS3.3 C.11.2.1.2, C.11.2.1.3)."""
    least = 1 if _function(voi) == "LINEAR" else 1e-6
    pairs = zip(numbers(voi, "WindowCenter"), numbers(voi, "WindowWidth"), strict=False)
    return tuple((centre, width) for centre, width in pairs if width >= least)


def _padding(header: Dataset, shape: Geometry) -> tuple[float, float] | None:
    """Lowest and highest stored value of the padding (PS3.3 C.7.5.1.1.2, C.7.6.24.1.1)."""
    for kind in ("", "Float", "DoubleFloat"):
        value = numbers(header, f"{kind}PixelPaddingValue")
        if value:
            limit = numbers(header, f"{kind}PixelPaddingRangeLimit") or value
            ends = [end if kind else _as_stored(end, shape) for end in (value[0], limit[0])]
            return min(ends), max(ends)
    return None


def _as_stored(value: float, shape: Geometry) -> float:
    """`value` with the sign that the samples have, where it was written as a word of the other kind."""
    low, high = _range(shape)
    turned = [value + step for step in (0, -(2**shape.allocated), 2**shape.allocated)]
    return next((each for each in turned if low <= each <= high), value)


def _lut(layer: Dataset, sequence: str, signed: bool) -> Lut | None:
    """The first table of `sequence` (PS3.3 C.11.1.1.1, C.11.2.1.1): of several VOI LUTs the default view."""
    if not layer.get(sequence):
        return None
    item = layer[sequence][0]
    try:
        count, first, bits = (int(v) for v in _words(item, "LUTDescriptor"))
        values = _words(item, "LUTData", 1 if bits <= 8 else 2, count & 0xFFFF)
    except (TypeError, ValueError, AttributeError) as error:
        raise ReadError("This DICOM's look-up table (0028,3002) cannot be understood. Export it again.") from error
    count = (count & 0xFFFF) or 65536  # 0 stands for 65536, which 16 bits cannot hold
    if not 1 <= bits <= 16 or len(values) < count:
        raise ReadError(f"This DICOM's look-up table declares {count} entries of {bits} bits. Export it again.")
    first = first - 65536 if signed and first > 32767 else first
    return Lut(first, [int(v) & 0xFFFF for v in values[:count]], bits)


def _words(item: Dataset, keyword: str, width: int = 2, count: int = 0) -> Any:
    """The numbers of a table; where it is raw bytes (OW), two bytes an entry, or one if it holds just `count`."""
    value = item[keyword].value
    if not isinstance(value, bytes):
        return value
    narrow = width == 1 and len(value) in (count, count + count % 2)
    order = "<" if item.original_encoding[1] in (True, None) else ">"
    return np.frombuffer(value, "u1" if narrow else f"{order}u2").tolist()
