"""How networks run on a GPU, tried on the CPU: batches of several images, half precision, too little memory."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gpu
from medseg.data.phantoms import write_pairs
from medseg.errors import InputError
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.inference.member import load_network
from medseg.inference.members import Members
from medseg.inference.pipeline import AHEAD, mapped
from medseg.inference.runtime_torch import Batches, TorchNetwork
from medseg.reading.workers import POOL_SIZE, Pool
from tests.conftest import make_ensemble

INPUTS = [np.random.default_rng(number).random((1 + number % 2, 3, 16, 16), np.float32) for number in range(5)]


class Counting(torch.nn.Module):
    """The sum of the channels; remembers how many cases each batch had, and has no memory for more than `most`."""

    def __init__(self, most: int = 100) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.sizes: list[int] = []
        self.most = most

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(batch))
        if len(batch) > self.most:
            raise torch.OutOfMemoryError
        return batch.sum(dim=1, keepdim=True) * self.weight


def at_once(batches: Batches, networks: int) -> list[list[np.ndarray]]:
    """What the INPUTS give where all are asked for before any is begun."""
    with ThreadPoolExecutor(len(INPUTS)) as pool:
        with batches._turn:
            asked = [pool.submit(batches.logits, [each] * networks) for each in INPUTS]
            while len(batches._waiting) < len(INPUTS):
                threading.Event().wait(0.001)
        return [future.result() for future in asked]


def test_what_is_asked_at_once_goes_through_each_network_as_one_batch() -> None:
    modules = [Counting(), Counting()]
    batches = Batches([TorchNetwork(module, "cpu") for module in modules])
    for logits, batch in zip(at_once(batches, 2), INPUTS, strict=True):
        for each in logits:
            np.testing.assert_allclose(each, batch.sum(axis=1, keepdims=True), rtol=1e-6)
    assert [module.sizes for module in modules] == [[7], [7]]


def test_a_batch_has_no_more_pixels_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batches, "MOST_PIXELS", 3 * 16 * 16)
    module = Counting()
    at_once(Batches([TorchNetwork(module, "cpu")]), 1)
    assert sum(module.sizes) == 7
    assert max(module.sizes) <= 3


def test_images_that_have_no_room_together_go_one_by_one() -> None:
    module = Counting(most=2)
    for (logits,), batch in zip(at_once(Batches([TorchNetwork(module, "cpu")]), 1), INPUTS, strict=True):
        np.testing.assert_allclose(logits, batch.sum(axis=1, keepdims=True), rtol=1e-6)
    assert module.sizes == [7, 1, 2, 1, 2, 1]


def test_an_image_that_has_no_room_alone_is_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match="The memory of cpu is too small for an input of 2 × 16 × 16"):
        Batches([TorchNetwork(Counting(most=0), "cpu")]).logits([INPUTS[1]])


def test_what_overflows_in_half_precision_is_computed_in_float32() -> None:
    network = TorchNetwork(Counting(), "cpu", half=True)
    small, large = np.full((1, 2, 4, 4), 300, np.float32), np.full((1, 2, 4, 4), 40_000, np.float32)
    assert network.half
    assert (network.logits(small) == 600).all()
    assert (Batches([network]).logits([large])[0] == 80_000).all()
    assert not network.half
    assert (network.logits(small) == 600).all()


def test_weights_that_half_precision_cannot_hold_stay_in_float32() -> None:
    module = Counting()
    module.weight.data.fill_(1e6)
    assert not TorchNetwork(module, "cpu", half=True).half


@pytest.fixture
def both(tmp_path: Path) -> tuple[Ensemble, Ensemble]:
    """An ensemble of two in torch, and the same as if on a GPU."""
    folder = make_ensemble(tmp_path / "two", (1, 3), plain=True)

    def opened(runtime: str) -> Ensemble:
        ensemble = Ensemble.from_pretrained(folder, device="cpu")
        members = []
        for index, member in enumerate(ensemble.members):
            network = TorchNetwork(load_network(folder / f"m{index}"), "cpu")
            network.runtime = runtime
            members.append(type(member)(member.config, network, f"{runtime}{index}", member.parameters))
        return Ensemble(ensemble.config, members)

    return opened("torch on cpu"), opened("torch on cuda")


@pytest.mark.parametrize("tta", [False, "flips"])
def test_an_ensemble_predicts_in_batches_what_it_predicts_image_by_image(
    both: tuple[Ensemble, Ensemble], tta: bool | str
) -> None:
    alone, together = both
    assert (alone.at_once, together.at_once) == (AHEAD, Batches.AT_ONCE)
    images = [Image(np.random.default_rng(n).random((40, 30 + n, 3), np.float32)) for n in range(6)]
    predict: Callable[[Image], np.ndarray] = lambda image: together.predict(image, tta=tta).members  # type: ignore[arg-type]  # noqa: E731
    for image, members in zip(images, mapped(predict, images, at_once=together.at_once), strict=True):
        np.testing.assert_allclose(members, alone.predict(image, tta=tta).members, atol=1e-3)  # type: ignore[arg-type]
    assert np.array_equal(Members(alone.members).stack(images[0]), alone.predict(images[0]).members)


def test_more_files_are_decoded_at_once_where_a_gpu_runs_the_networks() -> None:
    pool = Pool()
    for workers in (POOL_SIZE + 2, POOL_SIZE):
        pool.allow(workers)
    assert [pool._slots.acquire(blocking=False) for _ in range(POOL_SIZE + 3)] == [True] * (POOL_SIZE + 2) + [False]


def test_the_benchmark_refuses_without_a_gpu_and_its_dry_run_goes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="There is no GPU here: nothing is measured"):
        gpu.main([])
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        with pytest.raises(SystemExit, match="torch, which is not installed here"):
            gpu.main([])
    folder = make_ensemble(tmp_path / "two", (1, 3), plain=True)
    write_pairs(tmp_path / "drawn", 20, "endoscopy", (64, 64))
    plain = {"architecture": "plainunet", "encoder": "none", "size": 32, "decoder": {}}
    gpu.measure(
        gpu.dataclasses.replace(gpu.DRY, ensemble=folder, data=tmp_path / "drawn", seconds=0, training=(12, plain))
    )
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("| 2 | float16 |", "3 files", "Half precision on cpu, 2 test", "ratio"))
