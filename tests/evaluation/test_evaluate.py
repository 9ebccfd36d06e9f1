"""Scores, baselines and the report on images whose figures are known by hand."""

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.config import EnsembleConfig, MemberReference, StackerReference
from medseg.data.samples import split_hash
from medseg.errors import InputError
from medseg.evaluation.evaluate import evaluate
from medseg.evaluation.rows import Evaluation, LocationPrior, location_prior
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.report.evaluation_table import figures, table, write_scores
from medseg.scores import Fitted, Score
from tests.conftest import FakeMember, PaintedSample, fake_member

SCORE = Score("dice", 0.5, 0.4, 0.6, 4, "val", "by hand")


def painted(
    case: str, rows: slice, split: str = "test", spacing_mm: tuple[float, float] | None = None
) -> PaintedSample:
    """An image on the grid of the location prior that is its own truth: `rows` of its left half are marked."""
    mask = np.zeros((128, 128), bool)
    mask[rows, :64] = True
    pixels = mask[..., np.newaxis].astype(np.float32)
    pixels[0, 0] = abs(pixels[0, 0] - len(case) / 100)  # no two images alike, or the cache would answer for both
    return PaintedSample(Image(pixels, spacing_mm), mask[np.newaxis], case, split)


UPPER, LOWER, EMPTY = slice(0, 64), slice(64, 128), slice(0, 0)
SAMPLES = [painted("a", UPPER), painted("bb", UPPER), painted("ccc", LOWER), painted("dddd", EMPTY)]
TRAINING = [painted("t", UPPER, "train")] * 2 + [painted("u", LOWER, "train")]


def truth(image: Image) -> np.ndarray:
    return image.pixels.transpose(2, 0, 1) >= 0.5


def nothing(image: Image) -> np.ndarray:
    return np.zeros((1, *image.size))


def made_of(
    members: Sequence[FakeMember], weights: Sequence[float], *, top: FakeMember | None = None, **fields: Any
) -> Ensemble:
    references = tuple(MemberReference(m.config.name, m.sha256, w) for m, w in zip(members, weights, strict=True))
    first = members[0].config
    settings = EnsembleConfig("by-hand", first.task, first.labels, references, **fields)
    return Ensemble(settings, members, stacker=top)


def two_members(**fields: Any) -> Ensemble:
    return made_of([fake_member("perfect", truth), fake_member("nothing", nothing)], [1, 0], **fields)


def dice(report: dict[str, Any], row: str, kind: str = "per_image_all", label: str = "blob") -> float:
    return report["rows"][row][label][kind]["dice"]["mean"]


def refuse_constant(token: str) -> None:
    raise AssertionError(f"{token} is not standard JSON")


# --- baselines


def test_an_empty_mask_is_right_only_where_there_is_nothing() -> None:
    report = evaluate(two_members(), SAMPLES, TRAINING).report
    assert dice(report, "empty mask") == 1 / 4
    assert dice(report, "empty mask", "per_image_positives") == 0
    assert dice(report, "empty mask", "pooled_all") == 0


def test_the_location_prior_is_the_mean_training_mask() -> None:
    prior = location_prior(TRAINING, ["blob"])
    assert prior.mean[0, ::64, ::64].tolist() == [pytest.approx([2 / 3, 0]), pytest.approx([1 / 3, 0])]
    # the left half: Dice 2/3 on each; the upper left quarter: 1, 1, 0 — the same mean, and the first of equals stays
    assert prior.masks((128, 128))[0, ::64, ::64].tolist() == [[True, False], [True, False]]


def test_the_location_prior_takes_the_threshold_that_is_best_on_the_training_masks() -> None:
    prior = location_prior([*TRAINING, TRAINING[0]], ["blob"])  # three quarters of the masks lie above
    assert prior.masks((128, 128))[0, ::64, ::64].tolist() == [[True, False], [False, False]]


def test_the_location_prior_answers_on_any_grid() -> None:
    masks = LocationPrior(np.full((2, 128, 128), 0.75, np.float32), 0.5).masks((20, 50))
    assert masks.shape == (2, 20, 50)
    assert masks.all()


def test_the_baseline_row_never_looks_at_the_image() -> None:
    report = evaluate(two_members(), SAMPLES, TRAINING).report
    assert dice(report, "location prior") == pytest.approx((2 / 3 * 3 + 0) / 4)


# --- rows


def test_every_row_stands_in_the_report() -> None:
    rows = evaluate(two_members(), SAMPLES, TRAINING).report["rows"]
    blends = ["equal weights", "geometric", "median", "majority vote", "STAPLE"]
    assert list(rows) == ["empty mask", "location prior", "perfect", "nothing", *blends, "ensemble"]
    assert list(rows["ensemble"]) == ["blob"]
    assert set(rows["ensemble"]["blob"]) == {
        "per_image_all", "per_image_positives", "per_case_all", "pooled_all", "pooled_positives"
    }  # fmt: skip


def test_members_by_hand() -> None:
    report = evaluate(two_members(), SAMPLES, TRAINING).report
    assert [dice(report, row) for row in ("perfect", "nothing", "ensemble")] == [1, 1 / 4, 1]
    # 1/2 · 1 + 1/2 · 0 reaches the threshold 0.5
    assert dice(report, "equal weights") == 1


def test_the_ensemble_row_takes_weights_and_threshold_of_ensemble_json() -> None:
    members = [fake_member("perfect", truth), fake_member("nothing", nothing)]
    report = evaluate(made_of(members, [2, 3], threshold=0.45), SAMPLES, TRAINING).report
    assert dice(report, "ensemble") == 1 / 4  # 2/5 stays below 0.45
    assert report["weights"] == pytest.approx([0.4, 0.6])
    assert report["threshold"] == 0.45


def test_several_labels_have_a_table_each() -> None:
    labels = ("left", "right")
    masks = np.zeros((2, 32, 32), bool)
    masks[0, :, :16] = masks[1, :, 16:] = True
    drawn = [PaintedSample(Image(np.zeros((32, 32, 1), np.float32)), masks, case) for case in "ab"]
    swapped = fake_member("swapped", lambda image: np.stack([masks[0], masks[0]]), labels=labels, task="multilabel")
    report = evaluate(made_of([swapped], [1]), drawn, drawn).report
    assert [dice(report, "swapped", label=label) for label in labels] == [1, 0]
    assert "| swapped | 1.000" in table(report, "left")
    assert "| swapped (at the baseline) | 0.000" not in table(report, "left")
    assert "| swapped (under the baseline) | 0.000" in table(report, "right")  # the prior knows the right half
    assert "geometric" not in report["rows"], "all blends of one member are that member"


def test_a_stacker_has_a_row_beside_the_weights_it_replaces() -> None:
    """The stacker answers as its first channel, the perfect member; the weights alone do not reach the threshold."""
    members = [fake_member("perfect", truth), fake_member("nothing", nothing)]
    stacker = fake_member("stacker", lambda answers: answers.pixels.transpose(2, 0, 1)[:1])
    reference = StackerReference("stacker", stacker.sha256)
    stacked = made_of(members, [1, 2], top=stacker, blend="stacking", stacker=reference)
    report = evaluate(stacked, SAMPLES, TRAINING).report
    assert list(report["rows"])[-3:] == ["stacked", "chosen weights", "ensemble"]
    assert [dice(report, row) for row in ("perfect", "nothing", "chosen weights", "stacked", "ensemble")] == [
        1, 1 / 4, 1 / 4, 1, 1
    ]  # fmt: skip
    assert (report["blend"], report["stacker"]) == ("stacking", stacker.sha256)
    assert report["differences"]["ensemble − chosen weights"]["blob"]["mean"] == 3 / 4
    assert "and stacker at threshold 0.5, chosen weights and ensemble at 0.5" in report["protocol"]


def test_other_blends_are_of_equal_weights() -> None:
    """Two of three see the finding: their median and vote do too, though ensemble.json silences them."""
    members = [fake_member("seer", truth), fake_member("second", truth), fake_member("nothing", nothing)]
    report = evaluate(made_of(members, [0, 0, 1]), SAMPLES, TRAINING).report
    assert [dice(report, row) for row in ("median", "majority vote", "STAPLE", "ensemble")] == [1, 1, 1, 1 / 4]


def test_the_weighted_mean_stands_beside_another_chosen_blend() -> None:
    """Two parts of 1/2 and one of 1 have the mean 2/3 and the median 1/2: the threshold lies between."""
    members = [fake_member("half", lambda image: truth(image) / 2), fake_member("perfect", truth)]
    report = evaluate(made_of(members, [2, 1], blend="median", threshold=0.6), SAMPLES, TRAINING).report
    assert (dice(report, "chosen weights"), dice(report, "ensemble")) == (1, 1 / 4)
    assert report["differences"]["ensemble − chosen weights"]["blob"]["mean"] == -3 / 4


def test_flips_are_a_row_of_their_own_where_they_are_asked_for() -> None:
    class Turned(FakeMember):
        def probabilities(self, image: Image, *, tta: bool | str = False) -> np.ndarray:
            return np.asarray(truth(image) if tta else nothing(image), dtype=np.float16)

    plain = fake_member("turned", nothing)
    report = evaluate(made_of([Turned(plain.config, plain.sha256, nothing)], [1]), SAMPLES, TRAINING, tta=True).report
    assert (dice(report, "ensemble"), dice(report, "ensemble with flips")) == (1 / 4, 1)
    assert report["differences"]["ensemble with flips − ensemble"]["blob"]["mean"] == 3 / 4
    assert "ensemble with flips" in report["protocol"]


def test_differences_are_paired_and_against_the_best_single_member() -> None:
    fitted = Fitted("x", "0" * 64, "grid", "nothing", SCORE, SCORE, SCORE)
    differences = evaluate(two_members(fitted=fitted), SAMPLES, TRAINING).report["differences"]
    assert differences["ensemble − nothing"]["blob"]["mean"] == 3 / 4
    assert differences["ensemble − equal weights"]["blob"]["mean"] == 0
    assert differences["ensemble − equal weights"]["blob"]["n"] == 4


def test_the_oracle_is_the_member_that_is_best_here() -> None:
    fitted = Fitted("x", "0" * 64, "grid", "nothing", SCORE, SCORE, SCORE)
    members = [fake_member("perfect", truth), fake_member("nothing", nothing)]
    differences = evaluate(made_of(members, [0, 1], fitted=fitted), SAMPLES, TRAINING).report["differences"]
    assert differences["ensemble − best single here (an oracle)"]["blob"]["mean"] == -3 / 4
    assert differences["ensemble − nothing"]["blob"]["mean"] == 0


def test_members_share_what_equal_weights_gain_over_the_better_baseline() -> None:
    report = evaluate(two_members(), SAMPLES, TRAINING).report
    found = report["contributions"]["blob"]
    shares = [member["Shapley share"]["mean"] for member in found["members"].values()]
    assert sum(shares) == pytest.approx(dice(report, "equal weights") - dice(report, "location prior"))
    assert "nobody worth that of the location prior" in found["protocol"]
    assert found["members"]["perfect"]["change without it"]["mean"] is None, "it alone has weight"


def test_a_member_by_itself_has_no_share_of_anything() -> None:
    assert evaluate(made_of([fake_member("alone", truth)], [1]), SAMPLES, TRAINING).report["contributions"] == {}


def test_every_row_is_also_counted_as_others_count() -> None:
    report = evaluate(two_members(), SAMPLES, TRAINING).report
    found = report["conventions"]["blob"]
    assert list(found) == list(report["rows"])
    assert found["empty mask"]["Dice by Kaggle's rule"]["mean"] == 1 / 4
    assert found["empty mask"]["mean IoU with background"]["mean"] == pytest.approx((1 - 3 / 16) / 2)
    # three images of 1/4 marked, where the threshold 0 marks everything; and an empty one, which always scores 0
    assert found["perfect"]["PraNet's mean Dice"]["mean"] == pytest.approx((255 + 2 / 5) / 256 * 3 / 4)


def test_images_of_one_case_are_resampled_together() -> None:
    together = [dataclasses.replace(sample, case="one patient") for sample in SAMPLES]
    estimate = evaluate(two_members(), together, TRAINING).report["rows"]["nothing"]["blob"]["per_image_all"]["dice"]
    assert (estimate["n"], estimate["cases"], estimate["low"], estimate["high"]) == (4, 1, None, None)


def test_distances_are_in_millimetres_where_the_spacing_is_known() -> None:
    drawn = [painted("a", UPPER, spacing_mm=(0.5, 0.5)), painted("bb", UPPER)]
    means = evaluate(two_members(), drawn, TRAINING).report["rows"]["perfect"]["blob"]["per_image_all"]
    assert (means["hd95_mm"]["mean"], means["hd95_mm"]["n"]) == (0, 1)
    assert (means["hd95_px"]["mean"], means["hd95_px"]["n"]) == (0, 1)


def test_surface_dice_is_there_where_its_tolerance_in_millimetres_means_something() -> None:
    """Rows 0 to 63 of 64 columns are found and 0 to 66 are true. Of 252 + 258 surface pixels the true row 66 lies 3 mm
    away, and so do 58 of the found row 63, those further than 2 mm from the true sides."""
    drawn = [painted("a", UPPER), painted("bb", slice(0, 67), spacing_mm=(1.0, 1.0))]
    upper = fake_member("upper", lambda image: drawn[0].masks)
    found = evaluate(made_of([upper], [1]), drawn, TRAINING).report["rows"]["upper"]["blob"]["per_image_all"]
    assert found["surface_dice_2mm"]["n"] == 1
    assert found["surface_dice_2mm"]["mean"] == pytest.approx(1 - (64 + 58) / (252 + 258))


# --- the report as a file


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_report_is_standard_json(count: int) -> None:
    report = evaluate(two_members(), SAMPLES[:count], TRAINING).report
    again = json.loads(json.dumps(report, allow_nan=False), parse_constant=refuse_constant)
    assert again == report


def test_a_distance_that_is_infinite_on_every_image_is_null_and_counted() -> None:
    report = evaluate(two_members(), SAMPLES[:2], TRAINING).report
    distance = report["rows"]["nothing"]["blob"]["per_image_all"]["hd95_px"]
    assert (distance["mean"], distance["n"], distance["infinite"]) == (None, 0, 2)


def test_the_report_says_what_was_scored() -> None:
    ensemble = two_members()
    report = evaluate(ensemble, SAMPLES, TRAINING).report
    assert report["members"] == [member.sha256 for member in ensemble.members]
    assert (report["n"], report["split"], report["left_out"]) == (4, "test", [])
    assert report["split_sha256"] == split_hash(SAMPLES)
    assert "threshold 0.5" in report["protocol"]


def test_members_left_out_are_named_in_the_report() -> None:
    whole = two_members()
    rest = Ensemble(whole.config, whole.members, ["The member x is damaged."])
    assert evaluate(rest, SAMPLES, TRAINING).report["left_out"] == ["The member x is damaged."]


def test_the_table_has_a_dash_for_what_is_not_known() -> None:
    shown = table(evaluate(two_members(), SAMPLES[:1], TRAINING).report, "blob")
    assert "| perfect | 1.000 [–, –] |" in shown
    assert "nan" not in shown
    assert "None" not in shown


def test_distances_are_shown_as_finely_as_they_are_known() -> None:
    estimate = {"mean": 0.12345, "low": 9.87654, "high": 38.26543}
    assert figures(estimate) == ("0.123", "9.877", "38.3")
    assert figures(estimate | {"low": None}, signed=True) == ("+0.123", "–", "+38.3")
    assert figures({"mean": -0.5, "low": -12.0, "high": 0.0}, signed=True) == ("−0.500", "−12.0", "+0.000")


def test_the_table_shows_differences_with_their_sign() -> None:
    assert "| ensemble − equal weights | +0.000 [+0.000, +0.000] |" in table(
        evaluate(two_members(), SAMPLES, TRAINING).report, "blob"
    )


def test_the_csv_has_a_line_for_each_image_row_and_label(tmp_path: Path) -> None:
    drawn = [painted("a", UPPER, spacing_mm=(1.0, 1.0)), painted("bb", UPPER)]
    found = evaluate(two_members(), drawn, TRAINING)
    write_scores(found.scores, drawn, tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 2 * len(found.report["rows"])
    nothing_found = {line["image"]: line for line in lines if line["row"] == "nothing"}
    one, other = nothing_found["a.png"], nothing_found["bb.png"]
    assert (one["case"], one["split"], one["label"], one["frame"]) == ("a", "test", "blob", "0")
    assert (one["dice"], one["hd95_mm"], one["surface_dice_2mm"]) == ("0.0", "inf", "0.0")
    assert (other["hd95_mm"], other["hd95_px"]) == ("", "inf")


def test_no_name_in_the_csv_is_a_formula(tmp_path: Path) -> None:
    drawn = [painted("=1+1", UPPER)]
    write_scores(evaluate(two_members(), drawn, TRAINING).scores, drawn, tmp_path / "scores.csv")
    assert "'=1+1.png,0,'=1+1,test," in (tmp_path / "scores.csv").read_text(encoding="utf-8")


def test_rows_that_learned_nothing_are_stamped() -> None:
    shown = table(evaluate(two_members(), SAMPLES, TRAINING).report, "blob")
    assert "| nothing (under the baseline) | 0.250" in shown
    assert "| perfect | 1.000" in shown


def test_images_with_a_finding_and_cases_have_a_column_where_they_differ() -> None:
    head = table(evaluate(two_members(), SAMPLES, TRAINING).report, "blob").splitlines()[0]
    assert "| Dice, per image with a finding |" in head
    assert "per case" not in head
    drawn = [dataclasses.replace(sample, case=case) for sample, case in zip(SAMPLES[:3], "aab", strict=True)]
    lines = table(evaluate(two_members(), drawn, TRAINING).report, "blob").splitlines()
    assert "| Dice, mean per case |" in lines[0]
    assert "with a finding" not in lines[0]
    assert {line.count("|") for line in lines} == {7}


def test_progress_is_told_after_each_image() -> None:
    told: list[tuple[int, int]] = []
    evaluate(two_members(), SAMPLES[:2], TRAINING, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_scores_are_collected_per_row_and_label() -> None:
    collected = Evaluation(["a", "b"])
    image = Image(np.zeros((2, 2, 1), np.float32))
    masks = np.array([[[1, 0], [0, 0]], [[0, 0], [0, 0]]], bool)
    collected.cases.append("x")
    collected.add("row", masks, masks, image)
    assert collected.scores["row"]["a"][0]["dice"] == collected.scores["row"]["b"][0]["dice"] == 1
    assert collected.confusions["row"]["a"][0].tp == 1


# --- refusals


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(InputError, match="Wanted samples to score, got none"):
        evaluate(two_members(), [], TRAINING)


def test_without_a_training_sample_the_location_prior_is_left_out_and_said() -> None:
    report = evaluate(two_members(), SAMPLES, []).report
    assert list(report["rows"])[:2] == ["empty mask", report["member_names"][0]]
    assert report["protocol"].endswith("no training image, so no location prior")


@pytest.mark.parametrize("names", [("a", "a"), ("a", "ensemble"), ("equal weights", "a"), ("empty mask", "a")])
def test_names_that_do_not_tell_the_rows_apart_are_refused(names: tuple[str, str]) -> None:
    members = [fake_member(name, truth) for name in names]
    references = tuple(MemberReference(f"m{i}", m.sha256, 1) for i, m in enumerate(members))
    with pytest.raises(InputError, match="Members need names of their own"):
        evaluate(Ensemble(EnsembleConfig("x", "binary", ("blob",), references), members), SAMPLES, TRAINING)
