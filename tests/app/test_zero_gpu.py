"""The page where a GPU is lent for one call at a time: with a stand-in for the package `spaces`."""

from __future__ import annotations

import importlib
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medseg
from medseg.inference import ensemble
from tests.conftest import write_disc_pair

pytest.importorskip("gradio")

from medseg.app.server import endpoints, zero_gpu
from medseg.app.state import registry


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Grows by a function's name with each call that got the GPU; what goes in and out is pickled, as between
    processes."""
    calls: list[str] = []

    def lend(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            calls.append(function.__name__)
            return pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(given)))))  # noqa: S301 - our own

        return call

    module = types.ModuleType("spaces")
    module.GPU = lend  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spaces", module)
    importlib.reload(zero_gpu)
    monkeypatch.setattr(registry, "on_lent_gpu", zero_gpu.on_lent_gpu)
    yield calls
    monkeypatch.undo()
    importlib.reload(zero_gpu)


@pytest.fixture
def page(lent: list[str], plain_ensemble: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The page's only ensemble is the plain one; no probabilities are kept from elsewhere."""
    monkeypatch.setattr(registry, "ensembles", registry.Registry([plain_ensemble]))
    monkeypatch.setattr(ensemble, "_cache", ensemble.ArrayCache(0))
    return lent


def saved(folder: Path, name: str, seed: int) -> str:
    write_disc_pair(folder, name, seed)
    return str(folder / "images" / f"{name}.png")


def test_an_image_takes_one_call_on_the_gpu_and_a_remix_none(page: list[str], tmp_path: Path) -> None:
    result, *_ = endpoints.segment(saved(tmp_path, "a", 1))
    assert page == ["run_networks"]
    endpoints.remix(result, [0, 1], 0.4, "geometric")
    assert page == ["run_networks"]
    endpoints.segment(saved(tmp_path, "b", 2))
    assert page == ["run_networks"] * 2


def test_what_comes_from_the_lent_gpu_is_what_the_networks_say(
    page: list[str], plain_ensemble: Path, tmp_path: Path
) -> None:
    image = medseg.read_image(saved(tmp_path, "a", 1))
    ours = registry.ensembles.get(None).predict(image, tta="flips")
    direct = medseg.Ensemble.from_pretrained(plain_ensemble).predict(image, tta="flips")
    assert np.array_equal(ours.members, direct.members)
    assert page == ["run_networks"]


def test_only_the_last_images_probabilities_are_kept(
    page: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zero_gpu, "KEPT", 1)
    images = [medseg.read_image(saved(tmp_path, name, seed)) for seed, name in enumerate("ab")]
    for index in (0, 0, 1, 0):
        registry.ensembles.get(None).predict(images[index])
    assert len(page) == 3


def test_without_spaces_an_ensemble_stays_as_it_is(plain_ensemble: Path) -> None:
    loaded = medseg.Ensemble.from_pretrained(plain_ensemble)
    assert zero_gpu.on_lent_gpu(loaded, "any") is loaded
    assert "run_networks" not in vars(loaded)
