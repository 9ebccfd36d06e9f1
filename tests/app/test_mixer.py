"""What the mixer's controls do to a visitor's result, and what the page says of how far to believe it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest

import medseg
from medseg import schema
from medseg.calibration.calibrate import Calibration, Errors
from medseg.calibration.conformal import Bounds
from medseg.calibration.trust import TrustModel
from medseg.hub.folders import CALIBRATION
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.overlay import label_colour
from tests.conftest import fake_member, make_ensemble
from tests.fitting.test_crossfit import ensemble_of

pytest.importorskip("gradio")

from medseg.app.render import images, planes, text
from medseg.app.render.offer import offer, titles
from medseg.app.state.session import Session
from medseg.app.tabs import downloads, handlers

SIDE = 40


def nested(image: Image) -> np.ndarray:
    """1 in the middle 100 pixels, 0.75 in the 400 around the middle, 0.25 in 784, and a speck of 4 pixels."""
    answer = np.zeros((1, SIDE, SIDE))
    answer[0, 6:34, 6:34], answer[0, 10:30, 10:30], answer[0, 15:25, 15:25] = 0.25, 0.75, 1
    answer[0, 0:2, 0:2] = 0.75
    return answer


def contrary(image: Image) -> np.ndarray:
    """What `nested` is not, so that the two masks at 0.5 have nothing in common."""
    return np.asarray(1 - nested(image))


def calibration(ensemble: Ensemble, **changes: Any) -> Calibration:
    """Dice is predicted as the agreement (0.99 at most), with the interval −0.5 to +0.5 times (1.02 − Dice)."""
    nothing = Errors(0, 0, None, None)
    found = Calibration(
        data="discs",
        n=40,
        cases=30,
        split_sha256="0" * 64,
        refitted=False,
        members=tuple(member.sha256 for member in ensemble.members),
        weights=(0.5, 0.5),
        threshold=0.5,
        temperature=1.0,
        before=nothing,
        after=nothing,
        trust=TrustModel(0.0, 1.0, -0.5, 0.5, 30),
        bounds=(Bounds(0.1, (0.2,), (0.9,), (30,), (30,)),),
    )
    return dataclasses.replace(found, **changes)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    PIL.Image.new("RGB", (SIDE, SIDE), (90, 60, 50)).save(path)
    return path


def visitor(ensemble: Ensemble, image: Path, folder: Path | None = None, **changes: Any) -> Session:
    """Who has the image open, in an ensemble with a calibration where there is a folder for it."""
    if folder is not None:
        schema.dump(calibration(ensemble, **changes), folder / CALIBRATION)
    ensemble.folder = folder
    session = Session()
    session.open(image, ensemble)
    return session


@pytest.fixture
def agreeing(image: Path, tmp_path: Path) -> Session:
    return visitor(ensemble_of(fake_member("one", nested), fake_member("two", nested)), image, tmp_path)


@pytest.fixture
def several(image: Path, tmp_path: Path) -> Session:
    folder = make_ensemble(tmp_path / "several", (0.75, 0.25), labels=("lung", "heart"), task="multilabel", plain=True)
    return visitor(medseg.Ensemble.from_pretrained(folder), image)


def settle(session: Session, **changed: Any) -> None:
    """The mixer's message: everything as it stands, but for what `changed`."""
    asked = offer(session.view_state)["settings"] | changed
    handlers.settle(session, SimpleNamespace(_data=json.loads(json.dumps(asked))), lambda *_, **__: None)


# --- trust


def test_members_that_agree_are_trusted_with_an_interval_and_what_it_was_learnt_on(agreeing: Session) -> None:
    said = text.verdict(agreeing.view_state)
    assert said.startswith("**Predicted Dice 0.99**, 90 % interval 0.97 to 1.00.")
    assert "discs (n = 40)" in said
    assert "Look at this yourself" not in said


def test_members_that_contradict_each_other_send_the_visitor_to_look(image: Path, tmp_path: Path) -> None:
    apart = visitor(ensemble_of(fake_member("one", nested), fake_member("two", contrary)), image, tmp_path)
    assert apart.view_state.prediction.masks.any()
    assert "**Predicted Dice 0.01**" in text.verdict(apart.view_state)
    assert "Look at this yourself" in text.verdict(apart.view_state)


@pytest.mark.parametrize("away", ["weights", "threshold", "blend", "least area", "flips"])
def test_settings_that_were_not_calibrated_get_no_number_until_they_are_back(agreeing: Session, away: str) -> None:
    if away == "least area":
        settle(agreeing, least=5)
    elif away == "flips":
        settle(agreeing, flips=True)
    else:
        changed = {"weights": ((1, 0), 0.5, None), "threshold": ((1, 1), 0.6, None), "blend": ((1, 1), 0.5, "median")}
        weights, threshold, blend = changed[away]
        agreeing.remix(weights, threshold, 0.3, blend)
    assert text.verdict(agreeing.view_state).startswith("No predicted Dice: these settings are not calibrated")
    settle(agreeing, least=0, flips=False, weights=[3, 3], threshold=0.5, blend="weighted mean")
    assert "Predicted Dice 0.99" in text.verdict(agreeing.view_state)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"members": ("0" * 64, "1" * 64)}, "this ensemble, as it is, has not been calibrated"),
        ({"trust": None}, "on too few cases"),
    ],
)
def test_without_a_calibration_that_fits_nothing_is_predicted(
    image: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    ensemble = ensemble_of(fake_member("one", nested), fake_member("two", nested))
    assert words in text.verdict(visitor(ensemble, image, tmp_path, **changes).view_state)
    assert "has not been calibrated" in text.verdict(visitor(ensemble, image).view_state)


def test_an_image_unlike_the_training_images_is_to_be_looked_at(
    several: Session, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Look at this yourself" not in text.verdict(several.view_state)
    film = dataclasses.replace(several.view_state.prediction.image, modality="CR")
    monkeypatch.setattr("medseg.app.state.session.read_file", lambda path: film)
    several.open(image, several.view_state.ensemble)
    said = text.verdict(several.view_state)
    assert said.startswith("⚠ **Look at this yourself.** This image is unlike what the ensemble was trained on")
    assert "modality is CR, not ES" in said


# --- inner and outer mask


def test_the_html_page_of_a_result_says_what_is_predicted_and_nothing_at_other_settings(agreeing: Session) -> None:
    assert "Expected Dice 0.99" in downloads.write(agreeing, "page").read_text(encoding="utf-8")
    agreeing.remix((1, 0), 0.5, 0.3)
    assert "Expected Dice" not in downloads.write(agreeing, "page").read_text(encoding="utf-8")


def test_the_bounds_are_drawn_as_thin_lines_and_only_at_the_calibrated_settings(agreeing: Session) -> None:
    settle(agreeing, rate=0.1)
    colour = list(label_colour(0))
    drawn = images.overlay(agreeing.view_state)
    assert drawn[20, 6].tolist() == colour  # the outer mask's first column
    assert drawn[20, 10].tolist() == colour  # the mask's
    assert drawn[20, 15].tolist() == colour  # the inner mask's
    assert "misses at most 10% of the truth" in text.summary(agreeing.view_state)
    agreeing.remix((1, 0), 0.5, 0.3)
    drawn = images.overlay(agreeing.view_state)
    assert [drawn[20, column].tolist() == colour for column in (6, 10, 15)] == [False, True, False]
    assert "misses" not in text.summary(agreeing.view_state)


def test_a_rate_of_0_draws_no_bounds(agreeing: Session) -> None:
    before = images.overlay(agreeing.view_state)
    settle(agreeing, rate=0.1)
    settle(agreeing, rate=0)
    assert np.array_equal(images.overlay(agreeing.view_state), before)


# --- least area, flips


def test_pieces_under_the_least_area_go_and_stay_gone_for_the_next_image(agreeing: Session, image: Path) -> None:
    assert agreeing.view_state.prediction.masks.sum() == 404
    settle(agreeing, least=5)
    assert agreeing.view_state.prediction.masks.sum() == 400
    assert "without pieces under 5 px." in text.summary(agreeing.view_state)
    agreeing.open(image, agreeing.view_state.ensemble)
    assert agreeing.view_state.prediction.report()["cleanup"]["min_area_px"] == 5
    assert agreeing.view_state.prediction.masks.sum() == 400


def test_the_least_area_is_said_in_square_millimetres_where_the_spacing_is_known(agreeing: Session) -> None:
    settle(agreeing, least=5)
    image = dataclasses.replace(agreeing.view_state.prediction.image, spacing_mm=(0.5, 2.0))
    prediction = dataclasses.replace(agreeing.view_state.prediction, image=image)
    assert "pieces under 5 px (5.0 mm²)" in text.summary(
        dataclasses.replace(agreeing.view_state, prediction=prediction)
    )


def test_a_negative_least_area_is_refused_and_changes_nothing(agreeing: Session) -> None:
    before = agreeing.view_state
    with pytest.warns(UserWarning, match="min_area_px must be 0 or more"):
        settle(agreeing, least=-1)
    assert agreeing.view_state.prediction.cleanup == before.prediction.cleanup


def test_flips_are_the_librarys_and_keep_settings_and_truth(several: Session) -> None:
    several.remix((0.1, 0.9), 0.45, 0.3)
    plain = several.view_state.prediction
    several._now = dataclasses.replace(several.view_state, truth=plain.masks, truth_source="test")
    settle(several, flips=True)
    view_state = several.view_state
    expected = view_state.ensemble.predict(plain.image, weights=(0.1, 0.9), threshold=0.45, tta=True)
    assert np.array_equal(view_state.prediction.probabilities, expected.probabilities)
    assert not np.array_equal(view_state.prediction.probabilities, plain.probabilities)
    assert (view_state.prediction.tta, view_state.truth_source) == ("flips", "test")
    settle(several, flips=False)
    assert np.array_equal(several.view_state.prediction.probabilities, plain.probabilities)


# --- weights and toggles for each label


def test_a_label_may_be_weighed_by_itself(several: Session) -> None:
    settle(several, weights=[[0.75, 0], [0.25, 0.25]])
    prediction = several.view_state.prediction
    assert prediction.weights == ((0.75, 0), (0.25, 1))
    members = prediction.members.astype(np.float32)
    assert np.allclose(prediction.probabilities[0], 0.75 * members[0, 0] + 0.25 * members[1, 0])
    assert np.array_equal(prediction.probabilities[1], members[1, 1])


def test_weights_that_are_alike_for_all_labels_are_one_number(several: Session) -> None:
    settle(several, weights=[[0.5, 0.5], [0.5, 0.5]], threshold=0.4)
    assert several.view_state.weights == (0.5, 0.5)
    assert several.view_state.prediction.weights == (0.5, 0.5)


def test_a_label_whose_weights_are_all_0_is_refused_and_nothing_changes(several: Session) -> None:
    before = several.view_state
    with pytest.warns(UserWarning, match="All weights are 0 for one of the labels"):
        settle(several, weights=[[0, 0.75], [0, 0.25]])
    assert several.view_state is before


def test_a_label_is_hidden_from_the_image_and_stays_in_the_result(several: Session) -> None:
    several.remix((1, 1), 0.01, 0.3)
    prediction = several.view_state.prediction
    assert prediction.masks.all()
    settle(several, hidden=["lung"])
    drawn = images.overlay(several.view_state)
    assert drawn[0, 0].tolist() == list(label_colour(1))
    assert np.array_equal(several.view_state.prediction.masks, prediction.masks)
    settle(several, hidden=["lung", "heart"])
    assert images.overlay(several.view_state)[0, 0].tolist() == [90, 60, 50]


# --- what the mixer and the viewer are given


def test_the_mixer_is_offered_what_is_recommended_beside_what_is_set(several: Session) -> None:
    settle(several, weights=[0.1, 0.9], threshold=0.4)
    offered = offer(several.view_state)
    assert offered["settings"]["weights"] == (0.1, 0.9)
    assert offered["recommended"]["weights"] == (0.75, 0.25)
    assert offered["recommended"]["threshold"] == 0.5


def test_members_are_named_by_their_networks_where_these_tell_them_apart() -> None:
    assert titles(["polyp-unet-lite0", "polyp-fpn-lite1"]) == ["U-Net", "FPN"]
    assert titles(["unet-a", "unet-b"]) == ["unet-a", "unet-b"]
    assert titles(["one", "two-fpn"]) == ["one", "two-fpn"]


def test_bounds_are_offered_only_where_they_differ_from_the_mask(agreeing: Session) -> None:
    assert planes.result(agreeing.view_state)["rates"] == [0.1]
    assert planes.result(agreeing.view_state)["bounds"] == []
    settle(agreeing, rate=0.1)
    assert len(planes.result(agreeing.view_state)["bounds"]) == 2
    agreeing.remix((1, 0), 0.5, 0.3)
    assert planes.result(agreeing.view_state)["rates"] == []


def test_a_bound_at_the_masks_own_cut_off_is_not_offered(image: Path, tmp_path: Path) -> None:
    same = (Bounds(0.1, (0.5,), (0.5,), (30,), (30,)),)
    session = visitor(ensemble_of(fake_member("one", nested), fake_member("two", nested)), image, tmp_path, bounds=same)
    assert planes.result(session.view_state)["rates"] == []
