"""Files damaged in their structure: tags, lengths and headers, with the checksums made right again."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zlib

import pydicom

ODD = (0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 4096, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1)


def mutant(data: bytes, draw: random.Random) -> bytes:
    """`data` with one to three changes that its format's own tools would call well-formed."""
    for _ in range(draw.randrange(1, 4)):
        data = _changed(data, draw)
    return data


def _changed(data: bytes, draw: random.Random) -> bytes:
    if data[:4] == b"\x89PNG":
        return _png(data, draw)
    if data[:2] == b"\xff\xd8":
        return _jpeg(data, draw)
    if data[:2] in (b"II", b"MM"):
        return _tiff(data, draw)
    if data[128:132] == b"DICM":
        return _dicom(data, draw)
    if data[:2] == b"\x1f\x8b":
        return gzip.compress(_nifti(gzip.decompress(data), draw), 1)
    return _nifti(data, draw)


def _put(data: bytes, at: int, form: str, draw: random.Random) -> bytes:
    """`data` with an odd number of the struct's `form` at a place."""
    bits = 8 * struct.calcsize(form)
    value = (draw.choice(ODD) if draw.random() < 0.8 else draw.getrandbits(bits)) % 2**bits
    changed = struct.pack(form, value)
    return data[:at] + changed + data[at + len(changed) :]


def _png(data: bytes, draw: random.Random) -> bytes:
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    index = draw.randrange(len(chunks))
    kind, body = chunks[index]
    if draw.random() < 0.2:
        chunks.insert(draw.randrange(len(chunks)), chunks.pop(index))
    elif body:
        chunks[index] = kind, _put(body, draw.randrange(len(body)), draw.choice([">B", ">H", ">I"]), draw)[: len(body)]
    sealed = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return data[:8] + b"".join(sealed)


def _jpeg(data: bytes, draw: random.Random) -> bytes:
    """In a segment of the header: its length, or a number in it."""
    segments, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xD9:
        length = max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
        segments.append((at, length))
        at += 2 + length
        if data[segments[-1][0] + 1] == 0xDA:
            break
    at, length = draw.choice(segments) if segments else (2, 4)
    place = at + 2 if draw.random() < 0.3 else min(len(data) - 2, at + 4 + draw.randrange(min(length, 24)))
    return _put(data, place, draw.choice([">B", ">H"]), draw)


def _tiff(data: bytes, draw: random.Random) -> bytes:
    """In an entry of the first directory: its tag, type, count or value."""
    end = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(end + "I", data, 4)
    if at + 14 > len(data):
        return _put(data, draw.randrange(max(1, len(data) - 4)), "<I", draw)
    (entries,) = struct.unpack_from(end + "H", data, at)
    entry = at + 2 + 12 * draw.randrange(max(1, min(entries, (len(data) - at - 2) // 12)))
    offset, form = draw.choice([(0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "I"), (8, "H")])
    return _put(data, min(entry + offset, len(data) - 4), end + form, draw)


def _nifti(data: bytes, draw: random.Random) -> bytes:
    """A field of the header: dim, datatype, bitpix, slopes, vox_offset, qform, magic."""
    at, form = draw.choice([(0, "<I"), (40, "<H"), (42, "<H"), (44, "<H"), (48, "<H"), (70, "<H"), (72, "<H"),
                            (76, "<I"), (108, "<I"), (112, "<I"), (116, "<I"), (252, "<H"), (344, "<I")])  # fmt: skip
    return _put(data, at, form, draw)


def _dicom(data: bytes, draw: random.Random) -> bytes:
    """One attribute changed, emptied or taken out; one file in ten says another transfer syntax. What pydicom cannot
    write is changed in a byte instead."""
    try:
        source = pydicom.dcmread(io.BytesIO(data), force=True)
        element = draw.choice([element for element in source if element.VR != "SQ"])
        if element.VR in ("US", "SS", "UL", "SL") and draw.random() < 0.7:
            element.value = draw.choice(ODD) % (2**15 if "S" in element.VR else 2**31)
        elif element.VR in ("OB", "OW") and isinstance(element.value, bytes):
            start, stop = sorted(draw.randrange(len(element.value) + 1) for _ in range(2))
            element.value = element.value[:start] + element.value[stop:]
        elif draw.random() < 0.5:
            del source[element.tag]
        else:
            element.value = draw.choice([None, element.value, "-1", "1e30", "x" * 17, "1\\2\\3"])
        if draw.random() < 0.1:
            syntaxes = (pydicom.uid.ExplicitVRBigEndian, pydicom.uid.JPEG2000, pydicom.uid.RLELossless)
            source.file_meta.TransferSyntaxUID = draw.choice(syntaxes)
        file = io.BytesIO()
        pydicom.dcmwrite(file, source, enforce_file_format=False)
        return file.getvalue()
    except Exception:
        return _put(data, draw.randrange(132, len(data) - 4), "<I", draw)
