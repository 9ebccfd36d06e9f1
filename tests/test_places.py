"""Where shipped files lie, and the names of the embedded ensembles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg import places
from medseg.__main__ import main
from medseg.errors import ConfigError, InputError
from medseg.hub.fetch import fetch
from medseg.inference.ensemble import Ensemble
from medseg.inference.prediction import checked_threshold
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


@pytest.mark.parametrize(
    "command",
    [
        ["calibrate", "polyp", "data"],
        ["card", "polyp"],
        ["selftest", "polyp", "--write", "image.png"],
        ["export", "--graph", "polyp"],
    ],
)
def test_no_command_writes_into_an_embedded_ensemble_by_its_name(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert "comes with medseg and stays as it is: copy" in str(ended.value.code)


def test_the_output_of_a_training_says_where_its_member_or_ensemble_lies(tmp_path: Path) -> None:
    for name in ("member", "ensemble"):
        (tmp_path / name / name).mkdir(parents=True)
        (tmp_path / name / name / f"{name}.json").touch()
        with pytest.raises(ConfigError, match=f"is the output of a training: name .*/{name}/{name}"):
            Ensemble.from_pretrained(tmp_path / name)


def test_what_is_no_ensemble_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigError, match="nope is no ensemble: wanted one of brain, chest, polyp, a folder"):
        Ensemble.from_pretrained("nope")


@pytest.mark.parametrize("name", ["polyp/", "./polyp", "/elsewhere/polyp"])
def test_a_path_that_ends_like_an_embedded_ensemble_is_told_from_its_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"There is no folder .*polyp: write polyp alone for the one that"):
        Ensemble.from_pretrained(name)


@pytest.mark.parametrize("image", ["image.png", None, np.zeros((64, 64, 3), np.float32)])
def test_what_is_no_image_is_refused_by_its_type(image: object) -> None:
    with pytest.raises(InputError, match=r"Wanted an image as `medseg.read_image` gives it"):
        Ensemble.from_pretrained("polyp").predict(image)  # type: ignore[arg-type]


@pytest.mark.parametrize("threshold", ["0.5", [0.5, 0.5], True])
def test_what_is_no_threshold_is_refused_by_its_type(threshold: object) -> None:
    with pytest.raises(InputError, match="The threshold must be one number between 0 and 1, got"):
        checked_threshold(threshold)  # type: ignore[arg-type]
