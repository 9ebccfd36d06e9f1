"""`python -m medseg inspect`: the report, and the contact sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medseg.__main__ import main
from medseg.overlay import label_colour
from medseg.samples import load_data
from medseg.survey import choose, draw_sheet
from medseg.verify import examine
from tests.data_sets import chestx_det, kvasir, save, scene


def test_the_report_counts_by_split_case_and_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chestx_det(tmp_path)
    main(["inspect", str(tmp_path), "--labels", "Mass", "any=Mass,Effusion"])
    report = capsys.readouterr().out
    assert report.startswith("chestx-det: 3 samples of 2 cases\n")
    assert "sizes   all 32 × 24 (width × height)" in report
    assert "train      2 samples      1 cases      1 empty" in report
    assert "Mass  marked on      1, 3.516% of the pixels" in report  # 54 of 2 × 768
    assert "any   marked on      1, 5.794% of the pixels" in report  # 54 + 50 − 15
    assert report.endswith("no findings\n")


def test_faults_are_listed_and_make_the_exit_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kvasir(tmp_path)
    save(tmp_path / "masks" / "b.jpg", scene(size=(9, 9)))
    with pytest.raises(SystemExit) as caught:
        main(["inspect", str(tmp_path), "--sheet", str(tmp_path / "sheet.png")])
    assert caught.value.code == 1
    assert "1 findings\n  masks/b.jpg: The mask is 9 × 9" in capsys.readouterr().out
    with PIL.Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (256, 24 + 286)  # the one that can be read


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
