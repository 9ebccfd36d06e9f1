"""Rows that read files in this process: mutants and bombs, through the library and its decode workers."""

from __future__ import annotations

import functools
import os
import random
import re
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from benchmarks.reliability.mutate import mutant
from benchmarks.reliability.row import Row, Tally
from medseg.errors import ReadError
from medseg.inference.memory import return_large_blocks
from medseg.reading.readers import read_image
from tests.reading.test_decode import SENTENCE, bombs, mutants, seeds

_SEEDS = functools.cache(seeds)
_BASE_MB: list[float] = []


def _memory_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 2**20


def damaged(case: int) -> bytes:
    """The mutant of that number: of each seed in turn, half in bytes and half in structure."""
    files = list(_SEEDS().values())
    data, turn = files[case % len(files)], case // len(files)
    return mutant(data, random.Random(case)) if turn % 2 else mutants(data, 1, seed=case)[0]  # noqa: S311


def read_one(content: bytes) -> tuple[str, str, float]:
    """Outcome, sentence and seconds of one file."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        begun = time.monotonic()
        try:
            image = read_image(file.name)
            outcome, sentence = ("read", "") if 0 <= image.pixels.min() <= image.pixels.max() <= 1 else ("WRONG", "")
        except ReadError as error:
            sentence = str(error)
            ended = "its decoder ended" if "crashed" in sentence or "too long" in sentence else "refused in a sentence"
            outcome = ended if SENTENCE.fullmatch(sentence) else "without a sentence"
        except Exception as error:
            outcome, sentence = "without a sentence", type(error).__name__
        return outcome, re.sub(r"[\d,.]+", "0", sentence)[:120], time.monotonic() - begun


def _tally(contents: list[bytes], base_mb: float) -> Tally:
    tally = Tally()
    with ThreadPoolExecutor(2) as pool:
        for outcome, sentence, seconds in pool.map(read_one, contents):
            tally.counts[outcome] += 1
            tally.note(slowest_s=seconds)
            if sentence:
                tally.say(sentence)
    tally.note(**{"MB of memory more": _memory_mb() - base_mb})
    return tally


def run_mutants(cases: range) -> Tally:
    warnings.simplefilter("ignore")
    return_large_blocks()  # as the server does; else glibc keeps holes between images of many sizes, 100 MB and more
    if not _BASE_MB:  # after the first files, which load what reading needs
        _tally([damaged(case) for case in range(200)], 0)
        _BASE_MB.append(_memory_mb())
    return _tally([damaged(case) for case in cases], _BASE_MB[0])


def run_bombs(cases: range) -> Tally:
    """The bombs of the tests, each as it is and with bytes behind its end."""
    files = list(bombs().values())
    return _tally([files[case % len(files)] + os.urandom(case // len(files)) for case in cases], _memory_mb())


READ = ("read", "refused in a sentence", "its decoder ended")
NOT = ("without a sentence", "WRONG")

ROWS = (
    Row("mutants", "U1", "a damaged file is read or refused in a sentence, and no reply takes 2 s", "mutants of 17 "
        "small files (DICOM of 8 codecs, PNG, JPEG, TIFF, NIfTI), half in bytes, half in structure", 340, 250_000, 1000,
        run_mutants, READ, NOT, {"slowest s": 2, "MB of memory more": 64}),
    Row("bombs", "U2", "a small file that unpacks to far more is refused before it is unpacked", "bombs of 9 kinds",
        9, 60, 9, run_bombs, ("refused in a sentence",), ("read", "its decoder ended", *NOT),
        {"slowest s": 2, "MB of memory more": 1024}),
)  # fmt: skip
