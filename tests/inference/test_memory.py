"""Memory over many images: what is freed goes back to the system, and nothing of an image stays."""

import subprocess
import sys

import pytest

RESIDENT = """
import resource, sys
from types import SimpleNamespace
import numpy as np
from pathlib import Path
from medseg.inference.batch import Settings, predict_jobs
from medseg.inference.memory import return_holes
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
"""
HOLE = """
predict_jobs(SimpleNamespace(at_once=4), [], Path(), Settings())
for _ in range(2):
    large, after = np.ones(3 * 2**20), np.ones(2**15)
    before = resident()
    del large
print(before - resident())
"""
HOLES = """
arrays = [np.ones(2**13) for _ in range(800)]
del arrays[::2]
before = resident()
return_holes()
print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")
def test_a_freed_image_leaves_no_hole_in_the_heap_after_a_folder_was_begun() -> None:
    """24 MB with a small block behind it: glibc by itself keeps the second, and those of thousands of images."""
    said = subprocess.run([sys.executable, "-c", RESIDENT + HOLE], capture_output=True, text=True, check=True).stdout
    assert float(said) == pytest.approx(24, abs=2)


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")
def test_a_sweep_gives_the_system_what_lies_between_images_that_stay() -> None:
    """400 blocks of 64 kB, each between two that stay."""
    said = subprocess.run([sys.executable, "-c", RESIDENT + HOLES], capture_output=True, text=True, check=True).stdout
    assert float(said) > 20
