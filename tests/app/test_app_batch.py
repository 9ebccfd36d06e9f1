"""Many images on the page: names, zips, bounds, order, and the files that come of it."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import pytest

import medseg
from medseg.app.render.batch_table import Row, page_rows, write_table
from medseg.app.render.work import time_left
from medseg.app.state import batch as batch_module
from medseg.app.state.batch import Batch
from medseg.app.state.session import Session
from medseg.app.state.uploaded_files import UploadedFile, unique
from medseg.app.tabs.batch import _settings
from medseg.data.coco import to_runs
from medseg.errors import InputError
from medseg.inference.pipeline import AHEAD
from tests.conftest import write_disc_pair


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "visitors" / "gradio"))
    (tmp_path / "visitors").mkdir()
    return tmp_path / "visitors"


@pytest.fixture
def session(tiny_ensemble: Path, tmp_path: Path) -> Session:
    """A session with an image open, so that ensemble and sliders are there."""
    write_disc_pair(tmp_path, "disc", 3)
    opened = Session()
    opened.open(tmp_path / "images" / "disc.png", medseg.Ensemble.from_pretrained(tiny_ensemble))
    return opened


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write_disc_pair(tmp_path, "other", 4)
    return tmp_path / "images" / "other.png"


def run(batch: Batch, session: Session, *given: UploadedFile) -> list[Row]:
    assert list(batch.run(given, session.view_state))
    return batch.rows


def packed(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return path


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a.png", "b.png"], ["a.png", "b.png"]),
        (["a.png", "A.png", "a (2).png"], ["a.png", "A (2).png", "a (2) (2).png"]),
        (["../../etc/passwd", "C:\\films\\a.dcm", "/"], ["passwd", "a.dcm", "image"]),
        ([".hidden", "a\nb\x00.png", ""], ["hidden", "ab.png", "image"]),
        (["x" * 80 + ".png"], ["x" * 46 + ".png"]),
    ],
)
def test_visitors_names_become_names_of_files_that_stay_in_their_folder(names: list[str], found: list[str]) -> None:
    assert unique(names) == found


def test_images_are_segmented_as_the_first_tab_is_set(session: Session, image: Path) -> None:
    session.remix((0, 1), 0.4, 0.3)
    (row,) = run(Batch(), session, UploadedFile(image, "mine.png"))
    expected = session.view_state.ensemble.predict(medseg.read_image(image), weights=(0, 1), threshold=0.4)
    assert row.areas["blob"]["px"] == expected.masks.sum()
    assert row.agreement is None  # one member alone has nobody to agree with


@pytest.mark.parametrize("named", [True, False])
def test_coco_and_run_lengths_call_images_as_the_visitor_wishes(
    named: bool, session: Session, image: Path, tmp_path: Path
) -> None:
    batch = Batch()
    files = [UploadedFile(image, "Müller 1.png"), UploadedFile(tmp_path / "images" / "disc.png", "Müller 2.png")]
    assert list(batch.run(files, session.view_state, named=named))
    with zipfile.ZipFile(batch.write()) as archive:
        archive.extractall(tmp_path / "out")
    content = json.loads((tmp_path / "out" / "coco.json").read_text())
    names = [image["file_name"] for image in content["images"]]
    assert names == (["Müller 1.png", "Müller 2.png"] if named else [hash_of(file.path) for file in files])
    with (tmp_path / "out" / "run-lengths.csv").open() as table:
        assert [line["ImageId"] for line in csv.DictReader(table)] == names
    for listed, file in zip(content["images"], files, strict=True):
        (runs,) = (each["segmentation"] for each in content["annotations"] if each["image_id"] == listed["id"])
        mask = session.view_state.segment(medseg.read_image(file.path)).masks[0]
        assert runs == to_runs(mask)
    assert [each["id"] for each in content["annotations"]] == [1, 2]


def hash_of(path: Path) -> str:
    return medseg.read_image(path).sha256[:16]


def test_a_zip_that_is_damaged_or_too_much_is_a_row_and_the_others_go_on(
    session: Session, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "MAX_IMAGES", 2)
    given = [
        UploadedFile(packed(tmp_path / "0.zip", a=b"", b=b"", c=b""), "many.zip"),
        UploadedFile(packed(tmp_path / "1.zip", __MACOSX__=b""), "none.zip"),
        UploadedFile(packed(tmp_path / "2.zip", **{"..__out": b"x"}), "out.zip"),
        UploadedFile(image, "broken.zip"),
        UploadedFile(image, "good.png"),
    ]
    rows = run(Batch(), session, *given)
    reasons = {row.file: row.reason for row in rows}
    assert "2 files of 1024 MiB are allowed here" in reasons["many.zip"]
    assert reasons["none.zip"] == "It holds no file."
    assert "points outside it" in reasons["out.zip"]
    assert "other.png" not in reasons["broken.zip"]  # the visitor calls it otherwise
    assert reasons["good.png"] == ""
    assert not list(tmp_path.rglob("out"))


def test_more_files_than_are_allowed_are_refused_before_the_first(
    session: Session, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "MAX_IMAGES", 1)
    with pytest.raises(InputError, match="These are 2 files, and here up to 1 are segmented at once"):
        next(Batch().run([UploadedFile(image, "a.png"), UploadedFile(image, "b.png")], session.view_state))


def test_a_run_that_is_cancelled_keeps_what_was_begun(session: Session, image: Path) -> None:
    batch = Batch()
    for _ in batch.run([UploadedFile(image, f"{n:02}.png") for n in range(12)], session.view_state):
        batch.cancelled.set()
    done = sorted(row.file for row in batch.rows)
    assert done[0] == "00.png"
    assert len(done) <= 1 + AHEAD
    with zipfile.ZipFile(batch.write()) as archive:
        names = {f"{name}.{kind}" for name in done for kind in ("json", "png")}
        assert {*archive.namelist()} == {*names, "results.csv", "coco.json", "run-lengths.csv"}


def test_an_unexpected_failure_is_a_row_too(session: Session, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("/secret/place")

    monkeypatch.setattr(batch_module, "row_of", fail)
    (row,) = run(Batch(), session, UploadedFile(image, "a.png"))
    assert "not enough memory" in row.reason


def test_what_came_before_goes_with_the_next_run_and_with_the_visitor(
    session: Session, image: Path, folder: Path
) -> None:
    batch = Batch()
    for _ in range(2):
        run(batch, session, UploadedFile(image, "a.png"))
    assert len(list(folder.glob("tmp*"))) == 1
    del batch
    assert list(folder.glob("tmp*")) == []


def test_what_is_doubted_stands_before_the_rest_by_agreement_and_files_without_a_result_stand_last() -> None:
    batch = Batch()
    place = Path("x")
    batch._rows = [
        Row("sure", place, agreement=0.9),
        Row("alone", place),
        Row("unsure", place, agreement=0.2),
        Row("odd", place, agreement=0.95, domain_warnings=("unlike",)),
        Row("failed", place, reason="no"),
    ]
    assert [row.file for row in batch.rows] == ["odd", "unsure", "sure", "alone", "failed"]
    assert [row["file"] for row in page_rows(batch.arrived, 3)] == ["odd", "failed"]
    odd, failed = page_rows(batch.arrived, 3)
    assert odd["worth"] == ("look yourself", "unlike")
    assert (odd["index"], failed["index"], failed["reason"]) == (3, 4, "no")


def test_in_the_csv_a_strangers_name_does_nothing(tmp_path: Path) -> None:
    rows = [
        Row("=1+1<script>.png", Path("x"), areas={"<b>": {"px": 3.0, "mm2": 1.5}}),
        Row("@x", Path("x"), reason="<i>"),
    ]
    assert page_rows(rows)[0]["areas"] == ["3 px, 1.5 mm²"]
    write_table(rows, tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(newline="") as stream:
        assert [line["file"] for line in csv.DictReader(stream)] == ["'=1+1<script>.png", "'@x"]


def test_what_is_said_of_the_settings_names_what_counts_here_and_what_does_not(session: Session) -> None:
    said = _settings(session)
    assert said == "As set in “Image”: **tiny-binary** with random-0 0.75, random-1 0.25; vote: Average, cut-off 0.50."
    session.average_over("flips")
    session.drop_pieces(9)
    assert _settings(session).endswith("cut-off 0.50, without pieces under 9 px, each model averaged over flips.")


@pytest.mark.parametrize(
    ("done", "total", "seconds", "words"),
    [(0, 9, 9, ""), (2, 9, 1, ""), (9, 9, 9, ""), (1, 9, 3, ", about 25 s left"), (1, 9, 60, ", about 8 min left")],
)
def test_the_time_left_is_said_where_it_can_be_told(done: int, total: int, seconds: float, words: str) -> None:
    assert time_left(done, total, seconds) == words
