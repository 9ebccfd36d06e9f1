"""What reading in a worker process costs over decoding in this one: `python benchmarks/read.py`.

Three files, each decoded in this process and through a warm worker in turn; medians in milliseconds, their difference
and ratio. The claim: a worker costs at most 25 ms an image.
"""

import contextlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.data import get_testdata_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from medseg.reading.decode import answer
from medseg.reading.readers import _pool, read_image

ROUNDS = 15


def smooth(height: int, width: int, channels: int) -> np.ndarray:
    """A picture with structure and noise, so that codecs have the work they have with a photograph."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = 127 + 100 * np.sin(rows / 37) * np.cos(columns / 53)
    noisy = waves[..., None] + rng.normal(0, 4, (height, width, channels))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_files(folder: Path) -> dict[str, str]:
    """Name → path of the files to read."""
    Image.fromarray(smooth(1024, 1024, 3)).save(folder / "a.png")
    Image.fromarray(smooth(500, 600, 3)).save(folder / "a.jpg", quality=90)
    files = {"PNG 1024 × 1024 RGB": str(folder / "a.png"), "JPEG 600 × 500 RGB": str(folder / "a.jpg")}
    for name, file in (("uncompressed", "RG1_UNCR.dcm"), ("JPEG 2000", "RG1_J2KR.dcm")):
        with contextlib.redirect_stderr(io.StringIO()):
            path = get_testdata_file(file, download=False)
        if path:
            files[f"DICOM 1841 × 1955 16-bit, {name}"] = str(path)
    return files


def once(action: Callable[[], object]) -> float:
    """Milliseconds that `action` takes."""
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    """Print one line a file."""
    print(f"{'file':38} {'in process':>11} {'in worker':>11} {'extra':>9} {'ratio':>6} {'read_image':>11}")
    with tempfile.TemporaryDirectory() as folder:
        for name, path in write_files(Path(folder)).items():
            actions = (
                lambda path=path: answer({"path": path, "frame": 0}),
                lambda path=path: _pool.ask({"path": path, "frame": 0}),
                lambda path=path: read_image(path),
            )
            rounds = [[once(action) for action in actions] for _ in range(ROUNDS + 1)][1:]  # the first one warms up
            here, there, whole = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(
                f"{name:38} {here:8.1f} ms {there:8.1f} ms {there - here:6.1f} ms {there / here:6.2f} {whole:8.1f} ms"
            )


if __name__ == "__main__":
    main()
