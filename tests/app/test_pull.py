"""Who pulls the result where, on masks that can be worked out by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medseg.image import Image
from tests.conftest import fake_member
from tests.fitting.test_crossfit import ensemble_of

pytest.importorskip("gradio")

from medseg.app.render.pull import pull
from medseg.app.state.session import Session

SIDE = 32


def square(side: int) -> np.ndarray:
    answer = np.zeros((1, SIDE, SIDE))
    answer[0, :side, :side] = 0.9
    return answer


def large(image: Image) -> np.ndarray:
    return square(20)


def small(image: Image) -> np.ndarray:
    return square(10)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """One member says 400 pixels, two say 100 of them; so does their mean."""
    PIL.Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "image.png")
    members = [fake_member("one", large), fake_member("two", small), fake_member("three", small)]
    opened = Session()
    opened.open(tmp_path / "image.png", ensemble_of(*members))
    return opened


def test_without_one_of_the_two_that_agree_the_third_is_even_with_the_other(session: Session) -> None:
    table = pull(session.view_state, session.label)
    rows = [row.split("<td>") for row in table.split("<tr>")[2:]]
    assert [row[1].removesuffix("</td>") for row in rows] == ["0 %", "0 %", "0 %"]  # 0.45 is under the cut-off
    session.remix((1, 1, 1), 0.25, 0.3)
    table = pull(session.view_state, session.label)
    assert table.count("−75 %") == 1  # 400 pixels with the first, 100 without
    assert "<td>0.40</td>" in table  # 2 × 100 / (400 + 100)


def test_shares_add_up_to_the_dice_with_the_truth_where_it_is_known(session: Session) -> None:
    session._now = dataclasses.replace(session.view_state, truth=square(10).astype(bool), truth_source="test")
    table = pull(session.view_state, session.label)
    shares = [float(row.rsplit("<td>", 1)[1].split("<")[0]) for row in table.split("</tr>")[1:-1]]
    assert sum(shares) == pytest.approx(1.0, abs=0.02)  # the mean of all is the truth
    assert shares[0] < shares[1] == shares[2]
    assert "with the truth" in table


def test_a_single_model_pulls_nothing(session: Session) -> None:
    session.remix((1, 0, 0), 0.5, 0.3)
    assert pull(session.view_state, session.label) == ""
