"""An image that no ensemble is made for: no mask until the visitor insists, and a mark in every export from then on."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import PIL.Image
import pytest

import medseg
from medseg.errors import InputError
from medseg.inference.record import INSISTED
from tests.conftest import write_disc_pair

pytest.importorskip("gradio")

from medseg.app.render import planes
from medseg.app.render.figures import figures
from medseg.app.state import registry
from medseg.app.state.session import Session
from medseg.app.state.uploaded_files import UploadedFile
from medseg.app.tabs import downloads, handlers


@pytest.fixture
def session(plain_ensemble: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A visitor who has dropped an image against which there is something for every ensemble."""
    ensemble = medseg.Ensemble.from_pretrained(plain_ensemble)
    against = SimpleNamespace(
        suiting=lambda image, name: name,
        against=lambda image, name: 1,
        is_loaded=lambda name: True,
        get=lambda name, *_: ensemble,
    )
    monkeypatch.setattr(registry, "ensembles", against)
    write_disc_pair(tmp_path, "disc", 5)
    opened = Session()
    handlers.open_files(opened, "tiny", [UploadedFile(tmp_path / "images" / "disc.png", "disc.png")])
    return opened


def test_there_is_no_mask_and_no_file_until_the_visitor_insists(session: Session) -> None:
    assert planes.result(session.view_state)["withheld"]
    assert "None of the ensembles here is made for this image" in figures(session.view_state)
    with pytest.raises(InputError, match="ask for its mask first"):
        downloads.write(session, "mask")
    handlers.insist(session)
    assert not planes.result(session.view_state)["withheld"]
    assert downloads.write(session, "mask").is_file()


@pytest.mark.parametrize("name", [name for name in downloads.FORMATS if not name.endswith(("seg", "map", "capture"))])
def test_every_export_says_that_the_mask_was_insisted_on(session: Session, name: str) -> None:
    handlers.insist(session)
    session.remix((1, 0), 0.4, 0.3)  # the mark stays
    path = downloads.write(session, name)
    assert INSISTED in _texts(path)


def _texts(path: Path) -> str:
    """All that the file says in words."""
    if path.suffix == ".png":
        with PIL.Image.open(path) as image:
            return str(image.info)
    if path.suffix == ".npz":
        with np.load(path) as stored:
            return str(stored["notice"])
    if path.name.endswith(".nii.gz"):
        return str([extension.get_content() for extension in nibabel.load(path).header.extensions])
    return path.read_text(encoding="utf-8").replace("&#39;", "'")


def test_the_training_pair_says_so_too(session: Session) -> None:
    handlers.insist(session)
    with zipfile.ZipFile(session.write_pair(session.view_state.prediction.masks)) as archive:
        assert INSISTED in archive.comment.decode()


def test_another_image_is_judged_anew(session: Session, tmp_path: Path) -> None:
    handlers.insist(session)
    write_disc_pair(tmp_path, "next", 6)
    handlers.open_files(session, "tiny", [UploadedFile(tmp_path / "images" / "next.png", "next.png")])
    assert session.view_state.withheld
    assert INSISTED not in json.dumps(session.view_state.prediction.report())
