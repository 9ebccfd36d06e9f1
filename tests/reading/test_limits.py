"""Halves are no wholes, time has its own sentence, and a volume is unpacked once."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2KLossless, JPEGBaseline8Bit, JPEGLosslessSV1

from medseg.errors import ReadError
from medseg.reading import nifti, stored
from medseg.reading.decode import Desk, decode
from medseg.reading.readers import count_frames, read_image
from medseg.reading.workers import pool
from tests.conftest import ROOT
from tests.reading.test_decode import saved
from tests.reading.test_twins import dicom

END = b"\xff\xd9"
NOISE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
FLAT = np.zeros((64, 64), np.uint8)
FLAT[:40] = NOISE[:40, :, 0]  # whole, though it ends in black


def jpegs(array: np.ndarray) -> dict[str, bytes]:
    """One image in streams of every process that is read."""
    grey = np.ascontiguousarray(array if array.ndim == 2 else array[..., 0])
    return {
        "baseline": saved(array, "jpeg", quality=90),
        "progressive": saved(array, "jpeg", quality=90, progressive=True),
        "restarts": saved(array, "jpeg", quality=90, restart_marker_rows=2),
        "lossless": imagecodecs.jpeg8_encode(grey, lossless=True, predictor=1),
        "lossless, predictor 4": imagecodecs.jpeg8_encode(grey, lossless=True, predictor=4),
    }


def in_file(name: str, stream: bytes, shape: tuple[int, ...]) -> bytes:
    """The stream as a camera writes it, or in a DICOM where cameras write no such stream."""
    if not name.startswith("lossless"):
        return stream
    return dicom(np.zeros(shape[:2], np.uint8), JPEGLosslessSV1, encapsulate([stream]))


def is_refused(data: bytes) -> bool:
    try:
        decode(data)
    except ReadError as error:
        return "incomplete" in str(error) or "cannot be decoded" in str(error)
    return False


@pytest.mark.parametrize("array", [NOISE, SMOOTH, FLAT], ids=["noise", "smooth", "flat end"])
def test_whole_jpegs_are_read_whatever_they_end_with(array: np.ndarray) -> None:
    for name, stream in jpegs(array).items():
        for rest in (b"", b"\0" * 600, b"\xff\xd8 a preview"):
            assert decode(in_file(name, stream + rest, array.shape)).pixels.shape[:2] == (64, 64), name


@pytest.mark.parametrize("array", [NOISE, SMOOTH], ids=["noise", "smooth"])
@pytest.mark.parametrize("part", [0.4, 0.6, 0.9, 0.98])
def test_a_jpeg_cut_in_the_middle_and_closed_is_refused(array: np.ndarray, part: float) -> None:
    for name, stream in jpegs(array).items():
        start = stream.rindex(b"\xff\xda") if name != "progressive" else stream.index(b"\xff\xda")
        cut = stream[: start + 12 + int((len(stream) - start - 14) * part)]
        assert is_refused(in_file(name, cut.rstrip(b"\xff") + END, array.shape)), name


def test_a_jpeg_cut_at_any_of_its_restarts_or_behind_a_sample_of_ff_is_refused() -> None:
    array = np.random.default_rng(5).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for rows in (0, 1):
        stream = saved(array, "jpeg", quality=95, restart_marker_rows=rows)
        start = stream.rindex(b"\xff\xda") + 14
        places = [at + 1 - rows for at in range(start, len(stream) - 40) if stream[at] == 0xFF]
        assert len(places) > 4
        for at in places:
            assert is_refused(stream[:at] + END), at


def test_a_progressive_jpeg_without_its_last_scans_is_refused() -> None:
    stream = saved(NOISE, "jpeg", quality=90, progressive=True)
    last = stream.rindex(b"\xff\xda")
    tables = stream.rindex(b"\xff\xc4", 0, last)
    with pytest.raises(ReadError, match="incomplete"):
        decode(stream[:tables] + END)


def test_a_cut_jpeg_in_a_dicom_is_refused() -> None:
    stream = saved(NOISE, "jpeg", quality=90)
    data = dicom(NOISE, JPEGBaseline8Bit, encapsulate([stream[: len(stream) // 2] + END]))
    with pytest.raises(ReadError, match="incomplete"):
        decode(data)


def test_a_cut_htj2k_is_refused() -> None:
    stream = imagecodecs.htj2k_encode(NOISE[..., 0], reversible=True)
    for cut in (stream[: len(stream) // 2], stream[: len(stream) // 2] + END):
        assert is_refused(dicom(NOISE[..., 0], HTJ2KLossless, encapsulate([cut])))


def test_a_refusal_for_time_says_so(tmp_path: Path) -> None:
    """A progressive JPEG of a thousand scans over twelve megapixels, 100 kB long."""
    file = io.BytesIO()
    Pillow.new("L", (3464, 3464)).save(file, "jpeg", progressive=True)
    stream = file.getvalue()
    scan = stream.rindex(b"\xff\xda")
    tables = stream.rindex(b"\xff\xc4", 0, scan)
    (tmp_path / "a").write_bytes(stream[:-2] + stream[tables:-2] * 1000 + END)
    with pytest.raises(ReadError, match="takes too long"):
        read_image(tmp_path / "a")


def test_a_volume_is_unpacked_once_for_all_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([-1, -1, 1, 1])), path)
    unpacked = []
    unpack = nifti.unpack
    monkeypatch.setattr(nifti, "unpack", lambda data: unpacked.append(1) or unpack(data))
    desk = Desk()
    for frame in range(4):
        header, pixels = desk.answer({"do": "image", "path": str(path), "frame": frame})
        assert (header["frame"], pixels is not None) == (frame, True)
    assert len(unpacked) == 1
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"\0"))
    desk.answer({"do": "frames", "path": str(path)})
    assert len(unpacked) == 2


def test_the_worker_that_has_a_file_open_is_asked_again(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(saved(NOISE, "png"))
    pool.close()
    read_image(tmp_path / "a")
    first = next(iter(pool._all))
    with pool._lock:
        pool._idle.remove(first)
    read_image(tmp_path / "b")  # starts a second one
    with pool._lock:
        pool._idle.append(first)
    before = first.answered
    read_image(tmp_path / "a")
    count_frames(tmp_path / "b")
    read_image(tmp_path / "a")
    assert first.answered == before + 2


def test_what_would_take_more_memory_than_allowed_is_refused_by_what_it_declares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for limit, data in ((1000, saved(NOISE, "png")), (1000, saved(NOISE, "bmp")), (1000, saved(NOISE, "webp"))):
        with monkeypatch.context() as patch:
            patch.setattr(stored, "MAX_VALUES", limit)
            with pytest.raises(ReadError, match="in 3 channels; medseg reads up to"):
                decode(data)


def test_the_process_that_asks_holds_little_more_than_the_image(tmp_path: Path) -> None:
    """20 megapixels of 32 bits are 80 MB as float32; the steps in between would take 480 more in this process."""
    if not os.path.exists("/proc/self/clear_refs"):
        pytest.skip("the peak of memory is read from /proc, which Linux alone has")
    volume = np.arange(20_000_000, dtype=np.float32).reshape(5000, 4000, 1)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii")
    script = f"""
import medseg
from medseg.reading.readers import count_frames
count_frames({str(tmp_path / "a.nii")!r})
def memory(key):
    return int(next(line for line in open("/proc/self/status") if line.startswith(key)).split()[1]) // 1024
open("/proc/self/clear_refs", "w").write("5")
before = memory("VmRSS")
image = medseg.read_image({str(tmp_path / "a.nii")!r})
print(memory("VmHWM") - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(done.stdout) < 120
