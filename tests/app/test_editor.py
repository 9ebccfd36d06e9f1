"""A mask by hand without a browser: strokes as run lengths, and what the page makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import medseg
from medseg.correct import to_grid
from medseg.data.rle import encode_rle
from medseg.data.samples import load_data
from tests.conftest import make_ensemble, write_disc_pair

pytest.importorskip("gradio")

from medseg.app.state.session import Session
from medseg.app.tabs import correct

if TYPE_CHECKING:
    from medseg.inference.ensemble import Ensemble


@pytest.fixture(scope="module")
def ensemble(plain_ensemble: Path) -> Ensemble:
    return medseg.Ensemble.from_pretrained(plain_ensemble)


@pytest.fixture
def session(ensemble: Ensemble, tmp_path: Path) -> Session:
    """A visitor with an image of 64 × 48 pixels open, and the editor on it."""
    write_disc_pair(tmp_path, "disc", 5)
    opened = Session()
    opened.open(tmp_path / "images" / "disc.png", ensemble)
    correct._opened(True, opened)
    return opened


def strokes(session: Session, painted: np.ndarray, erased: np.ndarray | None = None) -> tuple[str, str, str]:
    """What the browser hands over: the token of the editor's content, and both kinds of strokes."""
    assert session.editing
    nothing = np.zeros_like(painted)
    return (
        session.editing.token,
        *(encode_rle(mask, "counts") for mask in (painted, nothing if erased is None else erased)),
    )


def corner(size: tuple[int, int] = (48, 64)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[:10, :20] = True
    return mask


def test_a_truth_drawn_on_an_empty_mask_is_what_the_models_are_scored_against(session: Session) -> None:
    correct.restart("an empty mask", session)
    _, _, _, _, _, table, *_ = correct.use_as_truth(session, *strokes(session, corner()))
    view_state = session.view_state
    assert view_state.truth is not None
    assert np.array_equal(view_state.truth[0], corner())
    assert "Truth: drawn here, begun with an empty mask." in table
    both = int((view_state.prediction.masks[0] & corner()).sum())
    dice = 2 * both / (int(view_state.prediction.masks.sum()) + 200)
    assert session.scores.rows(view_state)[0]["dice"] == pytest.approx(dice)


def test_what_changed_is_told_in_pixels_and_overlap(session: Session) -> None:
    before = session.view_state.prediction.masks[0]
    painted, erased = corner() & ~before, ~corner() & before
    table = correct.see_change(session, *strokes(session, painted, erased))
    added, removed = f"{int(painted.sum()):,} px", f"{int(erased.sum()):,} px"
    cells = [f"{medseg_dice(before, corner()):.3f}", added, removed, f"{int(before.sum()):,} px", "200 px"]
    assert all(f" {cell} |" in table for cell in cells)


def medseg_dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * int((one & other).sum()) / int(one.sum() + other.sum())


def test_strokes_taken_back_leave_the_ensembles_mask_as_it_was(session: Session) -> None:
    correct.see_change(session, *strokes(session, corner()))
    correct.use_as_truth(session, *strokes(session, np.zeros((48, 64), bool)))
    assert np.array_equal(session.view_state.truth, session.view_state.prediction.masks)


def test_a_training_pair_holds_the_image_and_the_corrected_mask(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    path = Path(correct.write_pair(session, *strokes(session, corner())))
    (sample,) = load_data(path, labels=["blob"]).samples
    image, masks = sample.read(["blob"])
    assert image.sha256 == session.view_state.prediction.image.sha256
    assert np.array_equal(masks, session.view_state.prediction.masks | corner())
    assert "disc" not in path.name


def test_a_large_image_is_drawn_on_small_and_corrected_whole(ensemble: Ensemble, tmp_path: Path) -> None:
    write_disc_pair(tmp_path, "large", 3, size=(600, 1300))
    opened = Session()
    opened.open(tmp_path / "images" / "large.png", ensemble)
    value, *_ = correct.restart("the ensemble's mask", opened)
    assert value["background"].shape == (473, 1024, 3)
    correct.use_as_truth(opened, *strokes(opened, corner((473, 1024))))
    truth, before = opened.view_state.truth, opened.view_state.prediction.masks
    assert truth is not None
    touched = to_grid(corner((473, 1024)), (600, 1300))
    assert truth[0][touched].all()
    assert np.array_equal(truth[0][~touched], before[0][~touched])


def test_another_label_keeps_the_strokes_on_the_first(tmp_path: Path) -> None:
    folder = make_ensemble(tmp_path / "two", (1, 1), labels=("lung", "heart"), task="multilabel", plain=True)
    write_disc_pair(tmp_path, "disc", 5)
    opened = Session()
    opened.open(tmp_path / "images" / "disc.png", medseg.Ensemble.from_pretrained(folder))
    correct.restart("an empty mask", opened)
    *_, names = correct.turn_to(opened, *strokes(opened, corner()), "heart")
    assert (names["value"], names["choices"]) == ("heart", ["lung", "heart"])
    table = correct.see_change(opened, *strokes(opened, ~corner()))
    assert "| lung |" in table
    correct.use_as_truth(opened, *strokes(opened, ~corner()))
    assert np.array_equal(opened.view_state.truth, np.stack([corner(), ~corner()]))


def test_strokes_made_on_another_image_are_refused_and_the_editor_shows_the_new_one(
    session: Session, tmp_path: Path, ensemble: Ensemble
) -> None:
    late = strokes(session, corner())
    write_disc_pair(tmp_path, "next", 6)
    session.open(tmp_path / "images" / "next.png", ensemble)
    with pytest.warns(UserWarning, match="belongs to another image"):
        correct.use_as_truth(session, *late)
    assert session.view_state.truth is None
    value, token, *_ = correct.refresh(session)
    assert value["background"].shape == (48, 64, 3)
    assert token != late[0]
    assert all("value" not in skipped for skipped in correct.refresh(session))  # it has begun: nothing is reset


def test_a_closed_editor_costs_a_new_image_nothing(session: Session, tmp_path: Path, ensemble: Ensemble) -> None:
    correct._opened(False, session)
    session.open(tmp_path / "images" / "disc.png", ensemble)
    assert all("value" not in skipped for skipped in correct.refresh(session))


def test_before_the_first_stroke_the_mask_is_the_ensembles(session: Session) -> None:
    assert session.editing
    assert "| 1.000 | 1.000 | 0 px | 0 px |" in correct.see_change(session, session.editing.token, "", "")


@pytest.mark.parametrize(
    ("painted", "words"), [("5 x", "whole numbers"), ("7 8", "another size"), ("-9 9", "found -9")]
)
def test_strokes_that_are_none_are_refused_in_words(session: Session, painted: str, words: str) -> None:
    assert session.editing
    with pytest.warns(UserWarning, match=words):
        correct.see_change(session, session.editing.token, painted, painted)


def test_nobody_can_leave_files_in_the_memory_of_the_page() -> None:
    from medseg.app.tabs.correct import _editor

    assert not getattr(_editor().accept_blobs, "_is_server_fn", False)
