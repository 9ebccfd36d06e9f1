"""An owner's ensembles without the embedded ones, and with examples of their own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import write_disc_pair

pytest.importorskip("gradio")

import medseg
from medseg.app.render import examples
from medseg.app.state.registry import Registry, standard_sources
from medseg.reading.readers import read_file


@pytest.fixture
def folder(plain_ensemble: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ensemble that stands alone."""
    own = Path(shutil.copytree(plain_ensemble, tmp_path / "own"))
    monkeypatch.setitem(os.environ, "MEDSEG_ENSEMBLES", str(own))
    monkeypatch.setitem(os.environ, "MEDSEG_ONLY", "1")
    monkeypatch.setattr(examples, "examples", examples.examples.__wrapped__)
    return own


def test_nothing_is_offered_beside_what_the_owner_names(folder: Path) -> None:
    assert standard_sources() == [folder]
    assert len(Registry(standard_sources()).names) == 1


def test_its_own_images_are_the_examples_with_their_masks(folder: Path, tmp_path: Path) -> None:
    write_disc_pair(tmp_path, "my_case", 5)
    (folder / "examples").mkdir()
    shutil.copy(tmp_path / "images" / "my_case.png", folder / "examples" / "my_case.png")
    shutil.copy(tmp_path / "masks" / "my_case.png", folder / "examples" / "my_case_mask.png")
    (example,) = examples.examples()
    assert example.caption == "my case"
    assert example.truth == folder / "examples" / "my_case_mask.png"
    assert len(examples.thumbnails()) == 1


def test_an_example_is_read_once_and_a_visitors_file_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_disc_pair(tmp_path, "disc", 5)
    path, files = tmp_path / "images" / "disc.png", []
    first, visitors = examples.examples()[0], examples.Example(path, "")
    monkeypatch.setattr(examples, "_images", {})
    monkeypatch.setattr(examples, "read_file", lambda path: files.append(path) or read_file(path))
    assert examples.read(first) is examples.read(first)
    assert examples.read(visitors) is not examples.read(visitors)
    assert files == [first.path, path, path]


def test_without_images_of_its_own_the_synthetic_ones_are_there(folder: Path) -> None:
    assert len(examples.examples()) >= 4


@pytest.mark.parametrize("name", ["endoscopy-1", "endoscopy-2", "brain-1", "chest-1"])
def test_the_embedded_ensembles_are_right_on_every_drawn_example(name: str) -> None:
    family = {"endoscopy": "polyp"}.get(name.split("-", maxsplit=1)[0], name.split("-", maxsplit=1)[0])
    ensemble = medseg.Ensemble.from_pretrained(family)
    prediction = ensemble.predict(medseg.read_image(examples.FOLDER / f"{name}.png"))
    truth = medseg.read_masks(examples.FOLDER / f"{name}_mask.png", ensemble.config.labels)
    both = (prediction.masks & truth).sum()
    assert 2 * both / (prediction.masks.sum() + truth.sum()) > 0.7
