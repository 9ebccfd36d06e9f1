"""What tests of whole runs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


class Killed(BaseException):
    """Stands for kill -9: no handler of the code under test may run on it."""


@pytest.fixture(scope="module")
def on_the_cpu() -> Iterator[None]:
    """The promise of equal bits is for the CPU, also where there is a GPU; networks this small gain from one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield
    torch.set_num_threads(threads)
