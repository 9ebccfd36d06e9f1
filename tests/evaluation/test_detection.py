"""Lesions matched one to one: by hand, against MONAI, and against a search of all assignments."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from medseg.evaluation.detection import CRITERIA, Froc, Lesions, by_size, match, rates, summarise
from medseg.image import Image


def mask(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def counts(lesions: Lesions) -> list[tuple[int, int, int]]:
    """(found, false, missed) by each criterion."""
    return [(int(f.sum()), lesions.predicted - int(f.sum()), int((~f).sum())) for f in lesions.is_found]


TRUTH = mask("##...##", "##...##", ".......", "#......")
PREDICTED = mask("#......", "#....##", "......#", "......#")


def test_each_criterion_asks_for_more() -> None:
    lesions = match(PREDICTED, TRUTH)  # IoU 2/4 and 2/6; the single pixel is missed
    assert lesions.areas.tolist() == [4, 4, 1]
    assert counts(lesions) == [(2, 0, 1), (2, 0, 1), (1, 1, 2)]


def test_corners_join_and_one_prediction_finds_one_lesion() -> None:
    joined = mask("#..", ".#.", "..#")
    assert counts(match(joined, joined))[0] == (1, 0, 0)
    over_both = mask("#####")
    assert counts(match(over_both, mask("##.##")))[0] == (1, 0, 1)


@pytest.mark.parametrize(("prediction", "truth", "expected"), [(0, 0, (0, 0, 0)), (1, 0, (0, 1, 0)), (0, 1, (0, 0, 1))])
def test_empty_masks(prediction: int, truth: int, expected: tuple[int, int, int]) -> None:
    masks = [np.full((4, 5), bool(value)) for value in (prediction, truth)]
    assert counts(match(*masks)) == [expected] * 3


def noise(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(ndimage.gaussian_filter(rng.normal(size=size), rng.uniform(0.7, 3)) > rng.uniform(0.02, 0.3))


def test_random_masks_agree_with_monai() -> None:
    torch = pytest.importorskip("torch")
    panoptic = pytest.importorskip("monai.metrics.panoptic_quality")
    rng = np.random.default_rng(0)
    eight = np.ones((3, 3))
    for _ in range(20):
        truth = noise(rng, (50, 60))
        for prediction in (truth ^ noise(rng, (50, 60)), noise(rng, (50, 60))):
            lesions = match(prediction, truth)
            maps = [torch.tensor(ndimage.label(one, eight)[0]) for one in (prediction, truth)]
            for index, least in ((0, 2e-6), (2, 0.5)):  # for 0.1 MONAI assigns before it asks for the IoU
                theirs = panoptic.compute_panoptic_quality(
                    *maps, output_confusion_matrix=True, match_iou_threshold=least - 1e-6
                )
                assert counts(lesions)[index] == tuple(int(count) for count in theirs[:3])


def best_sum(prediction: np.ndarray, truth: np.ndarray, least: float) -> float:
    """The greatest sum of IoU of any one-to-one assignment of allowed pairs, by trying them all."""
    theirs, ours = (ndimage.label(one, np.ones((3, 3))) for one in (truth, prediction))
    iou = np.zeros((max(theirs[1], ours[1]),) * 2)
    for i, j in itertools.product(range(theirs[1]), range(ours[1])):
        a, b = theirs[0] == i + 1, ours[0] == j + 1
        share = (a & b).sum() / (a | b).sum()
        iou[i, j] = share if share > 0 and share >= least - 1e-9 else 0
    orders = itertools.permutations(range(len(iou)))
    best = max(orders, key=lambda order: sum(iou[i, j] for i, j in enumerate(order)))
    return sum(iou[i, j] > 0 for i, j in enumerate(best))


def test_random_masks_agree_with_a_search_of_all_assignments() -> None:
    rng = np.random.default_rng(1)
    tried = 0
    while tried < 40:
        truth, prediction = noise(rng, (14, 14)), noise(rng, (14, 14))
        if 1 <= max(ndimage.label(one, np.ones((3, 3)))[1] for one in (truth, prediction)) <= 6:
            tried += 1
            found = match(prediction, truth).is_found.sum(axis=1).tolist()
            assert found == [best_sum(prediction, truth, least) for least in CRITERIA.values()]


def test_rates_pool_lesions_and_have_no_value_where_there_is_nothing() -> None:
    images = [match(PREDICTED, TRUTH), match(np.zeros((4, 4), bool), np.zeros((4, 4), bool))]
    found = rates(images, ["a", "b"])["any overlap"]
    assert (found["recall"].mean, found["precision"].mean, found["f1"].mean) == (2 / 3, 1, 4 / 5)
    assert found["false_per_image"].mean == 0
    nothing = rates(images[1:], ["b"])["any overlap"]
    assert np.isnan([nothing["recall"].mean, nothing["precision"].mean, nothing["f1"].mean]).all()


def test_misses_are_shown_by_size_in_square_millimetres_where_all_have_a_spacing() -> None:
    truth = np.zeros((40, 60), bool)
    for index, side in enumerate([1] * 6 + [2] * 6 + [4] * 6):
        row, column = divmod(index, 6)
        truth[row * 8 : row * 8 + side, column * 8 : column * 8 + side] = True
    prediction = truth.copy()
    prediction[:8] = False  # the six small ones
    image = Image(np.zeros((40, 60, 1), np.float32), (0.5, 0.5))
    recalls = by_size([match(prediction, truth, image)], ["a"])
    assert {name: one["recall"].mean for name, one in recalls.items()} == {
        "up to 0.25 mm²": 0.0,
        "up to 1 mm²": 1.0,
        "above 1 mm²": 1.0,
    }
    assert by_size([match(prediction[:8], truth[:8], image)], ["a"]) == {}, "six are too few"


def test_the_froc_counts_at_every_threshold() -> None:
    probabilities = np.zeros((1, 9, 9), np.float32)
    probabilities[0, 1, 1], probabilities[0, 5, 5], probabilities[0, 8, 1] = 0.95, 0.5, 0.35
    truth = np.zeros((1, 9, 9), bool)
    truth[0, 1, 1] = truth[0, 5, 5] = True
    froc = Froc(["a"])
    for one in (probabilities, np.zeros_like(probabilities)):
        froc.add("row", one, truth)
        froc.add("mask", (one > 0.4).astype(np.float32), truth)
    assert froc.curves("a")["mask"] == [], "a mask is one point"
    curve = froc.curves("a")["row"]
    assert [(at["threshold"], at["recall"], at["false_per_image"]) for at in curve[1:6:2]] == [
        (0.2, 0.5, 0.5),
        (0.4, 0.5, 0.0),
        (0.6, 0.25, 0.0),
    ]


def test_the_summary_counts_the_lesions_of_the_truth() -> None:
    found = summarise({"row": [match(PREDICTED, TRUTH)], "empty": [match(TRUTH & False, TRUTH)]}, ["a"])
    assert found["lesions"] == 3
    assert found["rows"]["empty"]["any overlap"]["recall"].mean == 0
