"""Trust: agreement by hand, the curve and its interval on simulated cases, ranks against scipy and torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torchmetrics.functional.classification import binary_auroc

from medseg.calibration.trust import Outcomes, TrustModel, agreement, auroc, fit_trust, spearman
from medseg.errors import ConfigError, InputError

MODEL = TrustModel(intercept=-0.5, slope=1.0, low=-1.0, high=0.5, cases=100)
SHARES = st.floats(0, 1)


def members(*rows: tuple[int, ...]) -> np.ndarray:
    """Sure members (M, 1, 1, w) for one label."""
    return np.array(rows, np.float16)[:, np.newaxis, np.newaxis]


def simulated(rng: np.random.Generator, n: int, images: int = 1) -> Outcomes:
    """Cases whose Dice scatters about their agreement, the more the lower it is."""
    x = np.repeat(rng.beta(6, 1, n), images)
    y = (x + rng.normal(0, 0.25, n * images) * (1 - x)).clip(0, 1)
    cases = tuple(str(i) for i in range(n) for _ in range(images))
    return Outcomes(x, y, np.zeros(len(x), bool), cases, tuple(int(case) % 5 for case in cases))


def test_agreement_is_the_mean_dice_of_every_two_members() -> None:
    stack = members((1, 1, 0, 0), (1, 1, 0, 0), (0, 1, 1, 0))
    assert agreement(stack, "binary") == pytest.approx((1 + 0.5 + 0.5) / 3)


def test_members_that_all_mark_nothing_agree() -> None:
    assert agreement(members((0, 0), (0, 0)), "binary") == 1


def test_agreement_is_the_mean_over_labels() -> None:
    stack = np.array([[[[1]], [[0]]], [[[1]], [[1]]]], np.float16)
    assert agreement(stack, "multilabel") == 0.5


def test_a_single_member_counts_by_how_sure_it_is_of_its_mask() -> None:
    assert agreement(np.array([[[[0.75, 0.25, 0.5]]]], np.float16), "binary") == pytest.approx(2 * 1.25 / (1.5 + 2))
    assert agreement(members((0, 0)), "binary") == 1


def test_the_predicted_dice_by_hand() -> None:
    found = TrustModel(0, 1, -0.5, 0.1, 100).judge(0.8)
    assert found.dice == pytest.approx(0.8)
    assert found.low == pytest.approx(0.8 - 0.5 * 0.22)
    assert found.high == pytest.approx(0.8 + 0.1 * 0.22)


@pytest.mark.parametrize(("agreed", "look"), [(0.99, False), (0.5, True), (0.0, True)])
def test_masks_that_may_have_failed_are_to_be_looked_at(agreed: float, look: bool) -> None:
    assert MODEL.judge(agreed).look_yourself is look


@given(SHARES, SHARES)
def test_more_agreement_never_means_less_trust(one: float, other: float) -> None:
    less, more = (MODEL.judge(agreed) for agreed in sorted((one, other)))
    assert less.dice <= more.dice
    assert less.low <= more.low


@given(SHARES)
def test_the_interval_holds_the_predicted_dice_within_0_and_1(agreed: float) -> None:
    found = MODEL.judge(agreed)
    assert 0 <= found.low <= found.dice <= found.high <= 1


def test_empty_answers_are_to_be_looked_at_unless_they_were_right_before() -> None:
    assert MODEL.judge(1.0, empty=True).look_yourself
    seen = TrustModel(-0.5, 1.0, -1.0, 0.5, 100, empties=39, empty_hits=39).judge(1.0, empty=True)
    assert not seen.look_yourself
    assert seen.dice == pytest.approx(39 / 40)
    assert TrustModel(-0.5, 1.0, -1.0, 0.5, 100, empties=39, empty_hits=37).judge(1.0, empty=True).look_yourself


def test_the_curve_that_made_the_data_is_found() -> None:
    x = np.linspace(0.05, 0.95, 60)
    odds = np.exp(-0.3) * (x / (1 - x)) ** 1.5
    cases = tuple(str(i) for i in range(60))
    folds = tuple(i % 5 for i in range(60))
    found = fit_trust(Outcomes(x, odds / (1 + odds), np.zeros(60, bool), cases, folds))
    assert found.intercept == pytest.approx(-0.3, abs=0.01)
    assert found.slope == pytest.approx(1.5, abs=0.01)
    assert found.low == pytest.approx(0, abs=0.01)
    assert found.high == pytest.approx(0, abs=0.01)


def test_agreement_that_misleads_gets_no_say() -> None:
    x = np.linspace(0.1, 0.9, 40)
    outcomes = Outcomes(x, 1 - x, np.zeros(40, bool), tuple(map(str, range(40))), tuple(i % 5 for i in range(40)))
    assert fit_trust(outcomes).slope == 0


def test_the_interval_covers_nine_of_ten_new_cases() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(40):
        model, new = fit_trust(simulated(rng, 60)), simulated(rng, 60)
        judged = [model.judge(agreed) for agreed in new.agreement]
        shares.append(np.mean([t.low <= y <= t.high for t, y in zip(judged, new.dice, strict=True)]))
    assert 0.88 <= np.mean(shares) <= 0.97


def test_the_errors_of_a_fold_are_those_of_the_other_folds_curve() -> None:
    folds = tuple(i % 5 for i in range(40))
    dice = np.where(np.array(folds) == 0, 0.1, 0.9)
    found = fit_trust(Outcomes(np.full(40, 0.5), dice, np.zeros(40, bool), tuple(map(str, range(40))), folds))
    assert found.low == pytest.approx((0.1 - 0.9) / (1 - 0.9 + 0.02), rel=1e-3)


def test_a_case_counts_once_however_many_images_it_has() -> None:
    once = simulated(np.random.default_rng(1), 40)
    again = Outcomes(
        *(np.repeat(v, 3) for v in (once.agreement, once.dice, once.empty)),
        tuple(np.repeat(once.cases, 3)),
        tuple(np.repeat(once.folds, 3)),
    )
    one, three = fit_trust(once), fit_trust(again)
    assert three.cases == one.cases == 40
    assert (three.low, three.high) == pytest.approx((one.low, one.high), abs=1e-3)


def test_empty_answers_are_counted_and_not_fitted() -> None:
    drawn = simulated(np.random.default_rng(2), 40)
    empty = np.arange(40) < 10
    dice = np.where(empty, np.arange(40) < 8, drawn.dice)
    found = fit_trust(Outcomes(drawn.agreement, dice, empty, drawn.cases, drawn.folds))
    assert (found.cases, found.empties, found.empty_hits) == (30, 10, 8)


def test_too_few_cases_for_an_interval_are_refused() -> None:
    with pytest.raises(InputError, match="needs at least 19 held-out cases, got 18"):
        fit_trust(simulated(np.random.default_rng(0), 18))
    assert fit_trust(simulated(np.random.default_rng(0), 19)).cases == 19


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"slope": -1.0}, "slope"), ({"low": 1.0}, "low must not"), ({"empty_hits": 1}, "between 0 and empties")],
)
def test_a_model_that_makes_no_sense_is_refused(change: dict[str, float], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        TrustModel(**({"intercept": 0, "slope": 1, "low": -1, "high": 0.5, "cases": 9} | change))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=20))
def test_rank_correlation_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    a, b = zip(*pairs, strict=True)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert np.isnan(spearman(a, b))
    else:
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=3, max_size=20))
def test_auroc_is_that_of_torchmetrics(pairs: list[tuple[int, bool]]) -> None:
    scores, positive = zip(*pairs, strict=True)
    if len(set(positive)) == 1:
        assert np.isnan(auroc(scores, positive))
    else:
        expected = binary_auroc(torch.tensor(scores) / 5, torch.tensor(positive).int()).item()
        assert auroc(scores, positive) == pytest.approx(expected, abs=1e-6)
