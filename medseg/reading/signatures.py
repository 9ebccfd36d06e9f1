"""How files of the formats begin whose decoders take long to import: a worker imports them with the first such file."""

from __future__ import annotations

from pathlib import Path


def is_part10(data: bytes) -> bool:
    """Whether `data` is a DICOM file as PS3.10 7.1 defines it."""
    return data[128:132] == b"DICM"


def has_mark(path: Path) -> bool:
    """Whether the file at `path` is one, by its first bytes; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return is_part10(file.read(132))
    except OSError:
        return False


def is_bare_dicom(data: bytes) -> bool:
    """Whether `data` begins like a data set without preamble, as old archives write it.

    Its first element is one of group 2 or 8 and has a valid VR or, where VRs are implicit, a short length.
    """
    group = data[:2] if data[:2] in (b"\x02\x00", b"\x08\x00") else data[1::-1]
    if group not in (b"\x02\x00", b"\x08\x00") or len(data) < 16:
        return False
    explicit = data[4:6] in (b"UL", b"UI", b"CS", b"OB", b"DA", b"LO", b"SH")
    return explicit or (data[:2] == group and int.from_bytes(data[4:8], "little") <= 64)


def is_nifti(data: bytes | bytearray) -> bool:
    """Whether `data` begins with a NIfTI header; that of a .hdr/.img pair counts, to be refused by name."""
    return data[344:348] in (b"n+1\0", b"ni1\0") or data[4:8] in (b"n+2\0", b"ni2\0")


def is_tiff(data: bytes) -> bool:
    """Whether `data` begins as a TIFF or BigTIFF does."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
