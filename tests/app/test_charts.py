"""What is drawn of the scores, beside the library's own numbers and a plain loop."""

from __future__ import annotations

import base64
import dataclasses
import io
import re

import numpy as np
import PIL.Image
import pytest

from medseg import metrics
from medseg.config import Cleanup, EnsembleConfig, MemberReference
from medseg.image import Image
from medseg.inference.prediction import Prediction
from medseg.postprocess import to_masks

pytest.importorskip("gradio")

from medseg.app.render import charts, text
from medseg.app.state import scores
from medseg.app.state.scores import solo
from medseg.app.state.session import Session
from medseg.app.state.view_state import ViewState
from medseg.app.tabs.truth import EVIDENCE, against_truth

SIZE = (6, 8)


class HalfAndHalf:
    """Stands in for an Ensemble of two members that weigh the same."""

    def solo(self, index: int) -> tuple[float, ...]:
        return tuple(float(member == index) for member in range(2))


def session(names: tuple[str, str] = ("one", "two"), fill_holes: bool = False) -> Session:
    """Two labels, of which the first member is right and the second random; threshold 0.4."""
    rng = np.random.default_rng(4)
    truth = np.zeros((2, *SIZE), bool)
    truth[0, :3], truth[1, :, :2] = True, True
    members = np.stack([truth * 0.75, rng.random((2, *SIZE))]).astype(np.float16)
    references = tuple(MemberReference(f"m{index}", "0" * 64, 1.0) for index in range(2))
    settings = EnsembleConfig("pair", "multilabel", ("lung", "heart"), references)
    settings = dataclasses.replace(settings, cleanup=Cleanup(fill_holes=fill_holes))
    prediction = Prediction(
        Image(np.full((*SIZE, 3), 0.5, np.float32)),
        settings.labels,
        members,
        names,
        ("0" * 64,) * 2,
        (0.5, 0.5),
        0.4,
        False,
        settings,
        settings.cleanup,
    )
    opened = Session()
    known = {"truth": truth, "truth_source": "the test's own"}
    opened._now = ViewState(HalfAndHalf(), prediction, prediction, (0.5, 0.5), **known)  # type: ignore[arg-type]
    return opened


def drawn(opened: Session, tab: str) -> str:
    opened.evidence = tab
    return next(value for value in against_truth(opened) if isinstance(value, str))


def test_bars_are_the_scores_of_the_chosen_label() -> None:
    opened = session()
    opened.wanted_label = "heart"
    view_state = opened.view_state
    assert view_state.truth is not None
    masks = [view_state.prediction.masks, *(solo(view_state, view_state.prediction, index).masks for index in range(2))]
    wanted = [f"{metrics.confusion(mask[1], view_state.truth[1]).dice:.3f}" for mask in masks]
    assert re.findall(r"<b>([\d.]+)</b>", drawn(opened, "Bars")) == wanted
    assert wanted[1] == "1.000"


def test_the_curve_is_a_plain_loop_over_thresholds() -> None:
    opened = session()
    view_state = opened.view_state
    assert view_state.truth is not None
    predictions = [view_state.prediction, *(solo(view_state, view_state.prediction, index) for index in range(2))]
    for curve, prediction in zip(opened.curves.rows(view_state, view_state.truth), predictions, strict=True):
        for at, threshold in enumerate(charts.THRESHOLDS.tolist()):
            masks = to_masks(prediction.probabilities, threshold, "multilabel")
            wanted = [metrics.confusion(mask, true).dice for mask, true in zip(masks, view_state.truth, strict=True)]
            assert curve[:, at].tolist() == wanted
    best = opened.curves.rows(view_state, view_state.truth)[0][0].max()
    assert f"best {best:.3f} at" in drawn(opened, "Cut-off")
    assert "now 0.40" in drawn(opened, "Cut-off")


def test_the_members_curves_are_worked_out_once_while_sliders_move(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = session()
    drawn(opened, "Cut-off")
    counted: list[object] = []
    dice = scores._dice
    monkeypatch.setattr(scores, "_dice", lambda *args: counted.append(None) or dice(*args))
    opened._now = dataclasses.replace(
        opened.view_state, prediction=opened.view_state.prediction.remix(weights=(1, 0), threshold=0.6)
    )
    assert "now 0.60" in drawn(opened, "Cut-off")
    assert len(counted) == 1


def test_the_error_map_shows_and_counts_hits_false_alarms_and_misses() -> None:
    opened = session()
    view_state = opened.view_state
    assert view_state.truth is not None
    found = metrics.confusion(view_state.prediction.masks[0], view_state.truth[0])
    html = drawn(opened, "Error map")
    assert re.findall(r"<b>(\d+) px</b>", html) == [str(found.tp), str(found.fp), str(found.fn)]
    encoded = re.search(r'base64,([^"]+)"', html)
    assert encoded
    with PIL.Image.open(io.BytesIO(base64.b64decode(encoded[1]))) as image:
        assert image.size == (SIZE[1], SIZE[0])


def test_only_the_open_tab_is_drawn_and_without_a_truth_it_says_how_to_get_one() -> None:
    opened = session()
    for tab in EVIDENCE:
        opened.evidence = tab
        assert [isinstance(value, str) for value in against_truth(opened)] == [tab == name for name in EVIDENCE]
    opened._now = dataclasses.replace(opened.view_state, truth=None)
    assert drawn(opened, "Bars") == text.NO_TRUTH


def test_the_curve_says_where_a_clean_up_is_left_out_of_it() -> None:
    assert "before the clean-up" in drawn(session(fill_holes=True), "Cut-off")
    assert "clean-up" not in drawn(session(), "Cut-off")


@pytest.mark.parametrize("tab", ["Bars", "Cut-off"])
def test_a_members_name_is_text_and_never_markup(tab: str) -> None:
    html = drawn(session(("<img src=x onerror=alert(1)>", "two")), tab)
    assert "<img" not in html
    assert "&lt;img" in html
