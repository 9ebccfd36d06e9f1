"""What reading in a worker process costs, in time and memory: `python benchmarks/read.py [FILE …]`.

First ordinary files, each read in this process and through a warm worker in turn: medians in milliseconds, their
difference and ratio. The claim: a worker costs at most 25 ms an image. CPU is what both processes use together, which
is what a quiet machine takes and a busy one hides. Then files that are small and declare or cost
much (made here, or those named): time and CPU time to the answer, the peak of this process above its idle size, and
the answer.
The claims: at most 400 MB, and a refusal within 2 s on a quiet core.
"""

import argparse
import contextlib
import gzip
import io
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import tifffile
from PIL import Image
from pydicom.data import get_testdata_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from medseg.errors import MedsegError
from medseg.reading.decode import Desk
from medseg.reading.readers import read_file
from medseg.reading.workers import pool

ROUNDS = 15


def smooth(height: int, width: int, channels: int) -> np.ndarray:
    """An image with structure and noise, so that codecs have the work they have with a photograph."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = 127 + 100 * np.sin(rows / 37) * np.cos(columns / 53)
    noisy = waves[..., None] + rng.normal(0, 4, (height, width, channels))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_files(folder: Path) -> dict[str, str]:
    """Name → path of ordinary files to read."""
    Image.fromarray(smooth(1024, 1024, 3)).save(folder / "a.png")
    Image.fromarray(smooth(500, 600, 3)).save(folder / "a.jpg", quality=90)
    volume = np.tile(smooth(256, 256, 1), (1, 1, 200)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / "a.nii.gz")
    files = {"PNG 1024 × 1024 RGB": "a.png", "JPEG 600 × 500 RGB": "a.jpg", "NIfTI of 200 slices, the next": "a.nii.gz"}
    files = {name: str(folder / file) for name, file in files.items()}
    for name, file in (("uncompressed", "RG1_UNCR.dcm"), ("JPEG 2000", "RG1_J2KR.dcm")):
        with contextlib.redirect_stderr(io.StringIO()):
            path = get_testdata_file(file, download=False)
        if path:
            files[f"DICOM 1841 × 1955 16-bit, {name}"] = str(path)
    return files


def write_bombs(folder: Path) -> dict[str, str]:
    """Name → path of files of at most 2 MB that declare, unpack to or cost much."""
    side = 6320
    Image.new("RGB", (side, side)).save(folder / "a.png")
    tifffile.imwrite(folder / "a.tif", np.zeros((side, side), np.uint32), compression="zlib")
    volume = nibabel.Nifti1Image(np.zeros((side, side, 1), np.float32), np.eye(4))
    (folder / "a.nii.gz").write_bytes(gzip.compress(volume.to_bytes()))
    labels = nibabel.Nifti1Image(np.zeros((724, 724, 1000), np.uint8), np.eye(4))
    (folder / "b.nii.gz").write_bytes(gzip.compress(labels.to_bytes(), 1))
    (folder / "a.jpg").write_bytes(progressive(side, 400))
    names = {"PNG RGB 40 Mpx": "a.png", "TIFF u32 40 Mpx": "a.tif", "NIfTI f32 40 Mpx": "a.nii.gz"}
    names |= {"NIfTI u8 500 MiB": "b.nii.gz", "JPEG of 400 scans, 40 Mpx": "a.jpg"}
    return {name: str(folder / file) for name, file in names.items()}


def progressive(side: int, scans: int) -> bytes:
    """A black progressive JPEG whose last scan stands there many times."""
    file = io.BytesIO()
    Image.new("L", (side, side)).save(file, "jpeg", progressive=True)
    stream = file.getvalue()
    last = stream.rindex(b"\xff\xc4", 0, stream.rindex(b"\xff\xda"))
    return stream[:-2] + stream[last:-2] * scans + b"\xff\xd9"


def once(action: Callable[[], object]) -> float:
    """Milliseconds that `action` takes."""
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000


def cpu_seconds() -> float:
    """CPU time of this process, of its workers and of those that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 0
    for worker in pool._all:
        fields = Path(f"/proc/{worker.process.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def mean_cpu_ms(action: Callable[[], object]) -> float:
    """Milliseconds of CPU time that `action` takes, the mean of ROUNDS: the kernel counts workers in steps of 10 ms."""
    start = cpu_seconds()
    for _ in range(ROUNDS):
        action()
    return (cpu_seconds() - start) * 1000 / ROUNDS


def memory_mb(key: str) -> float:
    """VmRSS or VmHWM of this process, as Linux counts them."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def compare(files: dict[str, str]) -> None:
    """One line a file: in this process, and through a worker."""
    print(
        f"{'file':38} {'in process':>11} {'in worker':>11} {'extra':>9} {'ratio':>6} {'CPU: here':>10} {'worker':>10}"
    )
    desk = Desk()
    for name, path in files.items():
        request = {"do": "image", "path": path, "frame": None}

        def here(request: dict[str, object] = request) -> None:
            if ".nii" not in str(request["path"]):
                desk.clear()  # a worker keeps its file open for the next frame, and ordinary files have none
            desk.answer(request)

        actions = (here, lambda path=path: read_file(path))
        rounds = [[once(action) for action in actions] for _ in range(ROUNDS + 1)][1:]  # the first one warms up
        own, there = (statistics.median(column) for column in zip(*rounds, strict=True))
        cpu = " ".join(f"{mean_cpu_ms(action):7.1f} ms" for action in actions)
        print(f"{name:38} {own:8.1f} ms {there:8.1f} ms {there - own:6.1f} ms {there / own:6.2f} {cpu}")


def survive(files: dict[str, str]) -> None:
    """One line a file: seconds, the peak of this process above its idle size, and what came."""
    print(f"\n{'file':42} {'seconds':>8} {'CPU':>8} {'peak':>9}  answer")
    for name, path in files.items():
        read_file(next(iter(write_small())))  # a worker is there, and memory of the last file is not
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        idle, cpu, start = memory_mb("VmRSS"), cpu_seconds(), time.perf_counter()
        try:
            image = read_file(path)
            answer = f"{image.size[1]} × {image.size[0]}, frame {image.frame} of {image.frames}"
            del image
        except MedsegError as error:
            answer = f"refused: {error}"
        seconds = time.perf_counter() - start
        cpu = cpu_seconds() - cpu
        print(f"{name:42.42} {seconds:6.2f} s {cpu:6.2f} s {memory_mb('VmHWM') - idle:6.0f} MB  {answer[:110]}")


def write_small() -> list[str]:
    """The path of a small image, to warm a worker with."""
    path = Path(tempfile.gettempdir()) / "medseg-benchmark-small.png"
    Image.new("L", (8, 8)).save(path)
    return [str(path)]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bombs", nargs="*", type=Path, metavar="FILE", help="hostile files to read instead of ours")
    named = parser.parse_args().bombs
    with tempfile.TemporaryDirectory() as folder:
        compare(write_files(Path(folder)))
        survive({path.name: str(path) for path in named} or write_bombs(Path(folder)))


if __name__ == "__main__":
    main()
