"""calibration.json from answers to its check on other samples, for members whose errors are known."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg import schema
from medseg.__main__ import main
from medseg.calibration.calibrate import Calibration, calibrate, describe, holds_for, judge, load_calibration
from medseg.calibration.check import check, report
from medseg.config import Cleanup, Task
from medseg.data.manifest import Sample, write_manifest
from medseg.data.samples import load_data, split_hash
from medseg.errors import ConfigError, InputError, MedsegWarning
from medseg.fitting.crossfit import with_own_weights
from medseg.fitting.observations import observe
from medseg.hub.folders import CALIBRATION
from medseg.image import Image
from medseg.inference.blend import normalise_weights
from medseg.inference.ensemble import Ensemble
from tests.conftest import ROOT, FakeMember, PaintedSample, disc, fake_member, fit_to, with_stacker
from tests.fitting.test_crossfit import ensemble_of

SIZE = (40, 40)


def samples(count: int, seed: int = 0) -> list[PaintedSample]:
    """Discs in images whose second channel says how hard they are, from 0 to 1."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        mask = disc(SIZE, (rng.uniform(14, 26), rng.uniform(14, 26)), 7)
        pixels = np.stack([mask, np.full(SIZE, rng.beta(1, 3))], axis=-1).astype(np.float32)
        found.append(PaintedSample(Image(pixels), mask[np.newaxis], f"{seed}-case{number}"))
    return found


def painted_at(hardness: float) -> PaintedSample:
    mask = disc(SIZE, (20, 20), 7)
    pixels = np.stack([mask, np.full(SIZE, hardness)], axis=-1).astype(np.float32)
    return PaintedSample(Image(pixels), mask[np.newaxis], "one")


def erring(name: str, step: tuple[int, int]) -> FakeMember:
    """A member that is surer than it should be, and off by up to ten pixels towards `step` in a hard image."""

    def answer(image: Image) -> np.ndarray:
        off = round(10 * float(image.pixels[0, 0, 1]))
        moved = np.roll(image.pixels[..., 0], (off * step[0], off * step[1]), (0, 1))
        return (0.001 + 0.998 * moved)[np.newaxis]

    return fake_member(name, answer)


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    """Members that err towards one corner, so that their mean is too sure as well."""
    return ensemble_of(erring("down", (1, 0)), erring("right", (0, 1)), erring("both", (1, 1)))


@pytest.fixture(scope="module")
def found(ensemble: Ensemble) -> Calibration:
    return calibrate(ensemble, observe(ensemble.members, samples(40)), "discs")


@pytest.fixture(scope="module")
def figures(ensemble: Ensemble, found: Calibration) -> dict[str, float]:
    return {figure.name: figure.value for figure in check(found, ensemble, samples(60, seed=1))}


def test_the_record_says_what_it_was_learnt_on(ensemble: Ensemble, found: Calibration) -> None:
    assert (found.data, found.n, found.cases, found.threshold) == ("discs", 40, 40, 0.5)
    assert found.split_sha256 == split_hash(samples(40))
    assert found.members == tuple(member.sha256 for member in ensemble.members)
    assert found.weights == normalise_weights([1, 1, 1], 3)


def test_weights_chosen_on_these_samples_are_chosen_anew_for_each_fold(ensemble: Ensemble) -> None:
    few = samples(20)
    record = fit_to(ensemble.members, few).record(ensemble.names, few, "discs")
    chosen_here = Ensemble(dataclasses.replace(ensemble.config, fitted=record), ensemble.members)
    chosen_elsewhere = dataclasses.replace(record, split_sha256="0" * 64)
    other = Ensemble(dataclasses.replace(ensemble.config, fitted=chosen_elsewhere), ensemble.members)
    assert calibrate(chosen_here, observe(chosen_here.members, few), "discs").refitted
    assert not calibrate(other, observe(other.members, few), "discs").refitted


def test_trust_may_be_learnt_on_more_cases_that_no_member_saw(ensemble: Ensemble, found: Calibration) -> None:
    """Ten validation cases are too few for an interval; temperature and bounds stay theirs."""
    few, tested = samples(10), samples(15, seed=3)
    with pytest.warns(MedsegWarning, match="without (trust|that rate)"):
        alone = calibrate(ensemble, observe(ensemble.members, few), "discs")
    assert (alone.trust, alone.trust_scores) == (None, ())
    more = observe(ensemble.members, tested)
    with pytest.warns(MedsegWarning, match="without that rate"):
        both = calibrate(ensemble, observe(ensemble.members, few), "discs", more=more, more_data="discs, val and test")
    assert both.trust is not None
    assert (both.trust.cases, both.n, both.temperature, both.bounds) == (25, 10, alone.temperature, alone.bounds)
    assert both.trust_data == "discs, val and test"
    error, correlation = both.trust_scores
    assert error.n == 25
    assert error.low is not None
    assert 0 < error.low < error.value < 0.2
    assert correlation.value > 0.8
    assert "learnt on discs, val and test; on cases of other folds:" in describe(both, ["blob"])
    assert found.trust_data == ""
    assert found.trust_scores[0].n == 40


def test_a_single_member_is_trusted_where_its_doubt_goes_with_its_errors(ensemble: Ensemble) -> None:
    def doubting(image: Image) -> np.ndarray:
        hard = float(image.pixels[0, 0, 1])
        moved = np.roll(image.pixels[..., 0], round(10 * hard), 0)
        return (0.001 + (0.998 - 0.45 * hard) * moved)[np.newaxis]

    alone = ensemble_of(fake_member("doubting", doubting))
    honest = calibrate(alone, observe(alone.members, samples(40)), "discs")
    assert honest.trust is not None
    assert honest.trust_scores[1].value > 0.8
    hard, easy = (judge(honest, alone.predict(painted_at(hardness).read(["disc"])[0])).dice for hardness in (0.9, 0.1))
    assert hard < 0.7 < easy
    sure = ensemble_of(erring("down", (1, 0)))
    with pytest.warns(MedsegWarning, match="does not go with its Dice on held-out cases. The calibration goes without"):
        assert calibrate(sure, observe(sure.members, samples(40)), "discs").trust is None


def test_members_that_are_too_sure_are_cooled(found: Calibration) -> None:
    assert found.temperature > 1.2
    assert found.after.ece < found.before.ece
    assert found.after.brier < found.before.brier
    assert found.before.band_ece is not None
    assert found.after.band_ece is not None
    assert found.after.band_ece < found.before.band_ece


def test_trust_finds_the_masks_that_failed(figures: dict[str, float]) -> None:
    assert figures["rank correlation of predicted and true Dice"] > 0.8
    (area,) = (value for name, value in figures.items() if name.startswith("AUROC"))
    assert area > 0.9
    assert figures["to look at yourself, of Dice < 0.7"] > 0.9
    assert figures["90 % interval: coverage"] > 0.8


def test_conformal_masks_keep_near_their_promise_on_new_samples(found: Calibration, figures: dict[str, float]) -> None:
    assert [bounds.alpha for bounds in found.bounds] == [0.05, 0.1, 0.2]
    for alpha in (
        "0.05",
        "0.1",
        "0.2",
    ):  # exactly on average over many draws: test_conformal.py
        assert figures[f"alpha {alpha}: missed by the outer mask"] < 2 * float(alpha)
        assert figures[f"alpha {alpha}: area of outer / mask"] >= 1
        assert figures[f"alpha {alpha}: area of inner / mask"] <= 1


def test_the_figures_are_a_table_with_intervals(ensemble: Ensemble, found: Calibration) -> None:
    lines = report(check(found, ensemble, samples(8, seed=2))).splitlines()
    assert lines[0] == "| | value [95 % by case] |"
    assert all(line.count("|") == 3 for line in lines)
    assert any(line.startswith("| ECE after, band | 0.") for line in lines)


def test_a_file_is_read_as_it_was_written(ensemble: Ensemble, found: Calibration, tmp_path: Path) -> None:
    schema.dump(found, tmp_path / CALIBRATION)
    assert load_calibration(tmp_path, ensemble) == found


@pytest.mark.parametrize("change", [{"members": ("0" * 64,) * 3}, {"weights": (0.2, 0.2, 0.6)}, {"threshold": 0.4}])
def test_a_calibration_of_another_ensemble_is_refused(
    ensemble: Ensemble, found: Calibration, tmp_path: Path, change: dict[str, tuple[float, ...]]
) -> None:
    schema.dump(dataclasses.replace(found, **change), tmp_path / CALIBRATION)
    with pytest.raises(InputError, match="of other members, weights, threshold or blend"):
        load_calibration(tmp_path, ensemble)


def test_a_prediction_is_judged_by_how_far_its_members_agree(ensemble: Ensemble, found: Calibration) -> None:
    easy, hard = (painted_at(value).drawn for value in (0.0, 0.9))
    assert judge(found, ensemble.predict(easy)).dice > 0.9
    assert not judge(found, ensemble.predict(easy)).look_yourself
    assert judge(found, ensemble.predict(hard)).look_yourself


@pytest.mark.parametrize("change", [{"weights": [1, 2, 3]}, {"threshold": 0.6}, {"tta": True}])
def test_a_prediction_with_other_settings_is_not_judged(
    ensemble: Ensemble, found: Calibration, change: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="go back to them"):
        judge(found, ensemble.predict(painted_at(0.5).drawn, **change))


def test_a_prediction_with_another_clean_up_is_not_judged(ensemble: Ensemble, found: Calibration) -> None:
    prediction = ensemble.predict(painted_at(0.5).drawn)
    assert holds_for(found, prediction)
    cleaned = dataclasses.replace(prediction, cleanup=Cleanup(min_area_px=9))
    assert not holds_for(found, cleaned)
    with pytest.raises(InputError, match="clean-up that were calibrated"):
        judge(found, cleaned)


def test_without_trust_nothing_is_judged(ensemble: Ensemble, found: Calibration) -> None:
    with pytest.raises(InputError, match="has no trust"):
        judge(dataclasses.replace(found, trust=None), ensemble.predict(painted_at(0.5).drawn))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"temperature": 0}, "temperature: wanted more than 0"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"weights": [1]}, "one for each member"),
        ({"format_version": 9}, "format_version 9"),
    ],
)
def test_a_file_that_breaks_the_schema_is_refused(
    ensemble: Ensemble, found: Calibration, tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    schema.dump(found, tmp_path / CALIBRATION)
    content = json.loads((tmp_path / CALIBRATION).read_text(encoding="utf-8")) | change
    (tmp_path / CALIBRATION).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError, match=sentence):
        load_calibration(tmp_path, ensemble)


def test_what_the_cases_are_too_few_for_is_left_out_and_said(ensemble: Ensemble) -> None:
    seen = observe(ensemble.members, samples(10))
    with pytest.warns(MedsegWarning) as told:
        few = calibrate(ensemble, seen, "few")
    assert few.trust is None
    assert [bounds.alpha for bounds in few.bounds] == [0.1, 0.2]
    sentences = [str(warning.message) for warning in told]
    assert any("at least 19 held-out cases, got 10. The calibration goes without trust" in text for text in sentences)
    assert any("0.05 needs at least 19 held-out cases, got 10" in text for text in sentences)
    assert "trust" not in describe(few, ("blob",))


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_several_labels_have_bounds_of_their_own(task: Task) -> None:
    def left_and_right(image: Image) -> np.ndarray:
        whole = 0.05 + 0.9 * image.pixels[..., 0]
        halves = np.stack([whole, whole])
        halves[0, :, 20:] = halves[1, :, :20] = 0.01
        return halves

    drawn = [PaintedSample(s.drawn, left_and_right(s.drawn) > 0.5, s.case) for s in samples(20)]
    members = [fake_member(name, left_and_right, labels=("left", "right"), task=task) for name in "ab"]
    both = ensemble_of(*members)
    known = calibrate(both, observe(both.members, drawn), "halves")
    assert [len(bounds.outer) for bounds in known.bounds] == [2, 2, 2]
    assert "alpha 0.05, right: outer mask from 0.9" in describe(known, ("left", "right"))
    assert judge(known, both.predict(drawn[0].drawn)).dice > 0.95


def test_weights_for_each_label_are_calibrated_as_they_are_used(tmp_path: Path) -> None:
    def shown(*wrong: int) -> Callable[[Image], np.ndarray]:
        return lambda image: np.stack([0.05 + 0.9 * np.abs(image.pixels[..., 0] - each) for each in wrong])

    drawn = [dataclasses.replace(sample, masks=np.concatenate([sample.masks] * 2)) for sample in samples(20)]
    labels = ("a", "b")
    members = [fake_member(f"m{i}", shown(i, 1 - i), labels=labels, task="multilabel") for i in (0, 1)]
    plain = ensemble_of(*members)
    record = fit_to(plain.members, drawn).record(plain.names, drawn, "discs")
    weighed = zip(plain.config.members, ((1.0, 0.0), (0.0, 1.0)), strict=True)
    references = tuple(dataclasses.replace(reference, weight=weight) for reference, weight in weighed)
    own = Ensemble(dataclasses.replace(plain.config, members=references, fitted=record), plain.members)
    observations = list(observe(own.members, drawn))
    assert [image.dice for image in with_own_weights(own, observations)] == [1] * 20
    known = calibrate(own, observations, "discs")
    assert (record.chosen, known.refitted, known.weights) == ("per label", True, ((1, 0), (0, 1)))
    schema.dump(known, tmp_path / CALIBRATION)
    assert load_calibration(tmp_path, own) == known
    assert judge(known, own.predict(drawn[0].drawn)).dice > 0.95
    with pytest.raises(InputError, match="is of other members, weights"):
        load_calibration(tmp_path, plain)


# --- the command line


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory, disc_pairs: Path) -> Path:
    """Twenty validation and four test samples."""
    drawn = load_data(disc_pairs).samples
    dealt = [Sample(s.image, s.mask, s.case, "val" if i < 20 else "test") for i, s in enumerate(drawn)]
    path = tmp_path_factory.mktemp("manifest") / "discs.json"
    write_manifest(dealt, (), path)
    return path


def test_the_command_writes_what_test_then_checks(
    capsys: pytest.CaptureFixture[str], plain_ensemble: Path, manifest: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(plain_ensemble, tmp_path / "ensemble")
    main(["calibrate", str(folder), str(manifest)])
    printed = capsys.readouterr().out
    assert "n = 20 images of 20 cases" in printed
    assert "| before |" in printed
    assert load_calibration(folder, Ensemble.from_pretrained(folder)).n == 20
    main(["calibrate", str(folder), str(manifest), "--test"])
    printed = capsys.readouterr().out
    assert "n = 4 images of 4 cases" in printed
    assert "| rank correlation of predicted and true Dice |" in printed
    assert "| alpha 0.1: missed by the outer mask |" in printed


def test_a_check_before_any_calibration_is_refused(plain_ensemble: Path, manifest: Path) -> None:
    with pytest.raises(SystemExit, match=r"is not calibrated: run `medseg calibrate .* DATA` first"):
        main(["calibrate", str(plain_ensemble), str(manifest), "--test"])


def test_an_ensemble_that_blends_otherwise_is_refused(plain_ensemble: Path, manifest: Path, tmp_path: Path) -> None:
    folder = with_stacker(shutil.copytree(plain_ensemble, tmp_path / "ensemble"))
    with pytest.raises(SystemExit, match="this ensemble blends by stacking"):
        main(["calibrate", str(folder), str(manifest)])


def test_a_refusal_is_one_line_on_stderr(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "medseg", "calibrate", tmp_path, tmp_path]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ensemble.json cannot be read")
