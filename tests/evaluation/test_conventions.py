"""Other people's ways to count, on images small enough to count by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg.evaluation.conventions import CONVENTIONS, Conventions, over_thresholds, pooled_mean_iou
from medseg.metrics import Confusion, Estimate, confusion

HALF = np.array([[True, False], [True, False]])
NOTHING = np.zeros((2, 2), bool)


def counted(answers: list[np.ndarray], truths: list[np.ndarray]) -> dict[str, Estimate]:
    """Of probabilities that are masks already."""
    collected = Conventions(["blob"])
    for answer, true in zip(answers, truths, strict=True):
        collected.add("row", answer[np.newaxis].astype(np.float32), true[np.newaxis])
    confusions = [confusion(answer, true) for answer, true in zip(answers, truths, strict=True)]
    return collected.summary({"row": {"blob": confusions}}, ["a", "b", "c"][: len(truths)])["blob"]["row"]


def test_a_perfect_mask_misses_only_the_first_of_256_thresholds() -> None:
    # from 0 on every pixel counts: Dice 2 · 2 / (4 + 2), IoU 2 / 4
    dice, iou = over_thresholds(HALF.astype(np.float32), HALF)
    assert dice == pytest.approx((255 + 2 / 3) / 256)
    assert iou == pytest.approx((255 + 1 / 2) / 256)


def test_probabilities_are_stretched_for_each_image() -> None:
    faint = np.float32(0.01) + HALF.astype(np.float32) / 100  # from 0.01 to 0.02: our threshold finds nothing here
    assert over_thresholds(faint, HALF)[0] == pytest.approx((255 + 2 / 3) / 256)


def test_a_value_counts_at_the_share_of_thresholds_that_it_reaches() -> None:
    # 0, 51, 204 and 255 of 255; the true pixel is the one of 204, reached by thresholds 0 to 204
    values = np.array([[0, 51], [204, 255]], np.float32) / 255
    true = np.array([[False, False], [True, False]])
    by_hand = 1 * (2 / 5) + 51 * (2 / 4) + 153 * (2 / 3)  # 4, 3 and 2 pixels count
    assert over_thresholds(values, true)[0] == pytest.approx(by_hand / 256)


@pytest.mark.parametrize("answer", [NOTHING, HALF])
def test_an_image_without_finding_scores_zero_over_thresholds(answer: np.ndarray) -> None:
    assert over_thresholds(answer.astype(np.float32), NOTHING) == (0, 0)


@given(hnp.arrays(np.float32, (5, 7), elements=st.floats(0, 1, width=32)), hnp.arrays(bool, (5, 7)))
def test_the_mean_over_thresholds_is_that_of_256_masks(values: np.ndarray, true: np.ndarray) -> None:
    low, high = float(values.min()), float(values.max())
    levels = np.rint(255 * (values - low) / (high - low + 1e-8))
    pairs = [confusion(levels >= threshold, true) for threshold in range(256)]
    expected = [np.mean([getattr(c, name) if c.tp else 0 for c in pairs]) for name in ("dice", "iou")]
    assert over_thresholds(values, true) == pytest.approx(tuple(expected))


def test_background_counts_as_a_class_in_keras_mean_iou() -> None:
    # nothing found of 2 pixels in 4 and of none in 4: foreground 0, background 6 / 8
    found = counted([NOTHING, NOTHING], [HALF, NOTHING])
    assert found["mean IoU with background"].mean == pytest.approx((0 + 6 / 8) / 2)


def test_mean_iou_over_cases_agrees_with_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("torchmetrics.functional.classification")
    rng = np.random.default_rng(3)
    answer, true = rng.random((2, 4, 9, 8)) < 0.4
    theirs = reference.multiclass_jaccard_index(
        torch.from_numpy(answer).int(), torch.from_numpy(true).int(), num_classes=2
    )
    counts = [confusion(*pair) for pair in zip(answer, true, strict=True)]
    ours = pooled_mean_iou(counts, list("abcd"))
    assert ours.mean == pytest.approx(float(theirs), abs=1e-6)
    many = pooled_mean_iou(counts * 5, [str(case) for case in range(20)])
    assert many.low < many.mean < many.high


def test_kaggles_rule_praises_silence_where_there_is_nothing() -> None:
    found = counted([NOTHING, NOTHING, HALF], [HALF, NOTHING, NOTHING])
    assert found["Dice by Kaggle's rule"].mean == pytest.approx(1 / 3)


def test_dice_over_positives_leaves_the_others_out() -> None:
    found = counted([HALF, HALF, NOTHING], [HALF, NOTHING, HALF])
    assert (found["Dice over positives"].mean, found["Dice over positives"].n) == (1 / 2, 2)


def test_every_figure_is_explained() -> None:
    assert list(counted([HALF], [HALF])) == list(CONVENTIONS)


def test_a_class_that_is_nowhere_counts_as_found() -> None:
    assert pooled_mean_iou([Confusion(tn=4)], ["a"]).mean == 1
