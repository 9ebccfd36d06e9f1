"""A DICOM file's header: the few attributes that medseg reads, and the shape that they declare for the pixels.

Nothing else is parsed, and no text of a file is ever quoted in a message: a name typed into
the wrong field stays there.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass, replace
from typing import Any

import pydicom
from pydicom.datadict import dictionary_has_tag, tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medseg.errors import ReadError
from medseg.reading.signatures import is_part10
from medseg.reading.stored import MAX_BYTES, check_channels, check_size

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_ALLOWED = sorted(
    {*_PIXELS}
    | {"SOPClassUID", "Modality", "NumberOfFrames", "BurnedInAnnotation"}
    | {"Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"}
    | {
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
    }
    | {"PixelPaddingValue", "PixelPaddingRangeLimit", "FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit"}
    | {"DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit"}
    | {"RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "PresentationLUTShape"}
    | {"VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"}
    | {"PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "ImagePositionPatient"}
    | {"SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"}
    | {
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Data", "Descriptor")
    }
    | {f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")}
)
_ONE_SAMPLE = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"}
_THREE_SAMPLES = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}


@dataclass(frozen=True)
class Geometry:
    """What the header declares of the pixels (PS3.3 C.7.6.3). `bits` of each sample end at bit `high_bit`."""

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    allocated: int
    bits: int
    high_bit: int
    signed: bool
    floating: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns) of one sample, (rows, columns, 3) of three."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def frame_bits(self) -> int:
        """How many bits of uncompressed Pixel Data one frame takes."""
        bits = self.rows * self.columns * self.samples * self.allocated
        # two pixels share one pair of chroma samples, PS3.3 C.7.6.3.1.2
        return bits * 2 // 3 if self.photometric == "YBR_FULL_422" else bits

    @property
    def native_bytes(self) -> int:
        """How long the uncompressed Pixel Data of all frames must be, before it is padded to an even length."""
        return (self.frame_bits * self.frames + 7) // 8  # 1-bit frames follow each other without padding, PS3.5 8.1.1


def open_dicom(data: bytes) -> Dataset:
    """The allow-listed attributes of the file; refused by its SOP class where it holds no image."""
    check_deflated(data)
    header = pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=list(_ALLOWED))
    if not any(name in header for name in _PIXELS):
        raise ReadError(
            f"This DICOM holds no image (SOP class {_sop_class(header)}). Choose an image file of the study."
        )
    if "TransferSyntaxUID" not in header.file_meta:
        implicit, little = header.original_encoding
        native = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = native
    return header


def check_deflated(data: bytes) -> None:
    """Refuse a deflated data set (PS3.5 A.5) that unpacks to more than the limit: pydicom unpacks it without one."""
    start = 132 if is_part10(data) else 0
    if b"1.2.840.10008.1.2.1.99" not in data[start : start + 4096]:
        return
    # The group 2 length counts from the end of its own element, 12 bytes long (PS3.10 7.1).
    body = start + 12 + int.from_bytes(data[start + 8 : start + 12], "little")
    unpacker, unpacked = zlib.decompressobj(-zlib.MAX_WBITS), 0
    for at in range(
        body, len(data), 4096
    ):  # in pieces, because 512 MiB of fresh memory take longer than unpacking them
        unpacked += len(unpacker.decompress(data[at : at + 4096]))
        if unpacked > MAX_BYTES:
            raise ReadError(f"This DICOM unpacks to more than {MAX_BYTES // 2**20} MiB, the most that medseg reads.")


def _sop_class(header: Dataset) -> str:
    """The standard's own name of the file's SOP class: never a text out of the file."""
    uid = UID(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or "")
    return "unknown" if uid.name == uid else uid.name  # the name of an unknown UID is the UID


def geometry(header: Dataset) -> Geometry:
    """The declared shape of the pixels, checked for completeness, contradictions and size before any is decoded."""
    floating = "PixelData" not in header
    photometric, samples = _photometric(header), integer(header, "SamplesPerPixel")
    if samples != (3 if photometric in _THREE_SAMPLES else 1):
        raise ReadError(
            f"This DICOM contradicts itself: {photometric} with {samples} samples per pixel. Export it again."
        )
    allocated, bits, high_bit = _bits(header, floating)
    rows, columns = integer(header, "Rows"), integer(header, "Columns")
    check_size(rows, columns, samples * allocated / 8)
    check_channels(rows, columns, 3 if photometric == "PALETTE COLOR" else samples)
    signed = not floating and _is_signed(header)
    shape = Geometry(rows, columns, 1, samples, photometric, allocated, bits, high_bit, signed, floating)
    return replace(shape, frames=frame_count(header) or _held_frames(header, shape))


def _held_frames(header: Dataset, shape: Geometry) -> int:
    """How many whole frames a file holds that counts none, which readers take for a single one where they are
    compressed."""
    if header.file_meta.TransferSyntaxUID.is_encapsulated:
        return 1
    return max(1, len(pixel_bytes(header)) * 8 // shape.frame_bits)


def pixel_bytes(header: Dataset) -> bytes:
    """The value of whichever attribute holds the pixels."""
    return header[next(name for name in _PIXELS if name in header)].value or b""


def _bits(header: Dataset, floating: bool) -> tuple[int, int, int]:
    """Bits Allocated, Bits Stored and High Bit. Float pixels carry only the first of them (PS3.3 C.7.6.24)."""
    allocated = integer(header, "BitsAllocated")
    wanted = (64,) if "DoubleFloatPixelData" in header else (32,) if floating else (1, 8, 16, 32)
    if allocated not in wanted:
        raise ReadError(
            f"This DICOM allocates {allocated} bits per sample (0028,0100); medseg reads {_listed(wanted)}."
        )
    bits = allocated if floating else integer(header, "BitsStored")
    high_bit = bits - 1 if floating else integer(header, "HighBit")
    if not 1 <= bits <= allocated or not bits - 1 <= high_bit < allocated:
        raise ReadError(
            f"This DICOM contradicts itself: {allocated} bits allocated, {bits} stored, high bit {high_bit}. "
            "Export it again."
        )
    return allocated, bits, high_bit


def frame_count(header: Dataset) -> int | None:
    """Number of Frames (0028,0008); 1 where the attribute is absent, as in all single-frame classes; None where it is
    empty or 0, as some writers of single frames leave it."""
    if "NumberOfFrames" not in header:
        return 1
    return integer(header, "NumberOfFrames") or None if numbers(header, "NumberOfFrames") else None


def _is_signed(header: Dataset) -> bool:
    code = integer(header, "PixelRepresentation")
    if code not in (0, 1):
        raise ReadError(f"This DICOM's Pixel Representation (0028,0103) is {code}, neither 0 nor 1. Export it again.")
    return code == 1


def _photometric(header: Dataset) -> str:
    value = header.get("PhotometricInterpretation")
    if not value:
        raise ReadError(absent("PhotometricInterpretation"))
    if value not in _ONE_SAMPLE | _THREE_SAMPLES:
        known = _listed(sorted(_ONE_SAMPLE | _THREE_SAMPLES))
        raise ReadError(f"This DICOM's Photometric Interpretation (0028,0004) is none of {known}. Export it again.")
    return str(value)


def integer(header: Dataset, keyword: str) -> int:
    """The whole number that attribute `keyword` holds; a named refusal where it is absent or something else."""
    values = numbers(header, keyword)
    if not values:
        raise ReadError(absent(keyword))
    if len(values) > 1 or values[0] != int(values[0]):
        raise ReadError(senseless(keyword))
    return int(values[0])


def numbers(header: Dataset, keyword: str) -> list[float]:
    """The finite numbers that attribute `keyword` holds, none where it is absent or empty."""
    try:
        value: Any = header.get(keyword)
        if value is None or value == "":
            return []
        parsed = [float(v) for v in ([value] if isinstance(value, (int, float, str)) else value)]
    except (TypeError, ValueError, OverflowError, NotImplementedError) as error:
        raise ReadError(senseless(keyword)) from error
    if any(v - v != 0 for v in parsed):  # infinite or not a number
        raise ReadError(senseless(keyword))
    return parsed


def _name(keyword: str) -> str:
    tag = pydicom.tag.Tag(tag_for_keyword(keyword) or 0)
    return f"{pydicom.datadict.dictionary_description(tag) if dictionary_has_tag(tag) else keyword} {tag}"


def absent(keyword: str, consequence: str = "so its pixels cannot be understood") -> str:
    """The sentence that refuses a file without attribute `keyword`."""
    return f"This DICOM does not say its {_name(keyword)}, {consequence}. Export it again."


def senseless(keyword: str, wanted: str = "number") -> str:
    """The sentence that refuses a file for what attribute `keyword` holds."""
    return f"This DICOM's {_name(keyword)} holds no usable {wanted}. Export it again."


def _listed(values: Any) -> str:
    return ", ".join(str(value) for value in values)
