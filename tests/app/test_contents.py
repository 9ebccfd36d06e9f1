"""An upload of several series or images offers them by description, and opens the one that was chosen."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import gradio as gr
import PIL.Image
import pytest

from medseg.app.server import endpoints
from medseg.app.state import registry
from medseg.app.state.contents import contents_of
from medseg.app.state.registry import Registry
from medseg.app.state.session import Session
from medseg.app.state.uploaded_files import UploadedFile
from medseg.app.tabs import downloads, handlers
from medseg.errors import InputError, ReadError
from tests.reading.test_series import write_series


@pytest.fixture
def study(tmp_path: Path) -> UploadedFile:
    """A zip of a study: two series of CT slices, a photograph, a text, and what macOS adds."""
    root = tmp_path / "study"
    alike: dict[str, Any] = {
        "side": 32,
        "StudyInstanceUID": "1.2",
        "FrameOfReferenceUID": "1.3",
        "PixelSpacing": [1, 1],
    }
    write_series(root / "a", [0, 5], uid="1.2.3", SeriesDescription="Localizer", SeriesNumber=1, **alike)
    write_series(root / "b", [0, 5, 10, 15], uid="1.2.4", SeriesDescription="Lung 5 mm", SeriesNumber=2, **alike)
    PIL.Image.new("RGB", (32, 32), "pink").save(root / "skin.png")
    (root / "readme.txt").write_text("none")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "._skin.png").write_bytes(b"junk")
    return UploadedFile(zipped(root, tmp_path / "9f3a.zip"), "study.zip")


def zipped(root: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, path.relative_to(root))
    return target


def test_a_zip_of_a_study_offers_its_series_by_description_and_its_images_by_name(study: UploadedFile) -> None:
    contents = contents_of([study])
    assert [(content.title, content.called, content.frames) for content in contents] == [
        ("“Localizer”, series 1, CT, 2 slices of 32 × 32", "study-series-1", 2),
        ("“Lung 5 mm”, series 2, CT, 4 slices of 32 × 32", "study-series-2", 4),
        ("skin.png", "skin.png", 1),
    ]
    (note,) = contents[0].source.notes  # type: ignore[union-attr]
    assert note == "Of the folder's files 1 holds no DICOM image and is left out."  # its name may be a patient's


def test_the_files_of_a_series_sent_together_are_one_stack(tmp_path: Path) -> None:
    paths = sorted(write_series(tmp_path / "a", [10, 0, 5], side=32, SeriesNumber=7).iterdir())
    (content,) = contents_of([UploadedFile(path, f"IM{n}") for n, path in enumerate(paths)])
    assert (content.called, content.frames) == ("series-7", 3)


def test_what_holds_no_image_or_too_many_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("none")
    with pytest.raises(ReadError, match="The upload holds no image among its 1 files"):
        contents_of([UploadedFile(zipped(tmp_path / "texts", tmp_path / "t.zip"), "t.zip")])
    (tmp_path / "broken.zip").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(InputError, match="The zip cannot be unpacked"):
        contents_of([UploadedFile(tmp_path / "broken.zip", "name.zip")])
    monkeypatch.setattr("medseg.app.state.contents.MAX_CHOICES", 1)
    with pytest.raises(InputError, match="holds 2 series and images"):
        contents_of([UploadedFile(tmp_path / f"{n}", f"{n}.png") for n in range(2)])


def test_the_page_opens_the_largest_series_and_each_other_that_is_chosen(
    study: UploadedFile, tiny_ensemble: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(registry, "ensembles", Registry([tiny_ensemble]))
    session = Session()
    _, listed, *_ = handlers.open_files(session, None, [study])
    assert (listed["label"], listed["value"], listed["visible"]) == ("Series or image, of 3 uploaded", 2, True)
    session.insist()
    view_state = session.view_state
    assert (view_state.called, view_state.prediction.image.frames) == ("study-series-2", 4)
    assert downloads.FORMATS["mask-seg"].why_not(session) is None
    assert downloads.write(session, "mask-seg").stat().st_size
    areas, _ = session.segment_frames(lambda done, total: None)
    assert len(areas) == 4
    session.look_again(3, None)
    assert session.view_state.path.name == "101.2.4"
    handlers.pick_content(session, None, 1)
    assert session.view_state.prediction.image.frames == 2
    _, listed, *_ = handlers.pick_content(session, None, 3)
    assert (listed["value"], session.view_state.called) == (3, "skin.png")


def test_an_unpacked_zip_goes_with_the_image_that_is_open(
    study: UploadedFile, tiny_ensemble: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(registry, "ensembles", Registry([tiny_ensemble]))
    session = Session()
    handlers.open_files(session, None, [study])
    place = session.view_state.path
    assert place.exists()
    PIL.Image.new("L", (32, 32), 90).save(tmp_path / "x.png")
    _, listed, *_ = handlers.open_files(session, None, [UploadedFile(tmp_path / "x.png", "x.png")])
    assert not listed["visible"]
    assert not place.exists()


def test_a_program_may_send_a_zip_of_one_series_and_is_told_of_several(
    study: UploadedFile, tiny_ensemble: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(registry, "ensembles", Registry([tiny_ensemble]))
    with pytest.raises(gr.Error, match=r"holds 3 series and images: “Localizer”, series 1, .*; skin.png. Send one"):
        endpoints.segment(str(study.path))
    alone = zipped(write_series(tmp_path / "alone", [0, 5, 10], side=32), tmp_path / "alone.zip")
    result, *_, report = endpoints.segment(str(alone))
    assert (report["image"]["frame"], report["image"]["frames"]) == (1, 3)
    assert endpoints.results.get(result).view_state.prediction.image.frames == 3
