"""DICOM bytes → one frame of stored pixels.

The decoders are named here and never depend on what else is installed, because JPEG decoders differ by up to 3 grey
levels: pydicom for uncompressed, deflated and RLE pixels, imagecodecs for everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.processing import apply_color_lut, convert_color_space
from pydicom.pixels.utils import pixel_array

from medseg.errors import ReadError
from medseg.reading.dicom_header import Geometry, frame_count, geometry, integer, open_dicom
from medseg.reading.dicom_look import grey, modality, notes, spacing
from medseg.reading.stored import Stored, check_frame

_JPEG = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1}
_JPEG_LS = {uid.JPEGLSLossless, uid.JPEGLSNearLossless}
_JPEG_2000 = {uid.JPEG2000Lossless, uid.JPEG2000}
_HTJ2K = {uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K}
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 and, JPEG-LS, SOF55
_ADOBE = b"\xff\xee\x00\x0eAdobe"
_PLAIN = {*uid.UncompressedTransferSyntaxes, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless}


def count_dicom(data: bytes) -> int:
    """Number of Frames of a DICOM that holds a picture."""
    return frame_count(open_dicom(data))


def read_dicom(data: bytes, frame: int) -> Stored:
    """Frame `frame`: grey as stored values with the way to show them, colour and palette as RGB."""
    header = open_dicom(data)
    shape = geometry(header)
    check_frame(frame, shape.frames)
    raw, bits = _plain_frame(header, shape, frame) if _is_plain(header) else _compressed_frame(header, shape, frame)
    pixels = raw if shape.floating else _sign_extended(raw, bits, shape.signed)
    white: float | None = None
    if shape.photometric == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, header)
        white = float(np.iinfo(pixels.dtype).max)
    elif shape.samples == 3:
        white = float(2 ** (bits - shape.signed) - 1)
    return Stored(
        pixels,
        "DICOM",
        frame,
        shape.frames,
        white,
        spacing_mm=spacing(header, frame),
        modality=modality(header),
        grey=grey(header, frame, shape) if white is None else None,
        notes=notes(header, frame),
    )


def _is_plain(header: Dataset) -> bool:
    return header.file_meta.TransferSyntaxUID in _PLAIN


def _plain_frame(header: Dataset, shape: Geometry, frame: int) -> tuple[np.ndarray, int]:
    """The frame and its Bits Stored, from uncompressed or RLE pixels."""
    if shape.photometric in ("YBR_ICT", "YBR_RCT"):
        raise ReadError(f"This DICOM contradicts itself: {shape.photometric} without JPEG 2000. Export it again.")
    if header.file_meta.TransferSyntaxUID != uid.RLELossless:
        _check_length(header, shape)
    raw = pixel_array(header, index=frame, raw=True, decoding_plugin="pydicom")
    if raw.shape != shape.shape:
        raise ReadError(f"This DICOM's pixels decode to the shape {raw.shape}, not {shape.shape}. Export it again.")
    if not shape.floating:
        # What lies outside the stored bits may be an overlay of old files and is no part of the sample (PS3.5 8.1.1).
        raw = _unsigned(raw) >> (shape.high_bit + 1 - shape.bits)
    return _to_rgb(raw) if shape.photometric.startswith("YBR") else raw, shape.bits


def _check_length(header: Dataset, shape: Geometry) -> None:
    if shape.samples == 3 and integer(header, "PlanarConfiguration") not in (0, 1):
        raise ReadError("This DICOM's Planar Configuration (0028,0006) is neither 0 nor 1. Export it again.")
    name = "PixelData" if not shape.floating else "FloatPixelData" if shape.allocated == 32 else "DoubleFloatPixelData"
    held, wanted = len(header[name].value or b""), shape.native_bytes
    if held not in (wanted, wanted + wanted % 2):
        raise ReadError(
            f"This DICOM contradicts itself: {shape.columns} × {shape.rows} pixels × {shape.frames} frames × "
            f"{shape.samples} samples of {shape.allocated} bits are {wanted} bytes, it holds {held}. Export it again."
        )


def _compressed_frame(header: Dataset, shape: Geometry, frame: int) -> tuple[np.ndarray, int]:
    """The frame and the precision of its codestream, which outranks Bits Stored (PS3.5 8.2.4)."""
    decode, syntax = _codec(header)
    stream = get_frame(header.PixelData, frame, number_of_frames=shape.frames, extended_offsets=_offsets(header))
    *declared, bits = _declared_j2k(stream) if syntax in _JPEG_2000 | _HTJ2K else _declared_jpeg(stream)
    if tuple(declared) != (shape.rows, shape.columns, shape.samples) or bits > shape.allocated:
        raise ReadError(
            f"This DICOM contradicts itself: its header declares {shape.columns} × {shape.rows} pixels of "
            f"{shape.samples} × {shape.allocated} bits, its compressed frame {declared[1]} × {declared[0]} pixels of "
            f"{declared[2]} × {bits}. Export it again."
        )
    raw = _unsigned(decode(stream, shape).reshape(shape.shape))
    needs_rgb = shape.photometric in ("YBR_FULL", "YBR_FULL_422") and syntax not in (
        uid.JPEGBaseline8Bit,  # converted by the decoder, as are YBR_ICT and YBR_RCT in JPEG 2000
        uid.JPEGExtended12Bit,
    )
    return _to_rgb(raw) if needs_rgb else raw, bits


def _codec(header: Dataset) -> tuple[Callable[[bytes, Geometry], np.ndarray], str]:
    syntax = header.file_meta.TransferSyntaxUID
    if syntax in _JPEG:
        return _decode_jpeg, syntax
    if syntax in _JPEG_LS:
        return lambda stream, _: imagecodecs.jpegls_decode(stream), syntax
    if syntax in _JPEG_2000:
        return lambda stream, _: imagecodecs.jpeg2k_decode(stream, numthreads=1), syntax
    if syntax in _HTJ2K:
        return lambda stream, _: imagecodecs.htj2k_decode(stream), syntax
    name = "something unknown" if syntax.name == syntax else syntax.name  # the name of an unknown UID is the UID
    raise ReadError(f"This DICOM is compressed as {name}, which medseg does not read. Export it uncompressed.")


def _decode_jpeg(stream: bytes, shape: Geometry) -> np.ndarray:
    """The JPEG frame, YCbCr turned to RGB. A frame without its end marker is refused: libjpeg would fill in grey."""
    if b"\xff\xd9" not in stream[-16:]:
        raise ReadError("This DICOM's compressed frame is cut off before its end. Copy or export it again.")
    if shape.photometric == "RGB" and _ADOBE not in stream[:1024]:
        # Without Adobe's marker libjpeg takes three components for YCbCr, whatever the header says.
        return imagecodecs.jpeg8_decode(stream, colorspace="RGB", outcolorspace="RGB")
    return imagecodecs.jpeg8_decode(stream)


def _declared_jpeg(stream: bytes) -> tuple[int, int, int, int]:
    """(rows, columns, components, bits) out of the frame header of a JPEG or JPEG-LS stream (ISO 10918-1 B.2.2)."""
    at = 2
    while at + 10 <= len(stream) and stream[at] == 0xFF:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker in _FRAME_HEADERS:
            rows, columns = (int.from_bytes(stream[at + i : at + i + 2], "big") for i in (5, 7))
            return rows, columns, stream[at + 9], stream[at + 4]
        at += 1 if marker == 0xFF else 2 + length  # 0xFF: a fill byte
    raise ReadError("This DICOM's frame is not the JPEG that its header promises. Export it again.")


def _declared_j2k(stream: bytes) -> tuple[int, int, int, int]:
    """(rows, columns, components, bits) out of the SIZ segment of a JPEG 2000 stream (ISO 15444-1 A.5.1)."""
    at = stream.find(b"\xff\x4f\xff\x51", 0, 4096)  # past 0 where it is wrapped as .jp2, against the standard
    if at < 0 or len(stream) < at + 43:
        raise ReadError("This DICOM's frame is not the JPEG 2000 that its header promises. Export it again.")
    right, bottom, left, top = (int.from_bytes(stream[at + i : at + i + 4], "big") for i in (8, 12, 16, 20))
    components = int.from_bytes(stream[at + 40 : at + 42], "big")
    return bottom - top, right - left, components, (stream[at + 42] & 0x7F) + 1


def _offsets(header: Dataset) -> Any:
    """The Extended Offset Table (PS3.3 C.7.6.3.1.8) as pydicom wants it, None where the file has none."""
    if "ExtendedOffsetTable" in header and "ExtendedOffsetTableLengths" in header:
        return header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths
    return None


def _unsigned(raw: np.ndarray) -> np.ndarray:
    """The same bits read as unsigned integers: signs are the header's to say, codestreams are sometimes wrong."""
    if raw.dtype.kind not in "iu":
        raise ReadError("This DICOM's frame decodes to floats where its header declares integers. Export it again.")
    native = np.ascontiguousarray(raw, dtype=raw.dtype.newbyteorder("="))
    return native.view(np.dtype(f"u{raw.dtype.itemsize}"))


def _sign_extended(raw: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """The low `bits` of the unsigned `raw`, as two's complement where `signed`."""
    spare = raw.dtype.itemsize * 8 - bits
    raw = raw << raw.dtype.type(spare)
    return (raw.view(raw.dtype.str.replace("u", "i")) if signed else raw) >> spare


def _to_rgb(raw: np.ndarray) -> np.ndarray:
    if raw.dtype != np.uint8:
        raise ReadError("This DICOM holds YBR colours of more than 8 bits. Export it as RGB.")
    return convert_color_space(raw, "YBR_FULL", "RGB")
