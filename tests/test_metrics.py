"""Metrics on masks small enough to count by eye, against independent libraries, and as properties."""

import inspect
import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from medseg.errors import InputError
from medseg.metrics import (
    OVERLAPS,
    Confusion,
    confusion,
    hd95,
    pooled_interval,
    score,
    summarise,
    surface,
    surface_dice,
)

EMPTY = np.zeros((6, 6), dtype=bool)
FULL = np.ones((6, 6), dtype=bool)
PAIRS = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


def square(top: int, left: int, side: int = 3) -> np.ndarray:
    mask = EMPTY.copy()
    mask[top : top + side, left : left + side] = True
    return mask


# Two 3 × 3 squares, one shifted right by a column: 6 pixels shared, 3 of each alone, 36 − 12 = 24 of neither.
TRUTH, SHIFTED = square(1, 1), square(1, 2)


def test_overlap_of_two_shifted_squares() -> None:
    counts = confusion(SHIFTED, TRUTH)
    assert counts == Confusion(tp=6, fp=3, fn=3, tn=24)
    assert counts.dice == 12 / 18
    assert counts.iou == 6 / 12
    assert counts.precision == counts.recall == 6 / 9
    assert counts.specificity == 24 / 27
    assert counts.accuracy == 30 / 36


def test_precision_and_recall_are_not_mixed_up() -> None:
    counts = confusion(prediction=square(1, 1, side=2), truth=TRUTH)
    assert counts.precision == 1.0
    assert counts.recall == 4 / 9


def test_two_empty_masks_agree() -> None:
    assert score(EMPTY, EMPTY) == dict.fromkeys(OVERLAPS, 1.0) | {"hd95_px": 0.0}
    assert surface_dice(EMPTY, EMPTY, tolerance=0.0) == 1.0


@pytest.mark.parametrize(("prediction", "truth"), [(EMPTY, TRUTH), (TRUTH, EMPTY)])
def test_one_empty_mask_scores_zero_at_infinite_distance(prediction: np.ndarray, truth: np.ndarray) -> None:
    found = score(prediction, truth)
    assert [found[name] for name in ("dice", "iou", "precision", "recall")] == [0.0] * 4
    assert found["accuracy"] == 27 / 36
    assert found["hd95_px"] == math.inf
    assert surface_dice(prediction, truth, tolerance=100.0) == 0.0


def test_specificity_of_an_image_without_background() -> None:
    assert confusion(FULL, FULL).specificity == 1.0
    assert confusion(EMPTY, FULL).specificity == 0.0


def test_confusions_add_up() -> None:
    total = sum([confusion(SHIFTED, TRUTH), confusion(EMPTY, TRUTH)], start=Confusion())
    assert total == Confusion(tp=6, fp=3, fn=12, tn=51)
    assert total.dice == 12 / 27


def test_surface_of_a_square_is_its_rim_also_at_the_border() -> None:
    rim = TRUTH.copy()
    rim[2, 2] = False
    np.testing.assert_array_equal(surface(TRUTH), rim)
    assert surface(FULL).sum() == 36 - 16


def test_distance_between_two_pixels_is_in_millimetres_where_spacing_is_known() -> None:
    here, there = square(0, 0, side=1), square(3, 4, side=1)
    assert hd95(here, there) == 5.0
    assert hd95(here, there, spacing_mm=(2.0, 0.5)) == math.hypot(6, 2)
    assert "hd95_px" in score(here, there)
    assert score(here, there, spacing_mm=(1.0, 1.0))["hd95_mm"] == 5.0


def test_hd95_is_the_larger_directed_percentile() -> None:
    one, two = square(0, 0, side=1), square(0, 0, side=1) | square(0, 5, side=1)
    # one → two: [0]; two → one: [0, 5], whose 95th percentile is 4.75; all distances pooled would give 4.5.
    assert hd95(one, two) == hd95(two, one) == 4.75


def test_surface_dice_counts_distances_up_to_the_tolerance() -> None:
    # Rims of 8 pixels each. 4 of each lie on the other; the far column (3) and the pixel left in the middle lie 1 away.
    assert surface_dice(SHIFTED, TRUTH, tolerance=0.0) == 8 / 16
    assert surface_dice(SHIFTED, TRUTH, tolerance=1.0) == 1.0
    assert surface_dice(SHIFTED, TRUTH, tolerance=1.0, spacing_mm=(1.0, 2.0)) < 1.0


def test_a_distance_that_equals_the_tolerance_but_for_rounding_is_within() -> None:
    # In binary, 3 × 0.4 − 1 × 0.4 is a little more than 0.8.
    assert surface_dice(square(1, 0, side=1), square(3, 0, side=1), tolerance=0.8, spacing_mm=(0.4, 1.0)) == 1.0


def test_masks_of_different_size_are_refused() -> None:
    unchecked = inspect.unwrap(confusion)  # where tests check array annotations, those would refuse first
    with pytest.raises(InputError, match=r"predicted mask is \(6, 6\) and the true mask \(5, 6\)"):
        unchecked(EMPTY, EMPTY[1:])


@given(PAIRS)
def test_overlaps_are_bounded_and_dice_follows_iou(pair: tuple[np.ndarray, np.ndarray]) -> None:
    counts, swapped = confusion(*pair), confusion(*pair[::-1])
    assert all(0.0 <= counts.ratio(metric) <= 1.0 for metric in OVERLAPS)
    assert counts.dice == swapped.dice
    assert counts.iou == swapped.iou
    assert counts.precision == swapped.recall
    assert counts.dice == pytest.approx(2 * counts.iou / (1 + counts.iou))


@given(PAIRS, st.floats(0, 20))
def test_distances_are_symmetric_and_scale_with_spacing(pair: tuple[np.ndarray, np.ndarray], tolerance: float) -> None:
    distance = hd95(*pair)
    assert distance == hd95(*pair[::-1]) >= 0.0
    assert hd95(*pair, spacing_mm=(2.0, 2.0)) == pytest.approx(2 * distance)
    assert 0.0 <= surface_dice(*pair, tolerance) == surface_dice(*pair[::-1], tolerance) <= 1.0
    assert hd95(pair[0], pair[0]) == 0.0
    assert surface_dice(pair[0], pair[0], 0.0) == 1.0


@given(hnp.arrays(bool, (5, 7)))
def test_any_mask_against_an_empty_one_follows_the_rule(mask: np.ndarray) -> None:
    nothing = np.zeros_like(mask)
    for pair in ((mask, nothing), (nothing, mask)):
        agree = float(not mask.any())
        assert [confusion(*pair).ratio(metric) for metric in ("dice", "iou", "precision", "recall")] == [agree] * 4
        assert hd95(*pair) == (math.inf if mask.any() else 0.0)
        assert surface_dice(*pair, tolerance=100.0) == agree


@given(PAIRS, st.floats(0.1, 5), st.floats(0.1, 5), st.floats(0, 9))
def test_turning_the_image_changes_nothing(
    pair: tuple[np.ndarray, np.ndarray], row: float, column: float, tolerance: float
) -> None:
    upright, turned = list(pair), [np.rot90(mask) for mask in pair]
    assert confusion(*upright) == confusion(*turned)
    assert hd95(*upright, (row, column)) == pytest.approx(hd95(*turned, (column, row)))
    shares = [surface_dice(*upright, tolerance, (row, column)), surface_dice(*turned, tolerance, (column, row))]
    # by rounding alone a distance may lie within the tolerance once and beyond it once
    assert shares[0] <= surface_dice(*turned, 1.001 * tolerance + 1e-6, (column, row))
    assert shares[1] <= surface_dice(*upright, 1.001 * tolerance + 1e-6, (row, column))


@given(PAIRS, st.floats(0, 9), st.floats(0, 9))
def test_a_larger_tolerance_never_lowers_surface_dice(
    pair: tuple[np.ndarray, np.ndarray], one: float, other: float
) -> None:
    assert surface_dice(*pair, min(one, other)) <= surface_dice(*pair, max(one, other))


def odd_and_random_pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(5)
    rows, columns = np.ogrid[:40, :56]
    disc = (rows - 20) ** 2 + (columns - 25) ** 2 < 150
    ring = disc & ((rows - 20) ** 2 + (columns - 25) ** 2 > 60)
    line, corner = np.zeros_like(disc), np.zeros_like(disc)
    line[7] = True
    corner[-3:, -4:] = True
    noise = [rng.random(disc.shape) < share for share in (0.02, 0.5, 0.98)]
    masks = [disc, ring, line, corner, *noise, np.ones_like(disc)]
    return [(first, second) for first in masks for second in masks]


def test_overlaps_agree_with_torchmetrics() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        reference = pytest.importorskip("torchmetrics.functional.classification")
    theirs = {
        "dice": reference.binary_f1_score,
        "iou": reference.binary_jaccard_index,
        "precision": reference.binary_precision,
        "recall": reference.binary_recall,
        "specificity": reference.binary_specificity,
        "accuracy": reference.binary_accuracy,
    }
    for prediction, truth in odd_and_random_pairs():
        counts = confusion(prediction, truth)
        for metric in OVERLAPS:
            if counts.terms(metric)[1]:  # on 0 / 0 our protocol differs on purpose
                expected = theirs[metric](torch.from_numpy(prediction), torch.from_numpy(truth).int())
                assert counts.ratio(metric) == pytest.approx(float(expected), abs=1e-6), metric


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.4, 1.7)])
def test_distances_agree_with_monai(spacing: tuple[float, float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        monai = pytest.importorskip("monai.metrics")
    for prediction, truth in odd_and_random_pairs():
        pair = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, truth)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            distance = monai.compute_hausdorff_distance(
                *pair, include_background=True, percentile=95, spacing=list(spacing)
            )
            shares = [
                monai.compute_surface_dice(*pair, [tolerance], include_background=True, spacing=list(spacing))
                for tolerance in (0.1, 2.0)
            ]
        assert hd95(prediction, truth, spacing) == pytest.approx(float(distance), rel=1e-5)
        for tolerance, share in zip((0.1, 2.0), shares, strict=True):
            assert surface_dice(prediction, truth, tolerance, spacing) == pytest.approx(float(share), abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(bool, (2, 9, 11)), st.sampled_from([0.3, 1.0, 2.5]), st.sampled_from([0.7, 1.0, 4.0]))
def test_distances_of_random_masks_agree_with_monai(pair: np.ndarray, row: float, column: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        monai = pytest.importorskip("monai.metrics")
        prediction, truth = pair
        assume(prediction.any() and truth.any())  # of empty masks MONAI has a rule of its own
        theirs = [torch.from_numpy(mask.copy())[None, None].float() for mask in pair]
        spaced = {"include_background": True, "spacing": [row, column]}
        distance = monai.compute_hausdorff_distance(*theirs, percentile=95, **spaced)
        share = monai.compute_surface_dice(*theirs, [1.9], **spaced)
    assert hd95(prediction, truth, (row, column)) == pytest.approx(float(distance), rel=1e-5, abs=1e-6)
    assert surface_dice(prediction, truth, 1.9, (row, column)) == pytest.approx(float(share), abs=1e-6)


def test_distances_agree_with_measuring_every_pixel_against_every_other() -> None:
    for prediction, truth in odd_and_random_pairs():
        every = cdist(*(np.argwhere(surface(mask)) * (0.4, 1.7) for mask in (prediction, truth)))
        expected = max(np.percentile(every.min(axis=1), 95), np.percentile(every.min(axis=0), 95))
        assert hd95(prediction, truth, spacing_mm=(0.4, 1.7)) == pytest.approx(expected)


def test_pooled_dice_weighs_pixels_and_not_images() -> None:
    large, small = Confusion(tp=90, fp=10, fn=10, tn=0), Confusion(tp=0, fp=0, fn=1, tn=99)
    found = pooled_interval([large, small], ["a", "b"], "dice")
    assert found.mean == 180 / 201
    assert (found.n, found.cases) == (2, 2)


def test_pooled_ratios_follow_the_rule_for_empty_masks() -> None:
    nothing = confusion(EMPTY, EMPTY)
    assert pooled_interval([nothing, nothing], ["a", "b"], "dice").mean == 1.0
    missed = confusion(EMPTY, TRUTH)
    found = pooled_interval([missed, missed], ["a", "b"], "precision")
    assert found.mean == 0
    silent = pooled_interval([missed, nothing, nothing], ["a", "b", "c"], "precision")
    assert (silent.mean, silent.n) == (0.0, 3)  # that two images have nothing to find makes no mask of nothing precise


def test_summary_names_its_averages_and_tells_positives_apart() -> None:
    pairs = [(SHIFTED, TRUTH), (EMPTY, EMPTY), (EMPTY, TRUTH)]
    scores = [score(*pairs[0], spacing_mm=(1.0, 1.0)), score(*pairs[1]), score(*pairs[2])]
    report = summarise(scores, [confusion(*pair) for pair in pairs], ["a", "b", "c"])
    assert list(report) == ["per_image_all", "per_image_positives", "per_case_all", "pooled_all", "pooled_positives"]
    assert report["per_image_all"]["dice"].mean == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert report["per_image_positives"]["dice"].mean == pytest.approx((2 / 3 + 0) / 2)
    assert report["pooled_all"]["dice"].mean == report["pooled_positives"]["dice"].mean == 12 / 27
    assert report["pooled_all"]["accuracy"].mean == (30 + 36 + 27) / 108
    assert (report["per_image_all"]["hd95_mm"].n, report["per_image_all"]["hd95_px"].n) == (1, 1)
    assert report["per_image_all"]["hd95_px"].infinite == 1


def test_a_case_counts_once_with_the_pixels_of_all_its_images() -> None:
    pairs = [(SHIFTED, TRUTH), (EMPTY, TRUTH), (TRUTH, TRUTH)]
    report = summarise([score(*pair) for pair in pairs], [confusion(*pair) for pair in pairs], ["a", "a", "b"])
    once = report["per_case_all"]["dice"]
    assert (once.mean, once.n) == (pytest.approx((12 / 27 + 1) / 2), 2)  # 2 · 6 of 9 + 9 + 9 pixels; all
    assert report["per_image_all"]["dice"].mean == pytest.approx((2 / 3 + 0 + 1) / 3)
