"""A mask by hand without a browser: strokes as run lengths, and what the page makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import medseg
from medseg.correct import to_grid
from medseg.data.rle import encode_rle
from medseg.data.samples import load_data
from tests.conftest import make_ensemble, write_disc_pair

pytest.importorskip("gradio")

from gradio import EventData

from medseg.app.state.drawing import begin_drawing, discard_drawing, drawing, take_strokes
from medseg.app.state.editing import Editing
from medseg.app.state.session import Session
from medseg.app.tabs import correct, handlers

if TYPE_CHECKING:
    from medseg.inference.ensemble import Ensemble

NOTHING = np.zeros((48, 64), bool)


@pytest.fixture(scope="module")
def ensemble(plain_ensemble: Path) -> Ensemble:
    return medseg.Ensemble.from_pretrained(plain_ensemble)


@pytest.fixture
def session(ensemble: Ensemble, tmp_path: Path) -> Session:
    """A visitor with an image of 64 × 48 pixels open, who draws on the ensemble's mask."""
    write_disc_pair(tmp_path, "disc", 5)
    opened = Session()
    opened.open(tmp_path / "images" / "disc.png", ensemble)
    begin_drawing(opened, "ensemble")
    return opened


def drawn(session: Session) -> Editing:
    editing = drawing(session)
    assert editing
    return editing


def strokes(*labels: tuple[np.ndarray, np.ndarray]) -> list[tuple[str, str]]:
    return [(encode_rle(painted, "counts"), encode_rle(erased, "counts")) for painted, erased in labels]


def event(session: Session, *labels: tuple[np.ndarray, np.ndarray], **more: Any) -> Any:
    """What the browser hands over."""
    data = {"token": drawn(session).token, "revision": 1, "strokes": strokes(*labels)} | more
    return EventData(None, data)


def corner(size: tuple[int, int] = (48, 64)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[:10, :20] = True
    return mask


def test_a_truth_drawn_on_an_empty_mask_is_what_the_models_are_scored_against(session: Session) -> None:
    begin_drawing(session, "nothing")
    value, *texts = correct.count(session, event(session, (corner(), NOTHING), revision=7))
    view_state = session.view_state
    assert view_state.truth is not None
    assert np.array_equal(view_state.truth[0], corner())
    assert "Truth: drawn here, begun with an empty mask." in texts[3]
    both = int((view_state.prediction.masks[0] & corner()).sum())
    dice = 2 * both / (int(view_state.prediction.masks.sum()) + 200)
    assert session.scores.rows(view_state)[0]["dice"] == pytest.approx(dice)
    assert value["counted"]["revision"] == 7
    assert value["counted"]["labels"][0]["dice"] == pytest.approx(dice)


def test_what_changed_is_counted_in_pixels_and_overlap(session: Session) -> None:
    before = session.view_state.prediction.masks[0]
    value, *_ = correct.count(session, event(session, (corner() & ~before, ~corner() & before)))
    (counts,) = value["counted"]["labels"]
    assert (counts["added"], counts["removed"]) == ((corner() & ~before).sum(), (~corner() & before).sum())
    assert (counts["before"], counts["after"]) == (before.sum(), 200)
    assert counts["same"] == counts["dice"] == pytest.approx(2 * (before & corner()).sum() / (before.sum() + 200))


def test_strokes_taken_back_leave_the_ensembles_mask_as_it_was(session: Session) -> None:
    take_strokes(session, drawn(session).token, strokes((corner(), NOTHING)))
    take_strokes(session, drawn(session).token, strokes((NOTHING, NOTHING)))
    assert np.array_equal(session.view_state.truth, session.view_state.prediction.masks)


def test_a_training_pair_holds_the_image_and_the_corrected_mask(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    path = Path(correct.write_pair(session, event(session, (corner(), NOTHING))))
    (sample,) = load_data(path, labels=["blob"]).samples
    image, masks = sample.read(["blob"])
    assert image.sha256 == session.view_state.prediction.image.sha256
    assert np.array_equal(masks, session.view_state.prediction.masks | corner())
    assert "disc" not in path.name


def test_a_large_image_is_drawn_on_small_and_corrected_whole(ensemble: Ensemble, tmp_path: Path) -> None:
    write_disc_pair(tmp_path, "large", 3, size=(600, 1300))
    opened = Session()
    opened.open(tmp_path / "images" / "large.png", ensemble)
    begin_drawing(opened, "ensemble")
    small = corner((473, 1024))
    take_strokes(opened, drawn(opened).token, strokes((small, np.zeros_like(small))))
    truth, before = opened.view_state.truth, opened.view_state.prediction.masks
    assert truth is not None
    touched = to_grid(small, (600, 1300))
    assert truth[0][touched].all()
    assert np.array_equal(truth[0][~touched], before[0][~touched])


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_every_label_has_its_own_strokes(tmp_path: Path, task: Any) -> None:
    folder = make_ensemble(tmp_path / "two", (1, 1), labels=("lung", "heart"), task=task, plain=True)
    write_disc_pair(tmp_path, "disc", 5)
    opened = Session()
    opened.open(tmp_path / "images" / "disc.png", medseg.Ensemble.from_pretrained(folder))
    begin_drawing(opened, "nothing")
    exclusive = task == "multiclass"  # there the browser erases of the others what it paints
    both = strokes((corner(), ~corner() & exclusive), (~corner(), corner() & exclusive))
    take_strokes(opened, drawn(opened).token, both)
    assert np.array_equal(opened.view_state.truth, np.stack([corner(), ~corner()]))


def test_another_weight_keeps_the_drawing_and_another_image_refuses_its_strokes(
    session: Session, tmp_path: Path, ensemble: Ensemble
) -> None:
    late = event(session, (corner(), NOTHING))
    session.remix([0.2] * len(ensemble.members), 0.4, 0.3)
    assert handlers.view(session)["drawing"] == drawn(session).token
    write_disc_pair(tmp_path, "next", 6)
    session.open(tmp_path / "images" / "next.png", ensemble)
    assert handlers.view(session)["drawing"] == ""
    with pytest.warns(UserWarning, match="belongs to another image"):
        correct.count(session, late)
    assert session.view_state.truth is None


def test_a_discarded_drawing_gives_the_truth_before_back(session: Session, tmp_path: Path) -> None:
    discard_drawing(session)
    session.add_truth(tmp_path / "masks" / "disc.png", "the uploaded mask")
    uploaded = session.view_state.truth
    assert uploaded is not None
    begin_drawing(session, "truth")
    take_strokes(session, drawn(session).token, strokes((corner(), NOTHING)))
    assert np.array_equal(session.view_state.truth, uploaded | corner())
    discard_drawing(session)
    assert session.view_state.truth is uploaded
    assert session.view_state.truth_source == "the uploaded mask"
    assert drawing(session) is None


@pytest.mark.parametrize(
    ("painted", "words"), [("5 x", "whole numbers"), ("7 8", "another size"), ("-9 9", "found -9")]
)
def test_strokes_that_are_none_are_refused_in_words(session: Session, painted: str, words: str) -> None:
    with pytest.warns(UserWarning, match=words):
        correct.count(session, event(session, strokes=[(painted, painted)]))
    assert session.view_state.truth is None


def test_an_image_without_a_mask_has_none_to_begin_with(ensemble: Ensemble, tmp_path: Path) -> None:
    write_disc_pair(tmp_path, "disc", 5)
    opened, path = Session(), tmp_path / "images" / "disc.png"
    opened.take(medseg.read_image(path), path, ensemble, withheld=True)
    for beginning in ("ensemble", "truth", "another"):
        with pytest.warns(UserWarning, match="begin with an empty one"):
            correct.begin(opened, EventData(None, {"beginning": beginning}))
    correct.begin(opened, EventData(None, {"beginning": "nothing"}))
    assert not drawn(opened).base.masks.any()
