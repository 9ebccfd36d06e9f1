"""Old names of the library keep working for one release, and say so."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import medseg
import medseg.data.samples
import medseg.export
from medseg.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_a_moved_module_is_the_one_of_today(old: str) -> None:
    sys.modules.pop(old, None)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = importlib.import_module(old)
    assert any(f"{old} is {MOVED[old]} now" in str(warning.message) for warning in said)
    assert found is importlib.import_module(MOVED[old])
    assert found.__spec__ is not None
    assert found.__spec__.name == MOVED[old]
    sys.modules.pop(old, None)


@pytest.mark.parametrize("name", ["NOTICE", "areas", "masks_sha256", "plain_cell", "versions", "write_report"])
def test_a_moved_function_of_export_is_the_one_of_today(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"export.{name} is "):
        assert getattr(medseg.export, name) is not None


@pytest.mark.parametrize("name", medseg.export.__all__)
def test_every_writer_can_be_had_from_the_package(name: str) -> None:
    assert getattr(medseg.export, name).__name__ == name


def test_what_never_was_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        medseg.export.nothing  # noqa: B018


def test_a_data_set_is_loaded_from_the_package() -> None:
    assert medseg.data.load_data is medseg.data.samples.load_data


def test_the_old_name_for_running_the_networks_still_runs_them(tiny_ensemble: Path) -> None:
    ensemble, image = medseg.Ensemble.from_pretrained(tiny_ensemble), medseg.Image(np.zeros((40, 40, 3), np.float32))
    with pytest.warns(DeprecationWarning, match="answers is run_networks now"):
        stack, _ = ensemble.answers(image, False)
    assert np.array_equal(stack, ensemble.run_networks(image, False)[0])
