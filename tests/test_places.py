"""Where shipped files lie, and the names of the embedded ensembles."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg import places
from medseg.errors import InputError
from medseg.hub.fetch import fetch
from medseg.places import embedded, shipped
from tests.conftest import ROOT


@pytest.mark.parametrize("name", ["polyp", "brain", "chest"])
def test_an_embedded_ensemble_is_named_by_its_family(name: str) -> None:
    assert fetch(name) == ROOT / "assets" / "ensembles" / name


@pytest.mark.parametrize("name", ["./polyp", "polyps", "", ".", "..", "polyp/polyp-unet-lite0"])
def test_no_other_name_is_one_of_an_embedded_ensemble(name: str) -> None:
    assert embedded(name) is None


def test_a_folder_of_that_name_is_written_as_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "polyp").mkdir()
    assert fetch(Path("polyp")) == Path("polyp")
    assert fetch("./polyp") == Path("polyp")


def test_an_embedded_ensemble_has_no_revisions() -> None:
    with pytest.raises(InputError, match="leave out the revision"):
        fetch("polyp", revision="main")


def test_what_a_wheel_ships_comes_before_what_lies_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "PACKAGE", tmp_path / "medseg")
    (tmp_path / "medseg" / "shipped").mkdir(parents=True)
    assert shipped("app.py") == tmp_path / "app.py"
    (tmp_path / "medseg" / "shipped" / "app.py").touch()
    assert shipped("app.py") == tmp_path / "medseg" / "shipped" / "app.py"
