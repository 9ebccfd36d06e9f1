"""`medseg inspect`: the report, and the contact sheet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medseg.__main__ import main
from medseg.data.samples import load_data
from medseg.data.splits import deal, deal_folds, with_fold
from medseg.data.survey import choose, draw_sheet
from medseg.data.verify import examine
from medseg.overlay import label_colour
from tests.data_sets import SMALL, chestx_det, kvasir, save, scene


def test_the_report_counts_by_split_case_and_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chestx_det(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["inspect", str(tmp_path), "--labels", "Mass", "any=Mass,Effusion"])
    assert caught.value.code == 1
    report = capsys.readouterr().out
    assert report.startswith("chestx-det: 3 samples of 2 cases\n")
    assert "sizes   all 32 × 24 (width × height)" in report
    assert "train      2 samples      1 cases      1 empty" in report
    assert "Mass  marked on      1, 3.516% of the pixels" in report  # 54 of 2 × 768
    assert "any   marked on      1, 5.794% of the pixels" in report  # 54 + 50 − 15
    assert "1 finding\n  split val: training needs one to stop at its best, and it holds 0." in report


def test_faults_are_listed_and_make_the_exit_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kvasir(tmp_path / "set")
    save(tmp_path / "set" / "masks" / "b.jpg", np.eye(9, dtype=bool))
    with pytest.raises(SystemExit) as caught:
        main(["inspect", str(tmp_path / "set"), "--sheet", str(tmp_path / "sheet.png")])
    assert caught.value.code == 1
    assert "2 findings\n  masks/b.jpg: The mask is 9 × 9" in capsys.readouterr().out
    with PIL.Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (256, 24 + 286)  # the one that can be read


def write_pairs(root: Path) -> None:
    for number in range(12):
        save(root / "images" / f"{number:02}.png", scene(number))
        save(root / "masks" / f"{number:02}.png", SMALL)


def test_splits_are_written_as_they_are_dealt_and_then_honoured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pairs(tmp_path)
    dealt = load_data(tmp_path, seed=7).samples
    main(["inspect", str(tmp_path), "--write-splits", str(tmp_path / "splits.json"), "--seed", "7"])
    assert capsys.readouterr().out.endswith(f"no findings\nwrote {tmp_path / 'splits.json'}\n")
    assert load_data(tmp_path).samples == dealt != deal([replace(s, split="") for s in dealt])


def test_folds_are_written_and_then_honoured(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    main(["inspect", str(tmp_path), "--write-splits", str(tmp_path / "f.json"), "--folds", "4", "--seed", "7"])
    found = [load_data(tmp_path, splits=tmp_path / "f.json", fold=fold).samples for fold in range(4)]
    assert [sum(s.split == "test" for s in samples) for samples in found] == [3] * 4
    assert found[0] == with_fold(found[0], deal_folds(found[0], 4, seed=7), 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--write-splits", "splits.json"], "splits.json is already there"),
        (["--write-splits", "other.json"], "splits.json is already there"),
        (["--folds", "3"], "--folds says how --write-splits divides"),
    ],
)
def test_a_division_is_never_overwritten_or_silently_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    write_pairs(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "splits.json").write_text("{}")
    with pytest.raises(SystemExit, match=words):
        main(["inspect", ".", *arguments])
    assert (tmp_path / "splits.json").read_text() == "{}"


def test_two_folds_are_not_written(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    with pytest.raises(SystemExit, match="12 cases cannot be dealt into 2 folds: wanted at least 3"):
        main(["inspect", str(tmp_path), "--write-splits", str(tmp_path / "f.json"), "--folds", "2"])
    assert not (tmp_path / "f.json").exists()


def test_the_sheet_draws_contours_and_boxes_where_the_masks_are(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", np.zeros((256, 256), dtype=np.uint8))
    mask = np.zeros((256, 256), dtype=bool)
    mask[100:150, 60:160] = np.tri(50, 100, 50, dtype=bool)
    save(tmp_path / "masks" / "a.png", mask)
    sheet = draw_sheet(load_data(tmp_path).samples, ["x"])[24:280]
    coloured = (sheet == label_colour(0)).all(axis=-1)
    assert coloured[100, 60:160].all()  # the box's upper edge, of which the contour has only a part
    assert coloured[100:150, 159].all()
    assert coloured[100:150, 60].all()
    assert not coloured[:99].any()
    assert not coloured[151:].any()


def test_a_sheet_shows_a_quarter_of_empties_where_there_are_many(tmp_path: Path) -> None:
    for number in range(20):
        save(tmp_path / "images" / f"{number:02}.png", scene(number))
        save(tmp_path / "masks" / f"{number:02}.png", np.eye(24, 32, dtype=np.uint8) * np.uint8(number % 2))
    examined = examine(load_data(tmp_path).samples, ["x"])
    chosen = choose(examined, 8)
    assert len(chosen) == 8
    assert sum(int(sample.case) % 2 for sample in chosen) == 6
    assert len(choose(examined, 24)) == 20
