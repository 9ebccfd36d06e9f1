"""A zip file as a folder: unpacked once into the cache, after a look at what it would write and where."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from medseg.errors import InputError

MAX_FILES = 500_000
MAX_BYTES = 64 * 2**30
"""Most that is unpacked. Data sets are already compressed images: the largest public one read here takes 8 GB."""


def unpack_zip(path: Path) -> Path:
    """The folder with the content of the zip file `path`: below a single folder at its top, that folder.

    Unpacked under $MEDSEG_CACHE (default ~/.cache/medseg) when first asked for; a changed file is unpacked anew. The
    folder appears whole or not at all. Raises InputError for a file that is no zip or is damaged, encrypted, names a
    place outside its folder, holds a link, or would write more than MAX_FILES, MAX_BYTES or half of the free disk.
    """
    target = cache_folder(path, "archives")
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="unpacking-") as folder:
            unpack_into(Path(folder) / "content", path)
            try:
                (Path(folder) / "content").rename(target)
            except OSError:
                if not target.is_dir():  # or another process was faster, with the same content
                    raise
    return without_wrapper(target)


def cache_folder(path: Path, kind: str) -> Path:
    """Where under $MEDSEG_CACHE what was made of the file `path` is kept, a folder that changes with the file."""
    return Path(os.environ.get("MEDSEG_CACHE") or Path.home() / ".cache" / "medseg") / kind / _key(path)


def _key(path: Path) -> str:
    """Changes with the file; hashing gigabytes at every start would cost more than it tells."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}.") from None
    return hashlib.sha256(f"{path.resolve()}\t{status.st_size}\t{status.st_mtime_ns}".encode()).hexdigest()[:32]


def unpack_into(folder: Path, path: Path, files: int | None = None, size: int | None = None) -> None:
    """Unpack the zip file `path` into the new `folder`, at most `files` files of `size` bytes in all where these are
    given, else MAX_FILES and MAX_BYTES. Raises InputError as `unpack_zip` says."""
    folder.mkdir()
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            allowed = min(size or MAX_BYTES, shutil.disk_usage(folder).free // 2)
            _check(members, files or MAX_FILES, allowed)
            for member in members:
                place = folder / _place(member)
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, place.open("xb") as file:
                    shutil.copyfileobj(source, file)  # zipfile gives no more than the declared size, and checks the CRC
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, FileExistsError) as error:
        raise InputError(f"{path.name} cannot be unpacked ({error}): download it again.") from None


def _check(members: list[zipfile.ZipInfo], files: int, size: int) -> None:
    total = sum(member.file_size for member in members)
    if len(members) > files or total > size:
        raise InputError(
            f"The zip declares {len(members)} files of {total // 2**20} MiB in all; {files} files of "
            f"{size // 2**20} MiB are allowed here. Divide it, or unpack it yourself and use the command line."
        )
    if any(member.flag_bits & 1 for member in members):
        raise InputError("The zip is encrypted. Unpack it with its password and choose what it holds.")
    for member in members:
        _place(member)


def _place(member: zipfile.ZipInfo) -> PurePosixPath:
    """Where a member goes, relative to the folder; refused where that would be outside, or is a link."""
    place = PurePosixPath(member.filename.replace("\\", "/"))
    outside = place.is_absolute() or ".." in place.parts or ":" in member.filename
    if outside or not place.parts or stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(f"The zip holds {member.filename!r}, which points outside it. It is not safe to unpack.")
    return place


def without_wrapper(folder: Path) -> Path:
    """`folder`, or the one folder in it: most zips hold one. What macOS adds beside it does not count."""
    entries = [entry for entry in folder.iterdir() if entry.name != "__MACOSX" and not entry.name.startswith(".")]
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder
