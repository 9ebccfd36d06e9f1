"""DICOM bytes → one frame of stored pixels.

The decoders are named here and never depend on what else is installed, because JPEG decoders differ by up to 3 grey
levels: our own for uncompressed and deflated pixels, pydicom for RLE, imagecodecs for everything else.
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
from medseg.reading import jpeg, jpeg2000
from medseg.reading.dicom_header import Geometry, geometry, open_dicom
from medseg.reading.dicom_look import grey, is_volume, modality, notes, spacing
from medseg.reading.dicom_native import check_length, native_frame
from medseg.reading.stored import Opened, Stored

_LOSSY_JPEG = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit}
_JPEG = {*_LOSSY_JPEG, uid.JPEGLossless, uid.JPEGLosslessSV1}
_JPEG_LS = {uid.JPEGLSLossless, uid.JPEGLSNearLossless}
_JPEG_2000 = {uid.JPEG2000Lossless, uid.JPEG2000}
_HTJ2K = {uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K}
_NATIVE = {*uid.UncompressedTransferSyntaxes, uid.DeflatedExplicitVRLittleEndian}


def open_file(data: bytes) -> Opened:
    """The frames of a DICOM that holds an image; one of slices opens in the middle."""
    header = open_dicom(data)
    shape = geometry(header)
    first = shape.frames // 2 if is_volume(header, shape.frames) else 0
    return Opened("DICOM", shape.frames, lambda frame: _read(header, shape, frame), first)


def _read(header: Dataset, shape: Geometry, frame: int) -> Stored:
    """Frame `frame`: grey as stored values with the way to show them, colour and palette as RGB."""
    syntax = header.file_meta.TransferSyntaxUID
    plain = syntax in _NATIVE or syntax == uid.RLELossless
    raw, bits, said = _plain_frame(header, shape, frame) if plain else _compressed_frame(header, shape, frame)
    pixels = raw if shape.floating else _sign_extended(raw, bits, shape.signed)
    white: float | None = None
    if shape.photometric == "PALETTE COLOR":
        pixels, white = apply_color_lut(pixels, header), _white_of_palette(header, bits)
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
        notes=(*notes(header, frame), *said),
    )


def _white_of_palette(header: Dataset, bits: int) -> float:
    """255 or 65535, by the colours that the palette holds: some of those that declare 16 bits hold 8."""
    colours = apply_color_lut(np.arange(2 ** min(bits, 16), dtype=np.uint16), header)
    return 255.0 if colours.max() < 256 else 65535.0


def _plain_frame(header: Dataset, shape: Geometry, frame: int) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """The frame and its Bits Stored, from uncompressed or RLE pixels, and what the user should know of them."""
    if shape.photometric in ("YBR_ICT", "YBR_RCT"):
        raise ReadError(f"This DICOM contradicts itself: {shape.photometric} without JPEG 2000. Export it again.")
    if header.file_meta.TransferSyntaxUID == uid.RLELossless:
        said: tuple[str, ...] = ()
        header.NumberOfFrames = shape.frames
        raw = pixel_array(header, index=frame, raw=True, decoding_plugin="pydicom", correct_unused_bits=False)
    else:
        said, raw = check_length(header, shape), native_frame(header, shape, frame)
    if raw.shape != shape.shape:
        raise ReadError(f"This DICOM's pixels decode to the shape {raw.shape}, not {shape.shape}. Export it again.")
    if not shape.floating:
        # What lies outside the stored bits may be an overlay of old files and is no part of the sample (PS3.5 8.1.1).
        raw = _unsigned(raw) >> (shape.high_bit + 1 - shape.bits)
    return _to_rgb(raw) if shape.photometric.startswith("YBR") else raw, shape.bits, said


def _compressed_frame(header: Dataset, shape: Geometry, frame: int) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """The frame and the precision of its codestream, which outranks Bits Stored (PS3.5 8.2.4)."""
    decode, syntax = _codec(header)
    stream = get_frame(header.PixelData, frame, number_of_frames=shape.frames, extended_offsets=_offsets(header))
    *declared, bits = (jpeg2000 if syntax in _JPEG_2000 | _HTJ2K else jpeg).declared(stream)
    if tuple(declared) != (shape.rows, shape.columns, shape.samples) or bits > shape.allocated:
        raise ReadError(
            f"This DICOM contradicts itself: its header declares {shape.columns} × {shape.rows} pixels of "
            f"{shape.samples} × {shape.allocated} bits, its compressed frame {declared[1]} × {declared[0]} pixels of "
            f"{declared[2]} × {bits}. Export it again."
        )
    raw = _unsigned(decode(stream, shape).reshape(shape.shape))
    # converted by the decoder: lossy JPEG, as are YBR_ICT and YBR_RCT in JPEG 2000
    needs_rgb = shape.photometric in ("YBR_FULL", "YBR_FULL_422") and syntax not in _LOSSY_JPEG
    return _to_rgb(raw) if needs_rgb else raw, bits, ()


def _codec(header: Dataset) -> tuple[Callable[[bytes, Geometry], np.ndarray], str]:
    syntax = header.file_meta.TransferSyntaxUID
    if syntax in _LOSSY_JPEG:
        return lambda stream, shape: _decode_jpeg(stream, _in_rgb(stream, shape)), syntax
    if syntax in _JPEG:  # lossless: no colour is ever transformed, whatever markers the stream has
        return lambda stream, shape: _decode_jpeg(stream, shape.samples == 3), syntax
    if syntax in _JPEG_LS:
        return lambda stream, _: imagecodecs.jpegls_decode(stream), syntax
    if syntax in _JPEG_2000:
        return lambda stream, _: imagecodecs.jpeg2k_decode(stream, numthreads=1), syntax
    if syntax in _HTJ2K:
        return lambda stream, _: _decode_htj2k(stream), syntax
    name = "something unknown" if syntax.name == syntax else syntax.name  # the name of an unknown UID is the UID
    raise ReadError(f"This DICOM is compressed as {name}, which medseg does not read. Export it uncompressed.")


def _in_rgb(stream: bytes, shape: Geometry) -> bool:
    """Whether the three components of a lossy JPEG are RGB though libjpeg takes them for YCbCr: as the header says,
    unless Adobe's segment decides or the stream is JFIF, which knows YCbCr alone."""
    return shape.photometric == "RGB" and not jpeg.is_adobe(stream) and not jpeg.is_jfif(stream)


def _decode_jpeg(stream: bytes, in_rgb: bool) -> np.ndarray:
    """The whole JPEG frame; YCbCr is turned to RGB unless it is `in_rgb` as it is."""

    def decode(whole: bytes) -> np.ndarray:
        if in_rgb:
            return imagecodecs.jpeg8_decode(whole, colorspace="RGB", outcolorspace="RGB")
        return imagecodecs.jpeg8_decode(whole)

    stream = jpeg.ended(stream)
    pixels = decode(stream)
    jpeg.check_whole(stream, pixels, decode)
    return pixels


def _decode_htj2k(stream: bytes) -> np.ndarray:
    jpeg2000.check_whole(stream)
    return np.asarray(imagecodecs.htj2k_decode(stream))


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
