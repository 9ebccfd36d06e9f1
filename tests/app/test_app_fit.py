"""Weights from a visitor's labelled images: what is read, what is refused, and what comes of it."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import medseg
import medseg.app.state.fit
from medseg import schema
from medseg.app.render.text import verdict
from medseg.app.state.fit import DataFit
from medseg.app.state.session import Session
from medseg.app.state.uploaded_files import UploadedFile
from medseg.app.tabs.fit import checked, continuing, recommendation, result_html, table
from medseg.calibration.calibrate import judge
from medseg.calibration.judgement import calibration_of
from medseg.config import EnsembleConfig
from medseg.data.samples import load_data, select
from medseg.errors import InputError
from medseg.fitting.fit import Fit
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.metrics import dice
from medseg.scores import Nested, Score
from medseg.training.continuing import main as continue_on
from tests.conftest import PaintedSample, disc, fake_member, fit_to, make_ensemble, write_disc_pair

SPLITS = '{"train": ["c0"], "val": ["c1", "c2", "c3", "c4"], "test": ["c5"]}'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "visitors" / "gradio"))
    (tmp_path / "visitors").mkdir()
    return tmp_path / "visitors"


@pytest.fixture(scope="module")
def ensemble(tiny_ensemble: Path) -> Ensemble:
    return medseg.Ensemble.from_pretrained(tiny_ensemble)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Six images with masks, c0 to c5, and a division that keeps c1 to c4 for validation."""
    for number in range(6):
        write_disc_pair(tmp_path / "pairs", f"c{number}", number)
    (tmp_path / "pairs" / "splits.json").write_text(SPLITS)
    return tmp_path / "pairs"


def zipped(pairs: Path, leave_out: str = "") -> list[UploadedFile]:
    path = pairs.parent / "0123.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in pairs.rglob("*"):
            if file.is_file() and file.name != leave_out:
                archive.write(file, Path("mine") / file.relative_to(pairs))
    return [UploadedFile(path, "mine.zip")]


def given(pairs: Path, kind: str) -> list[UploadedFile]:
    return [UploadedFile(path, path.name) for path in sorted((pairs / kind).iterdir())]


def run(
    ensemble: Ensemble, images: list[UploadedFile], masks: list[UploadedFile], data_fit: DataFit | None = None
) -> Fit:
    data_fit = data_fit or DataFit()
    assert list(data_fit.run(ensemble, images, masks))
    return data_fit.newest(ensemble).fit


def test_of_a_divided_zip_the_val_part_is_fitted_as_the_command_line_would(ensemble: Ensemble, pairs: Path) -> None:
    found = run(ensemble, zipped(pairs), [])
    expected = fit_to(ensemble.members, select(load_data(pairs).samples, "val"))
    assert found.fitted == expected.fitted
    assert found.nested == expected.nested
    assert found.nested is not None
    assert found.nested.fitted.n == 4


def test_without_a_division_all_images_are_used_from_a_zip_and_from_files_alike(
    ensemble: Ensemble, pairs: Path, folder: Path
) -> None:
    zip_found = run(ensemble, zipped(pairs, leave_out="splits.json"), [])
    found = run(ensemble, given(pairs, "images"), given(pairs, "masks"))
    assert zip_found.nested == found.nested
    assert found.nested is not None
    assert found.nested.fitted.n == 6
    assert list(folder.glob("tmp*")) == []  # nothing of what was sent outlives the fit


def test_what_is_left_out_or_doubtful_is_listed(ensemble: Ensemble, pairs: Path) -> None:
    shutil.copy(pairs / "images" / "c0.png", pairs / "images" / "c4.png")
    (pairs / "images" / "x.heic").write_bytes(b"x")
    data_fit = DataFit()
    run(ensemble, zipped(pairs), [], data_fit)
    left_out, copied = data_fit.doubts
    assert left_out == "Left out: files whose format medseg does not read (1), the first: images/x.heic."
    assert copied.startswith("images/c4.png: the same picture as images/c0.png")
    data_fit.doubts = ("<b>",)
    assert "<li>⚠ &lt;b&gt;</li>" in checked(data_fit)


def test_masks_that_fit_no_image_are_refused_by_name(ensemble: Ensemble, pairs: Path) -> None:
    shutil.copy(pairs / "masks" / "c0.png", pairs / "images" / "c1.png")  # a mask in the place of an image is no fault
    PIL.Image.fromarray(np.zeros((9, 9), np.uint8)).save(pairs / "masks" / "c2.png")
    with pytest.raises(InputError, match=r"has 1 fault\. \(1\) masks/c2\.png: The mask is 9 × 9"):
        run(ensemble, zipped(pairs), [])


def test_what_is_saved_opens_in_place_of_the_ensembles_own(
    ensemble: Ensemble, pairs: Path, tiny_ensemble: Path, tmp_path: Path
) -> None:
    data_fit = DataFit()
    found = run(ensemble, zipped(pairs), [], data_fit)
    shutil.copytree(tiny_ensemble, tmp_path / "copy")
    zipfile.ZipFile(data_fit.write()).extractall(tmp_path / "copy")
    opened = medseg.Ensemble.from_pretrained(tmp_path / "copy")
    choice = data_fit.newest(ensemble).choice
    assert choice == found.choice(found.recommended)
    assert opened.weights == pytest.approx(choice.weights, abs=1e-3)
    assert opened.config.threshold == choice.threshold
    assert opened.config.fitted is not None
    assert opened.config.fitted.data == "4 uploaded images"
    assert calibration_of(opened) == data_fit.newest(ensemble).calibration


def test_what_is_applied_keeps_a_predicted_dice_for_this_image_and_the_next(
    ensemble: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Nested, "recommended", "equal")  # a single member has nobody to agree with
    for number in range(20):
        write_disc_pair(tmp_path / "many", f"c{number}", number)
    files, session, data_fit = tmp_path / "many", Session(), DataFit()
    session.open(files / "images" / "c0.png", ensemble)
    assert "not been calibrated" in verdict(session.view_state)
    run(ensemble, given(files, "images"), given(files, "masks"), data_fit)
    outcome = data_fit.newest(ensemble)
    assert "the page predicts a Dice at them, learnt on these 20 images" in result_html(outcome)
    session.take_fit(outcome.settings, outcome.calibration)
    for name in ("c0", "c1"):
        session.open(files / "images" / f"{name}.png", ensemble)
        expected = judge(outcome.calibration, session.view_state.prediction)
        assert f"Predicted Dice {expected.dice:.2f}" in verdict(session.view_state)
        assert "20 uploaded images" in verdict(session.view_state)
    session.remix((1, 0), 0.5, 0.3)
    assert "not been calibrated" in verdict(session.view_state)


def test_the_image_that_gains_most_is_drawn_before_and_after(ensemble: Ensemble, pairs: Path) -> None:
    data_fit = DataFit()
    run(ensemble, given(pairs, "images"), given(pairs, "masks"), data_fit)
    outcome = data_fit.newest(ensemble)
    images = [medseg.read_image(path) for path in sorted((pairs / "images").iterdir())]
    truths = [medseg.read_masks(path, ["blob"]) for path in sorted((pairs / "masks").iterdir())]

    def scores(**settings: object) -> np.ndarray:
        masks = [ensemble.predict(image, **settings).masks for image in images]
        return np.array([dice(mask, truth)[0] for mask, truth in zip(masks, truths, strict=True)])

    before = scores()
    gain = scores(weights=outcome.choice.weights, threshold=outcome.choice.threshold) - before
    assert outcome.before == pytest.approx(before.mean(), abs=1e-6)
    if gain.max() > 0:
        assert outcome.gained is not None
        assert outcome.gained.file == f"c{np.argmax(gain)}.png"
        assert outcome.gained.after - outcome.gained.before == pytest.approx(gain.max(), abs=1e-6)
        assert "gains most" in result_html(outcome)
    else:
        assert "No image gains" in result_html(outcome)


@pytest.mark.parametrize(
    ("images", "masks", "sentence"),
    [
        ([], [], "Wanted images and their masks"),
        (["c0.png"], [], "Wanted images and their masks"),
        (["c0.png", "x.zip"], ["c0.png"], "Wanted images and their masks"),
        (["c0.png", "c1.png"], ["c0.png"], "no partner .* images/c1"),
    ],
)
def test_what_cannot_be_paired_is_refused(
    ensemble: Ensemble, pairs: Path, images: list[str], masks: list[str], sentence: str
) -> None:
    def sent(kind: str, names: list[str]) -> list[UploadedFile]:
        return [UploadedFile(pairs / kind / "c0.png", name) for name in names]

    with pytest.raises(InputError, match=sentence):
        run(ensemble, sent("images", images), sent("masks", masks))


def test_no_file_outside_the_zip_can_be_named(ensemble: Ensemble, pairs: Path) -> None:
    path = pairs.parent / "manifest.zip"
    outside = pairs / "images" / "c0.png"
    with zipfile.ZipFile(path, "w") as archive:
        sample = f'{{"image": "{outside}", "mask": "{outside}"}}'
        archive.writestr("data.json", f'{{"labels": ["blob"], "samples": [{sample}]}}')

    with pytest.raises(InputError, match="in no layout that medseg knows"):
        run(ensemble, [UploadedFile(path, "manifest.zip")], [])


def test_a_damaged_zip_is_refused_without_its_name_here(ensemble: Ensemble, pairs: Path) -> None:
    with pytest.raises(InputError, match=r"^The zip cannot be unpacked"):
        run(ensemble, [UploadedFile(pairs / "images" / "c0.png", "mine.zip")], [])


def test_more_images_than_are_allowed_are_refused(
    ensemble: Ensemble, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(medseg.app.state.fit, "MAX_IMAGES", 3)
    with pytest.raises(InputError, match="These are 6 images, and here up to 3"):
        run(ensemble, given(pairs, "images"), given(pairs, "masks"))


def test_a_fit_that_is_stopped_changes_nothing_and_leaves_nothing(
    ensemble: Ensemble, pairs: Path, folder: Path
) -> None:
    data_fit = DataFit()
    running = data_fit.run(ensemble, zipped(pairs), [])
    assert next(running) == ("models", 0, 4)
    data_fit.cancelled.set()
    with pytest.raises(InputError, match="was stopped, and nothing has changed"):
        next(running)
    with pytest.raises(InputError, match="fit it first"):
        data_fit.newest(ensemble)
    assert list(folder.glob("tmp*")) == []


def test_weights_are_not_applied_to_another_ensemble(ensemble: Ensemble, pairs: Path, plain_ensemble: Path) -> None:
    data_fit = DataFit()
    run(ensemble, zipped(pairs), [], data_fit)
    with pytest.raises(InputError, match="There are no weights for the ensemble"):
        data_fit.newest(medseg.Ensemble.from_pretrained(plain_ensemble))


@pytest.fixture
def halves() -> Fit:
    """A fit to six images where each member is right about one of two labels."""
    truths = [disc((40, 40), (20, 10 + 4 * number), 6) for number in range(6)]

    def wrong_by(first: int, second: int) -> Callable[[Image], np.ndarray]:
        return lambda image: np.stack([np.abs(image.pixels[..., 0] - wrong) for wrong in (first, second)])

    images = [Image(truth[..., np.newaxis].astype(np.float32)) for truth in truths]
    masks = [np.stack([truth, truth]) for truth in truths]
    drawn = [PaintedSample(*both, f"case{i}") for i, both in enumerate(zip(images, masks, strict=True))]
    members = [
        fake_member(name, wrong_by(*wrong), labels=("disc", "rest"), task="multilabel")
        for name, wrong in (("one", (0, 1)), ("two", (1, 0)))
    ]
    return fit_to(members, drawn)


def test_weights_for_each_label_are_recommended_and_shown(halves: Fit) -> None:
    words = recommendation(halves)
    assert words.startswith("**Recommended: weights of their own for each label**")
    assert "Weights for each label score +" in words
    assert "| 1.000 | 1.000 | disc 1 / 0; rest 0 / 1 | 0.50 |" in table(halves, ("one", "two"), ("disc", "rest"))


def test_weights_for_each_label_are_applied_and_saved(
    halves: Fit, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_ensemble(tmp_path / "two", (1, 1), labels=("disc", "rest"), task="multilabel", plain=True)
    ensemble = medseg.Ensemble.from_pretrained(folder)
    for path in (pairs / "masks").iterdir():
        PIL.Image.fromarray((np.asarray(PIL.Image.open(path)) > 0) + np.eye(48, 64, dtype=np.uint8)).save(path)
    monkeypatch.setattr("medseg.fitting.fit.fit", lambda *arguments, **settings: halves)
    data_fit = DataFit()
    run(ensemble, given(pairs, "images"), given(pairs, "masks"), data_fit)
    assert data_fit.newest(ensemble).choice.weights == ((1, 0), (0, 1))
    zipfile.ZipFile(data_fit.write()).extract("ensemble.json", tmp_path)
    saved = schema.load(EnsembleConfig, tmp_path / "ensemble.json")
    assert [member.weight for member in saved.members] == [(1, 0), (0, 1)]


class Found:
    """As much of a fit as the recommendation reads."""

    def __init__(self, over_equal: float, low: float) -> None:
        score = Score("dice", 0.8, 0.7, 0.9, 9, "val", "by hand")
        ahead = Score("dice", over_equal, low, 0.1, 9, "val", "by hand")
        self.nested = Nested(score, score, score, ahead, ahead)
        self.recommended = "fitted" if over_equal > 0 else "equal"


def test_the_recommendation_says_by_how_much_and_whether_that_may_be_chance() -> None:
    clear = recommendation(Found(0.05, 0.01))
    assert clear.startswith("**Recommended: the fitted weights**")
    assert "+0.050 [+0.010, +0.100] against equal weights" in clear
    assert "chance" not in clear
    unclear = recommendation(Found(-0.01, -0.02))
    assert unclear.startswith("**Recommended: equal weights**")
    assert unclear.endswith("may be chance.")


def test_the_command_to_train_on_names_an_embedded_model_and_no_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\nmedseg continue polyp-fpn-lite1 my-pairs.zip --output runs/continued\n" in continuing("polyp-fpn-lite1")
    assert "\nmedseg continue FOLDER-OF-THE-MODEL my-pairs.zip" in continuing("`; rm -rf /`")
    named = []
    monkeypatch.setattr("medseg.training.continuing.continue_training", lambda *arguments: named.append(arguments))
    command = continuing("polyp-fpn-lite1").split("```bash\nmedseg continue ")[1].split("\n")[0]
    continue_on(command.split())
    assert named == [("polyp-fpn-lite1", [Path("my-pairs.zip")], None, Path("runs/continued"), 1)]
