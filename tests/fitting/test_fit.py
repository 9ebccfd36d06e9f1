"""Fitting weights and threshold where the best choice is known by hand."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from medseg import schema
from medseg.data.samples import split_hash
from medseg.data.splits import deal_folds
from medseg.errors import InputError
from medseg.fitting.fit_table import table
from medseg.fitting.observations import observe
from medseg.image import Image
from medseg.metrics import confusion
from medseg.scores import Average, Contender, FitMethod, Fitted, Nested, Score
from tests.conftest import FakeMember, PaintedSample, disc, fake_member, fit_to


def samples(count: int = 6, size: tuple[int, int] = (40, 40)) -> list[PaintedSample]:
    """Discs that wander, so that no constant mask fits; each image is its own truth."""
    found = []
    for number in range(count):
        angle = 2 * math.pi * number / count
        mask = disc(size, (20 + 10 * math.sin(angle), 20 + 10 * math.cos(angle)), 6)
        found.append(PaintedSample(Image(mask[..., np.newaxis].astype(np.float32)), mask[np.newaxis], f"case{number}"))
    return found


def truth(image: Image) -> np.ndarray:
    return image.pixels.transpose(2, 0, 1)


def perfect(name: str = "perfect") -> FakeMember:
    return fake_member(name, truth)


def noise(image: Image) -> np.ndarray:
    return np.random.default_rng(int(image.sha256[:8], 16)).random((1, *image.size))


BROKEN: dict[str, Callable[[Image], np.ndarray]] = {
    "inverted": lambda image: 1 - truth(image),
    "nothing": lambda image: np.zeros((1, *image.size)),
    "everything": lambda image: np.ones((1, *image.size)),
    "undecided": lambda image: np.full((1, *image.size), 0.5),
    "noise": noise,
    "mirrored": lambda image: truth(image)[:, ::-1, ::-1],
}


# --- the optimum by hand


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_member_gets_weight_0(broken: str) -> None:
    found = fit_to([perfect(), fake_member(broken, BROKEN[broken])], samples())
    assert found.fitted.weights == (1, 0)
    assert found.fitted.mean == 1
    assert found.broken == (1,)
    assert found.best_single == 0


def test_the_place_of_the_broken_member_does_not_matter() -> None:
    found = fit_to([fake_member("inverted", BROKEN["inverted"]), perfect("a"), perfect("b")], samples())
    assert found.fitted.weights == (0, 0.5, 0.5)
    assert found.broken == (0,)
    assert found.best_single == 1


def test_members_that_complete_each_other_share_the_weight() -> None:
    def half(rows: slice) -> Callable[[Image], np.ndarray]:
        def answer(image: Image) -> np.ndarray:
            found = np.zeros((1, *image.size))
            found[:, rows] = truth(image)[:, rows]
            return found

        return answer

    found = fit_to([fake_member("top", half(slice(0, 20))), fake_member("bottom", half(slice(20, 40)))], samples())
    assert found.fitted.weights == (0.5, 0.5)
    assert found.fitted.mean == 1  # each alone finds about half of the discs
    assert max(choice.mean for choice in found.singles) < 0.9
    assert found.broken == ()


def test_ties_go_to_equal_weights() -> None:
    found = fit_to([perfect("a"), perfect("b"), perfect("c")], samples())
    assert found.fitted.weights == (1 / 3, 1 / 3, 1 / 3)
    assert found.fitted == found.equal


def test_of_equally_good_thresholds_the_one_nearest_to_one_half_is_taken() -> None:
    assert fit_to([perfect()], samples()).fitted.threshold == 0.5


def test_the_best_threshold_is_found() -> None:
    shy = fake_member("shy", lambda image: 0.1 + 0.2 * truth(image))  # 0.1 outside, 0.3 inside
    found = fit_to([shy], samples(12))
    assert 0.1 < found.fitted.threshold <= 0.3
    assert found.fitted.mean == 1


def shy_on(shy: Sequence[PaintedSample]) -> Callable[[Image], np.ndarray]:
    """An answer of 0.1 outside and 0.9 inside, but only 0.3 inside on these samples."""
    known = {sample.drawn.sha256 for sample in shy}
    return lambda image: 0.1 + (0.2 if image.sha256 in known else 0.8) * truth(image)


@pytest.mark.parametrize("average", ["per image", "pooled"])
def test_the_threshold_leaves_one_half_only_by_more_than_chance(average: Average) -> None:
    """One case of twelve may be chance, nine are not."""
    drawn = samples(12)
    by_chance = fit_to([fake_member("shy on one", shy_on(drawn[:1]))], drawn, average=average)
    surely = fit_to([fake_member("shy on nine", shy_on(drawn[3:]))], drawn, average=average)
    for found, threshold in ((by_chance, 0.5), (surely, 0.3)):
        assert [found.singles[0].threshold, found.equal.threshold, found.fitted.threshold] == [threshold] * 3
    assert surely.fitted.mean == 1
    assert by_chance.fitted.mean == pytest.approx(11 / 12 if average == "per image" else 22 / 23, abs=0.01)
    assert by_chance.nested is not None
    assert by_chance.nested.fitted.value == pytest.approx(by_chance.fitted.mean)


def test_where_one_half_stays_the_weights_are_those_that_are_best_there() -> None:
    """Equal weights are right on all eight at 0.15, and mark nothing at 0.5; the first member alone is right on seven
    there."""
    drawn = samples(8)
    faint = fake_member("faint", lambda image: 0.08 * truth(image))
    found = fit_to([fake_member("shy on one", shy_on(drawn[:1])), faint], drawn).fitted
    assert (found.threshold, found.mean) == (0.5, 7 / 8)


def test_every_choice_knows_what_it_marks_on_each_image() -> None:
    found = fit_to([perfect("a"), fake_member("nothing", BROKEN["nothing"])], samples(4))
    pixels = [int(sample.masks.sum()) for sample in samples(4)]
    assert found.singles[0].counts[:, 0].tolist() == [[n, n, n] for n in pixels]
    assert found.singles[1].counts[:, 0].tolist() == [[0, 0, n] for n in pixels]


def on(cases: Sequence[PaintedSample]) -> Callable[[Image], np.ndarray]:
    """An answer that is perfect on these samples and empty on all others."""
    known = {sample.drawn.sha256 for sample in cases}
    return lambda image: truth(image) * (image.sha256 in known)


def test_the_best_member_depends_on_the_average() -> None:
    masks = [disc((60, 60), (30, 20 + column), radius) for column, radius in ((10, 20), (0, 4), (20, 4))]
    drawn = [
        PaintedSample(Image(mask[..., np.newaxis].astype(np.float32)), mask[np.newaxis], f"case{number}")
        for number, mask in enumerate(masks)
    ]
    members = [fake_member("large", on(drawn[:1])), fake_member("small", on(drawn[1:]))]
    assert fit_to(members, drawn, average="per image").best_single == 1  # two images of three
    assert fit_to(members, drawn, average="pooled").best_single == 0  # nine pixels of ten


def test_iou_is_what_it_says() -> None:
    found = fit_to([fake_member("everything", BROKEN["everything"])], samples(3), metric="iou")
    share = samples(1)[0].masks.mean()
    assert found.fitted.mean == pytest.approx(share, rel=0.05)
    assert found.fitted.measure.metric == "iou"


@pytest.mark.parametrize("method", ["grid", "greedy", "local"])
@pytest.mark.parametrize("average", ["per image", "pooled"])
def test_every_method_leaves_out_what_is_broken(method: FitMethod, average: Average) -> None:
    found = fit_to([fake_member("nothing", BROKEN["nothing"]), perfect()], samples(), method=method, average=average)
    assert (found.fitted.weights, found.broken, found.method) == ((0, 1), (0,), method)


# --- the nested estimate


def test_what_a_member_only_memorised_counts_for_nothing() -> None:
    drawn = samples()
    folds = deal_folds(drawn, 3)
    members = [fake_member(f"m{i}", on([s for s in drawn if s.case in fold])) for i, fold in enumerate(folds)]
    found = fit_to(members, drawn, folds=3)
    assert found.nested is not None
    assert found.singles[found.best_single].mean == pytest.approx(1 / 3)
    # best on the other two folds is a member that knows one of them, and so nothing of the third
    assert found.nested.best_single.value == 0


def test_images_of_one_case_are_never_on_both_sides() -> None:
    together = [dataclasses.replace(sample, case=f"case{number // 2}") for number, sample in enumerate(samples())]
    folds = deal_folds(together, 3)
    members = [fake_member(f"m{i}", on([s for s in together if s.case in fold])) for i, fold in enumerate(folds)]
    found = fit_to(members, together, folds=3).nested
    assert found is not None
    assert found.best_single.value == 0


def test_the_nested_estimate_has_intervals_and_says_how_it_was_made() -> None:
    found = fit_to([perfect(), fake_member("inverted", BROKEN["inverted"])], samples(12)).nested
    assert found is not None
    assert (found.fitted.value, found.fitted.high, found.fitted.n) == (1, 1, 12)
    assert found.fitted.low == pytest.approx(0.01 ** (1 / 12), abs=0.02)  # as Clopper and Pearson: 12 of 12, at 98 %
    assert found.over_equal.value == pytest.approx(1 - found.equal.value)
    assert "nested cross-validation by case, 5 folds" in found.fitted.protocol
    assert found.equal.value < 0.5
    assert "paired difference, nested" in found.over_equal.protocol


@pytest.mark.parametrize(("count", "folds"), [(3, 3), (4, 4), (9, 5)])
def test_there_are_no_more_folds_than_cases(count: int, folds: int) -> None:
    found = fit_to([perfect()], samples(count)).nested
    assert found is not None
    assert f"{folds} folds" in found.fitted.protocol


def test_two_cases_are_too_few_for_a_nested_estimate() -> None:
    assert fit_to([perfect()], samples(2)).nested is None


def test_fewer_than_three_folds_are_refused() -> None:
    with pytest.raises(InputError, match="wanted at least 3"):
        fit_to([perfect()], samples(), folds=2)


# --- the recommendation


def measured(single: float, equal: float, *, error: float | None = 0.02, drops: tuple[Contender, ...] = ()) -> Nested:
    """Fitted weights score 0.5; every difference has the same standard error."""

    def score(value: float, error: float | None = None) -> Score:
        return Score("dice", value, None, None, 6, "val", "…", error)

    differences = [score(0.5 - single, error), score(0.5 - equal, error)]
    ahead = None if error is None else score(single - equal, error)
    return Nested(score(single), score(equal), score(0.5), *differences, single_over_equal=ahead, drops=drops)


@pytest.mark.parametrize(
    ("nested", "recommended"),
    [
        (measured(0.4, 0.4), "fitted"),
        (measured(0.4, 0.53), "fitted"),  # ahead by less than two standard errors: chance
        (measured(0.4, 0.55), "equal"),
        (measured(0.55, 0.4), "best single"),
        (measured(0.56, 0.55), "equal"),  # the single member is not surely ahead of equal weights
        (measured(0.6, 0.55), "best single"),
        (measured(0.5, 0.5, error=0.0), "equal"),  # nothing differs
        (measured(0.5, 0.47), "best single"),  # likely better than equal weights, and what is fitted is no better
        (measured(0.5, 0.49), "fitted"),
        (measured(0.47, 0.4), "fitted"),  # itself likely better than the single member
        (measured(0.5, 0.4, error=0.0), "fitted"),  # the fitted weights are the single member's
        (measured(0.6, 0.55, error=None), "best single"),  # a file of before
        (measured(0.4, 0.4, drops=("fitted",)), "equal"),
        (measured(0.4, 0.6, drops=("equal",)), "fitted"),
        (measured(0.4, 0.4, drops=("fitted", "equal")), "best single"),
        (None, "equal"),
    ],
)
def test_one_rule_recommends_by_standard_errors(nested: Nested | None, recommended: str) -> None:
    found = dataclasses.replace(fit_to([perfect("a"), perfect("b")], samples(3)), nested=nested)
    assert found.recommended == recommended


def test_the_error_of_a_difference_in_an_old_file_is_that_of_its_interval() -> None:
    score = Score("dice", 0.02, -0.04, 0.08, 30, "val", "…")
    assert not score.leads(1)  # (0.08 + 0.04) / 3.92 = 0.031
    assert dataclasses.replace(score, value=0.04).leads(1)


def test_a_member_far_behind_gets_weight_0_and_is_named() -> None:
    """It marks a disc of half the area in every image: above the baseline, and far behind."""
    drawn = samples(12)
    known = {sample.drawn.sha256: sample.masks[0] for sample in drawn}

    def part(image: Image) -> np.ndarray:
        mask = known[image.sha256].astype(float)
        rows = np.flatnonzero(mask.any(axis=1))
        mask[: rows[len(rows) // 2]] = 0
        return mask[np.newaxis]

    found = fit_to([perfect("a"), fake_member("half", part), perfect("b")], drawn)
    assert (found.behind, found.broken) == ((1,), ())
    assert found.fitted.weights == (0.5, 0, 0.5)
    assert "half has fitted weight 0: alone it is far behind the best member." in table(
        found, ["a", "half", "b"], ["disc"]
    )


def test_the_fitted_weights_are_the_mean_of_the_best_over_resamples() -> None:
    """Each member is right on half of the cases: no weight vector of the grid is surely the best of all."""
    drawn = samples(12)
    members = [fake_member("even", on(drawn[::2])), fake_member("odd", on(drawn[1::2]))]
    found = fit_to(members, drawn).fitted
    assert sum(found.weights) == pytest.approx(1)
    assert found.weights == pytest.approx((0.5, 0.5), abs=0.05)


def test_without_a_nested_estimate_a_better_single_member_is_recommended() -> None:
    found = fit_to([fake_member("inverted", BROKEN["inverted"]), perfect()], samples(2))
    assert (found.nested, found.recommended) == (None, "best single")


def test_each_contender_is_a_choice() -> None:
    found = fit_to([perfect("a"), fake_member("nothing", BROKEN["nothing"])], samples())
    assert found.choice("best single") == found.singles[0]
    assert found.choice("equal").weights == (0.5, 0.5)
    assert found.choice("fitted") == found.fitted


# --- as lines


def test_the_table_shows_every_choice_and_the_nested_estimate() -> None:
    lines = table(
        fit_to([perfect("a"), fake_member("nothing", BROKEN["nothing"])], samples()), ["a", "nothing"], ["blob"]
    )
    names = [line[:30].strip() for line in lines.splitlines() if line.startswith("  ")]
    assert names == [
        "a", "nothing", "equal", "fitted",
        "best single", "equal", "fitted", "fitted − best single", "fitted − equal",
        "best single − equal",
    ]  # fmt: skip
    assert "nothing has fitted weight 0: alone it is no better than the baseline" in lines
    assert "fitted − best single         +0.0000 [+0.0000, +0.0000]" in lines


def test_the_table_says_that_cases_are_too_few() -> None:
    assert table(fit_to([perfect()], samples(2)), ["a"], ["blob"]).endswith("Fewer than 3 cases: no nested estimate.")


def test_the_table_says_where_the_recommendation_can_be_chance() -> None:
    sentence = "Fewer than 30 cases: what is recommended can be chance"
    assert table(fit_to([perfect()], samples(6)), ["a"], ["blob"]).splitlines()[-1].startswith(sentence)
    assert sentence not in table(fit_to([perfect()], samples(30)), ["a"], ["blob"])


def test_where_no_member_beats_the_baseline_all_are_searched() -> None:
    names = ("nothing", "inverted")
    found = fit_to([fake_member(name, BROKEN[name]) for name in names], samples())
    assert found.broken == ()
    assert sum(found.fitted.weights) == pytest.approx(1)


def test_the_baseline_is_the_best_blind_mask() -> None:
    same = [PaintedSample(s.drawn, s.masks, f"case{i}") for i, s in enumerate(samples(1) * 3)]
    assert fit_to([perfect()], same).baseline == 1  # the same mask every time: a constant answer is perfect
    filled = [PaintedSample(s.drawn, np.ones_like(s.masks), s.case) for s in samples(1)]
    assert fit_to([perfect()], filled).baseline == 1
    disc_alone = fit_to([perfect()], samples(1))
    assert disc_alone.baseline == pytest.approx(confusion(np.ones((40, 40), bool), samples(1)[0].masks[0]).dice)


def test_progress_is_told_after_each_image() -> None:
    steps: list[tuple[int, int]] = []
    list(observe([perfect()], samples(3), progress=lambda done, total: steps.append((done, total))))
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_large_images_are_fitted_too() -> None:
    mask = disc((600, 1500), (300, 500), 200)
    large = PaintedSample(Image(mask[..., np.newaxis].astype(np.float32)), mask[np.newaxis], "large")

    def on_working_grid(image: Image) -> np.ndarray:
        return disc((410, 1024), (300 * 1024 / 1500, 500 * 1024 / 1500), 200 * 1024 / 1500)[np.newaxis]

    assert fit_to([fake_member("a", on_working_grid)], [large]).fitted.mean > 0.98


@pytest.mark.parametrize(("members", "count"), [(0, 2), (1, 0)])
def test_nothing_to_fit_is_refused(members: int, count: int) -> None:
    with pytest.raises(InputError, match=f"needs members and samples, got {members} and {count}"):
        fit_to([perfect()] * members, samples(6)[:count])


# --- the record in ensemble.json


def record(members: Sequence[FakeMember], drawn: Sequence[PaintedSample]) -> Fitted:
    return fit_to(members, drawn).record([m.config.name for m in members], drawn, "discs, val")


def test_the_record_names_the_best_single_member_and_the_split() -> None:
    drawn = samples()
    found = record([fake_member("nothing", BROKEN["nothing"]), perfect()], drawn)
    assert found.best_single_member == "perfect"
    assert (found.best_single.value, found.equal.value, found.fitted.value) == (1, 1, 1)
    assert (found.fitted.low, found.fitted.high, found.fitted.n, found.fitted.split) == (None, None, 6, "val")
    assert found.split_sha256 == split_hash(drawn)
    assert found.method.startswith("equal weights over every subset, the mean of the best over resamples")
    assert "never looks at the image" in found.method


def test_the_record_of_a_single_image_can_be_written(tmp_path: Path) -> None:
    found = record([perfect()], samples(1))
    schema.dump(found, tmp_path / "fitted.json")
    assert schema.load(Fitted, tmp_path / "fitted.json") == found
    assert found.fitted.low is None


def test_the_record_holds_measure_nested_estimate_recommended_and_chosen(tmp_path: Path) -> None:
    drawn = samples()
    found = fit_to(
        [perfect(), fake_member("inverted", BROKEN["inverted"])], drawn, metric="iou", average="pooled", method="local"
    )
    kept = found.record(["perfect", "inverted"], drawn, "discs, val")
    assert (kept.metric, kept.average, kept.fitted.metric) == ("iou", "pooled", "iou")
    assert (kept.nested, kept.recommended, kept.chosen) == (found.nested, "fitted", "fitted")
    assert kept.method.startswith("local search from")
    assert found.record(["perfect", "inverted"], drawn, "discs, val", "equal").chosen == "equal"
    schema.dump(kept, tmp_path / "fitted.json")
    assert schema.load(Fitted, tmp_path / "fitted.json") == kept
