"""Several rows compared: intervals widened by Holm, and ranks over resamples."""

import itertools

import numpy as np
import pytest
from scipy import stats

from medseg.evaluation.ranking import compare, holm, ranks
from medseg.evaluation.rows import Evaluation
from medseg.intervals import RESAMPLES, difference_draws, difference_interval, terms_of, weights_by_case

CASES = [f"c{number}" for number in range(40)]


def scored(rows: dict[str, np.ndarray], cases: list[str] = CASES) -> Evaluation:
    scores = Evaluation(["a"])
    scores.cases = cases
    scores.scores = {row: {"a": [{"dice": float(value)} for value in dice]} for row, dice in rows.items()}
    return scores


@pytest.fixture
def rows() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 0.9, 40)
    return {"best": base + 0.1, "good": base, "near": base + rng.normal(0, 0.02, 40), "poor": base * 0.6}


def test_intervals_widen_with_the_number_of_comparisons(rows: dict[str, np.ndarray]) -> None:
    pairs = compare(scored(rows), [*rows])["labels"]["a"]["pairs"]
    assert len(pairs) == 6
    for name, pair in pairs.items():
        row, other = name.split(" − ")
        alone = difference_interval(rows[row].tolist(), rows[other].tolist(), CASES)
        assert pair["mean"] == alone.mean
        assert pair["low"] <= alone.low <= alone.high <= pair["high"]
    two = compare(scored(rows), ["best", "poor"])["labels"]["a"]["pairs"]["best − poor"]
    alone = difference_interval(rows["best"].tolist(), rows["poor"].tolist(), CASES)
    assert (two["low"], two["high"]) == (alone.low, alone.high), "one difference needs no correction"


def test_an_interval_leaves_out_zero_where_the_corrected_p_is_small(rows: dict[str, np.ndarray]) -> None:
    pairs = compare(scored(rows), [*rows])["labels"]["a"]["pairs"]
    clear = {name for name, pair in pairs.items() if pair["low"] > 0 or pair["high"] < 0}
    assert clear == {name for name, pair in pairs.items() if pair["p"] <= 0.05}
    assert "best − good" in clear
    assert "good − near" not in clear


def test_corrected_p_values_are_holms(rows: dict[str, np.ndarray]) -> None:
    draws = {
        (row, other, "a"): difference_draws(terms_of(rows[row]), terms_of(rows[other]), CASES)
        for row, other in itertools.combinations(rows, 2)
    }
    order = sorted(draws, key=lambda pair: draws[pair].p)
    found = holm(draws)
    for place, pair in enumerate(order):
        by_hand = max(min(1, draws[one].p * (len(order) - i)) for i, one in enumerate(order[: place + 1]))
        assert found[pair]["p"] == pytest.approx(by_hand)


def test_nothing_but_chance_is_seldom_called_a_difference() -> None:
    """Five rows that differ by noise alone: in at most 1 of 20 tables is any pair told apart, and some luck."""
    wrong = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noise = {f"r{i}": np.clip(0.7 + rng.normal(0, 0.1, 40), 0, 1) for i in range(5)}
        pairs = compare(scored(noise), [*noise])["labels"]["a"]["pairs"].values()
        wrong += any(pair["low"] > 0 or pair["high"] < 0 for pair in pairs)
    assert wrong <= 4


def test_ranks_say_how_far_the_order_holds(rows: dict[str, np.ndarray]) -> None:
    found = ranks(scored(rows), [*rows], "a")
    assert [found["ranks"][row]["rank"] for row in ("best", "poor")] == [1, 4]
    assert (found["ranks"]["best"]["low"], found["ranks"]["best"]["high"], found["ranks"]["best"]["first"]) == (1, 1, 1)
    assert (found["ranks"]["good"]["low"], found["ranks"]["good"]["high"]) == (2, 3)
    weights = weights_by_case(CASES)
    means = weights @ np.array([*rows.values()]).T
    whole = -np.mean([*rows.values()], axis=1)
    taus = [stats.kendalltau(whole, -one).statistic for one in means]
    assert len(means) == RESAMPLES
    assert found["tau"] == pytest.approx(np.mean(taus))


def test_few_cases_have_ranks_and_neither_intervals_nor_p() -> None:
    few = {"a": np.array([0.9, 0.8, 0.7]), "b": np.array([0.5, 0.8, 0.6]), "c": np.array([0.9, 0.8, 0.7])}
    found = compare(scored(few, ["x", "y", "z"]), [*few])["labels"]["a"]
    assert [found["ranks"][row]["rank"] for row in few] == [1.5, 3, 1.5]
    assert found["tau"] is found["ranks"]["a"]["first"] is found["pairs"]["a − b"]["p"] is None
    assert found["pairs"]["a − c"] | {"n": 0, "cases": 0, "infinite": 0} == {
        **{"mean": 0, "low": 0, "high": 0, "error": 0, "p": 1, "n": 0, "cases": 0, "infinite": 0}
    }
