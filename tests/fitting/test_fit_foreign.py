"""Models that medseg cannot run: their probabilities blended and fitted as those of members are."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medseg.__main__ import main
from medseg.data.predictions import open_predictions
from medseg.data.samples import load_data, select
from medseg.fitting.fit import fit
from medseg.fitting.foreign import observe_predictions
from medseg.metrics import confusion
from medseg.reading.readers import read_masks
from tests.conftest import fake_member, fit_to, write_disc_pair

NUMBER = 18


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve images to fit to, six to test on."""
    for number in range(NUMBER):
        write_disc_pair(tmp_path / "data", f"c{number:02d}", number)
    stems = [f"c{number:02d}" for number in range(NUMBER)]
    (tmp_path / "data" / "splits.json").write_text(json.dumps({"val": stems[:12], "test": stems[12:]}))
    return tmp_path / "data"


def shifted(truth: np.ndarray, pixels: int) -> np.ndarray:
    return np.roll(truth, pixels, axis=-1) * np.float32(0.9)


@pytest.fixture
def models(data: Path, tmp_path: Path) -> dict[str, Path]:
    """Too far to the left, too far to the right, and nothing at all."""
    for name, pixels in (("left", -6), ("right", 6), ("blind", None)):
        (tmp_path / name).mkdir()
        for sample in load_data(data).samples:
            truth = sample.read(["disc"])[1]
            values = np.zeros_like(truth, np.float32) if pixels is None else shifted(truth, pixels)
            np.savez(tmp_path / name / f"{sample.image.stem}.npz", probabilities=values)
    return {name: tmp_path / name for name in ("left", "right", "blind")}


def test_others_probabilities_are_fitted_as_those_of_members(data: Path, models: dict[str, Path]) -> None:
    samples = select(load_data(data).samples, "val")
    opened = [open_predictions(name, place, samples, ["disc"]) for name, place in models.items()]
    foreign = fit(observe_predictions(opened, samples, ["disc"], {}))
    truths = {one.read(["disc"])[0].sha256: one.read(["disc"])[1] for one in samples}
    members = [
        fake_member("left", lambda image: shifted(truths[image.sha256], -6), labels=("disc",)),
        fake_member("right", lambda image: shifted(truths[image.sha256], 6), labels=("disc",)),
        fake_member("blind", lambda image: np.zeros((1, *image.size)), labels=("disc",)),
    ]
    own = fit_to(members, samples)
    assert foreign.choice("fitted") == own.choice("fitted")
    assert foreign.nested == own.nested
    assert foreign.broken == (2,)


def test_the_command_writes_weights_masks_and_probabilities_that_evaluate_reads(
    data: Path, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (models["right"] / "c17.npz").unlink()
    named = [f"{name}={place}" for name, place in models.items()]
    options = ["--data", str(data), "--labels", "disc", "--output", str(tmp_path / "out"), "--name", "both"]
    main(["fit", "--predictions", *named, *options])
    shown = capsys.readouterr()
    assert f"{NUMBER - 1} of {NUMBER} images blended" in shown.out
    assert "right: Left out: images without a prediction (1), the first: c17.png." in shown.err
    blend = json.loads((tmp_path / "out" / "blend.json").read_text())
    assert blend["models"] == ["left", "right", "blind"]
    assert blend["weights"][2] == 0
    sample = select(load_data(data).samples, "test")[0]
    truth = sample.read(["disc"])[1]
    wanted = sum(w * shifted(truth, p) for w, p in zip(blend["weights"], (-6, 6, 0), strict=True))
    stored = np.load(tmp_path / "out" / "probabilities" / "c12.npz")["probabilities"]
    np.testing.assert_allclose(stored, wanted, atol=2e-3)
    mask = read_masks(tmp_path / "out" / "masks" / "c12.png", ["disc"])
    np.testing.assert_array_equal(mask, stored >= blend["threshold"])
    main(["evaluate", "--predictions", f"both={tmp_path / 'out' / 'masks'}", named[0], str(data), "--labels", "disc"])
    assert f"| both | {confusion(mask[0], truth[0]).dice:.1f}" in capsys.readouterr().out


def test_a_prediction_that_cannot_be_read_is_left_out_of_the_fit_and_said(
    data: Path, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (models["right"] / "c03.npz").write_bytes(b"no archive")
    np.savez(models["left"] / "c05.npz", probabilities=np.full((1, 48, 64), np.nan))
    named = [f"{name}={models[name]}" for name in ("left", "right")]
    main(["fit", "--predictions", *named, "--data", str(data), "--output", str(tmp_path / "out"), "--name", "both"])
    shown = capsys.readouterr()
    assert (
        "images of the val split with a prediction that cannot be read (2), the first: c03.png, c05.png." in shown.err
    )
    assert "Left out: right: c03.npz: This is no file of NumPy's that can be read" in shown.err
    assert f"{NUMBER - 2} of {NUMBER} images blended" in shown.out
    assert json.loads((tmp_path / "out" / "blend.json").read_text())["fitted"]["equal"]["n"] == 10
    for path in models["left"].glob("c*.npz"):
        path.write_bytes(b"")
    with pytest.raises(SystemExit, match="No image of the val split has a readable prediction of every model"):
        main(["fit", "--predictions", *named, "--data", str(data), "--output", str(tmp_path / "2"), "--name", "both"])


def test_all_images_of_a_data_set_without_splits_are_fitted_to(
    data: Path, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part of them dealt in silence would be a handful."""
    (data / "splits.json").unlink()
    named = [f"{name}={models[name]}" for name in ("left", "right")]
    main(["fit", "--predictions", *named, "--data", str(data), "--output", str(tmp_path / "out"), "--name", "both"])
    shown = capsys.readouterr()
    assert f"brings no splits: all of its {NUMBER} samples are used" in shown.err
    assert shown.out.rstrip().endswith("OTHER-DATA"), "none is left to score the blend on"
    fitted = json.loads((tmp_path / "out" / "blend.json").read_text())["fitted"]
    assert fitted["equal"]["n"] == NUMBER


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [([], "Wanted member folders, or --predictions"), (["--predictions", "a=b"], "with two models or more")],
)
def test_words_that_do_not_fit_are_refused(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=sentence):
        main(["fit", *arguments, "--data", "d", "--output", str(tmp_path / "o"), "--name", "n"])


def test_labels_that_overlap_get_a_folder_of_masks_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    entries = []
    for number in range(4):
        PIL.Image.fromarray(rng.integers(0, 255, (32, 32), np.uint8)).save(tmp_path / f"{number}.png")
        boxes = [{"label": "a", "box": [2, 2, 20, 20]}, {"label": "b", "box": [10, 10, 30, 30]}]
        split = "val" if number < 3 else "test"
        entries.append({"image": f"{number}.png", "mask": boxes, "case": f"p{number}", "split": split})
        for model in ("x", "y"):
            (tmp_path / model).mkdir(exist_ok=True)
            values = np.zeros((2, 32, 32), np.float32)
            values[0, 2:20, 2:20] = values[1, 10:30, 10:30] = 0.8
            np.savez(tmp_path / model / f"{number}.npz", probabilities=values, labels=["a", "b"])
    (tmp_path / "m.json").write_text(json.dumps({"labels": ["a", "b"], "samples": entries}))
    named = [f"{model}={tmp_path / model}" for model in ("x", "y")]
    data = str(tmp_path / "m.json")
    main(["fit", "--predictions", *named, "--data", data, "--output", str(tmp_path / "out"), "--name", "both"])
    masks = [read_masks(tmp_path / "out" / "masks" / label / "3.png", [label]).sum() for label in ("a", "b")]
    assert masks == [18 * 18, 20 * 20]
