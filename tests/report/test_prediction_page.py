"""One image's result as one page: what stands on it, and that nothing of a stranger's gets out of its place."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from medseg.calibration.trust import Trust
from medseg.image import Image
from medseg.inference.record import NOTICE
from medseg.report.prediction_page import write_page
from tests.export.test_export_nifti import predict

BRIGHT = np.zeros((40, 50, 1), np.float32)
BRIGHT[:4, :25] = 1  # 100 of 2,000 pixels
IMAGE = Image(BRIGHT, (0.5, 2.0), "CR", window=(40.0, 400.0), notes=("a <b>note</b>",), file_sha256="f" * 64)


def page(folder: Path, image: Image = IMAGE, labels: tuple[str, ...] = ("bright",), trust: Trust | None = None) -> str:
    write_page(predict(image, labels), folder / "page.html", trust)
    return (folder / "page.html").read_text(encoding="utf-8")


def words(text: str) -> str:
    """What a reader sees, with one space between."""
    return " ".join(re.sub(r"<[^>]+>", " ", text.split("</style>")[1]).split())


def test_the_page_says_what_was_found_by_whom_and_under_which_settings(tmp_path: Path) -> None:
    shown = words(page(tmp_path))
    assert NOTICE in shown
    assert "bright 100 px, 100.0 mm² 5.0%" in shown
    member = predict(IMAGE).report()["members"][0]
    assert re.search(rf"{member['name']} 100% [0-9a-f]{{64}}", shown)
    for text in ("50 × 40 px", "0.5 × 2 mm", "centre 40, width 400", "weighted mean", "Threshold 0.5", "f" * 64):
        assert text in shown
    assert predict(IMAGE).report()["masks_sha256"] in shown


def test_a_label_that_is_not_found_is_said_so(tmp_path: Path) -> None:
    dark = Image(np.zeros((40, 50, 1), np.float32))
    assert "bright nothing found 0.0%" in words(page(tmp_path, dark))


def test_the_four_views_are_in_the_page_and_nothing_else_is_asked_for(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert text.count('<img src="data:image/jpeg;base64,') == 4
    assert "http" not in text.replace("http-equiv", "")
    assert "<script" not in text


def test_every_text_of_a_stranger_is_escaped(tmp_path: Path) -> None:
    text = page(tmp_path, labels=("<script>x</script>",))
    assert "&lt;script&gt;x&lt;/script&gt;" in text
    assert "a &lt;b&gt;note&lt;/b&gt;" in text
    assert "<b>" not in text


@pytest.mark.parametrize(("low", "doubt"), [(0.1, True), (0.8, False)])
def test_the_trust_is_given_where_it_is_known(tmp_path: Path, low: float, doubt: bool) -> None:
    shown = words(page(tmp_path, trust=Trust(0.9, low, 0.95)))
    assert f"Expected Dice 0.90, with 90 % between {low:.2f} and 0.95" in shown
    assert ("look yourself" in shown) == doubt
    assert "Expected Dice" not in words(page(tmp_path))
