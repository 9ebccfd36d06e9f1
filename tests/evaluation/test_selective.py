"""Risk and coverage by hand, and groups with their gap."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.config import EnsembleConfig, MemberReference
from medseg.data.manifest import Sample
from medseg.errors import InputError
from medseg.evaluation.evaluate import evaluate
from medseg.evaluation.rows import Evaluation
from medseg.evaluation.selective import risks, summarise
from medseg.evaluation.subgroups import place_of, read_groups, summarise_groups
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.metrics import Confusion
from medseg.report.evaluation_page import page
from medseg.report.evaluation_table import group_tables, selective_table
from tests.conftest import PaintedSample, fake_member


def test_the_risk_is_the_mean_over_the_images_kept() -> None:
    dice = np.array([0.5, 1.0, 0.8])
    np.testing.assert_allclose(risks(dice, np.array([0.1, 0.9, 0.5])), [0, 0.1, 0.7 / 3])
    np.testing.assert_allclose(risks(dice, np.array([0.9, 0.1, 0.5])), [0.5, 0.35, 0.7 / 3])


def test_equally_trusted_images_come_in_any_order() -> None:
    dice = np.array([0.0, 1.0, 0.5, 0.5])
    orders = [risks(dice, trust) for trust in (np.array([2, 1, 0, 0]), np.array([1, 2, 0, 0]))]
    np.testing.assert_allclose(risks(dice, np.array([1, 1, 0, 0])), np.mean(orders, axis=0))


def test_areas_lie_between_an_oracle_and_chance_and_what_is_left_rises() -> None:
    rng = np.random.default_rng(0)
    dice = rng.uniform(0.3, 1, 60)
    found = summarise(dice.tolist(), (dice + rng.normal(0, 0.1, 60)).tolist(), [f"c{i}" for i in range(60)], "by hand")
    assert found["oracle"]["mean"] < found["aurc"]["mean"] < found["random"]["mean"]
    assert found["random"]["mean"] == pytest.approx(1 - dice.mean())
    assert found["aurc"]["low"] < found["aurc"]["mean"] < found["aurc"]["high"]
    left = [estimate["mean"] for estimate in found["left"].values()]
    assert left[0] == pytest.approx(dice.mean())
    assert left == sorted(left)
    assert found["left"]["20%"]["n"] == 48
    best = np.sort(dice)[::-1]
    assert found["oracle"]["mean"] == pytest.approx(np.mean([1 - best[:k].mean() for k in range(1, 61)]))
    assert found["curve"][-1] == (1.0, pytest.approx(1 - dice.mean(), abs=1e-5))


def test_an_evaluation_says_which_masks_to_look_at() -> None:
    """The two members agree where they are right: what is left is better."""
    samples = []
    for number in range(12):
        truth = np.zeros((1, 64, 64), bool)
        truth[0, 10:30, 10 : 30 + number] = True
        pixels = np.full((64, 64, 1), number / 20, np.float32)
        samples.append(PaintedSample(Image(pixels), truth, f"p{number}", "test"))

    def marks(extra: float) -> object:
        def answer(image: Image) -> np.ndarray:
            number = round(float(image.pixels[0, 0, 0]) * 20)
            values = np.zeros((1, 64, 64))
            values[0, 10:30, 10 : 30 + number + round(extra * number)] = 0.9
            return values

        return answer

    members = [fake_member("a", marks(0)), fake_member("b", marks(2))]
    references = tuple(
        MemberReference(one.config.name, one.sha256, weight) for one, weight in zip(members, (0.4, 0.6), strict=True)
    )
    ensemble = Ensemble(EnsembleConfig("e", "binary", ("blob",), references), members)
    result = evaluate(ensemble, samples, [])
    selective = result.report["selective"]
    assert selective["score"] == "the agreement of the members (mean Dice of every two)"
    assert selective["aurc"]["mean"] == pytest.approx(selective["oracle"]["mean"])
    heading, lines = selective_table(result.report)
    assert "Which masks to look at" in heading
    assert "| 50% |" in lines
    assert "an oracle (dotted)" in page(result.report, [], {})


# --- groups


def scored(dice: list[float], cases: list[str]) -> Evaluation:
    scores = Evaluation(["a"])
    scores.cases = cases
    scores.scores = {"model": {"a": [{"dice": value} for value in dice]}}
    scores.confusions = {"model": {"a": [Confusion(1, 0, 0, 1)] * len(dice)}}
    return scores


def samples_of(number: int) -> list[Sample]:
    return [Sample(Path(f"images/i{i}.png"), (), f"p{i // 2}", "test") for i in range(number)]


def test_groups_come_from_a_table_by_image_or_by_case(tmp_path: Path) -> None:
    (tmp_path / "by_image.csv").write_text("file;site\nfolder/I0.PNG;north\ni1;south\n")
    assert read_groups(samples_of(3), "site", tmp_path / "by_image.csv") == ["north", "south", None]
    (tmp_path / "by_case.csv").write_text("patient,sex\np0,f\np1,m\n")
    assert read_groups(samples_of(4), "sex", tmp_path / "by_case.csv") == ["f", "f", "m", "m"]
    (tmp_path / "m.json").write_text('{"samples": [{"image": "i0.png", "mask": "", "scanner": "A"}]}')
    assert read_groups(samples_of(2), "scanner", tmp_path / "m.json") == ["A", None]
    assert place_of(tmp_path, "sex") == tmp_path / "by_case.csv"


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("age,name,sex\n1,i0,f\n0,i1,m\n2,i2,m\n", ["f", "m", "m"]),  # an age is no image's number
        ("image,sex\ni0,f\ni1,NaN\ni2\n", ["f", None, None]),  # unknown, and a row that is too short
        ("image,sex\ni0,f\ni0,m\ni2,m\n", [None, None, "m"]),  # two rows that say otherwise
        ("image\tsex\ni0\tf\ni1\tm\n", ["f", "m", None]),
    ],
)
def test_odd_tables_give_the_right_group_or_none(text: str, groups: list[str | None], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    samples = [replace(sample, case=str(index)) for index, sample in enumerate(samples_of(3))]
    assert read_groups(samples, "sex", tmp_path / "t.csv") == groups


def test_a_table_of_excel_with_decimal_commas_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Image;Grösse\n" + "".join(f"i{i};{i},5\n" for i in range(9)), "utf-16")
    groups = read_groups(samples_of(9), "Grösse", tmp_path / "t.csv")
    assert groups[0] == "up to 2.5"


def test_groups_that_differ_within_cases_are_dealt_within_them() -> None:
    """Every case has an image of either group, the second far worse; dealt to cases, one group would vanish."""
    dice = [0.9, 0.1] * 12
    cases = [f"c{i // 2}" for i in range(24)]
    found = summarise_groups(scored(dice, cases), ["model"], ["x", "y"] * 12)["labels"]["a"]["model"]["gap"]
    assert found["p"] < 0.01
    alike = summarise_groups(scored([0.9] * 24, cases), ["model"], ["x", "y"] * 12)["labels"]["a"]["model"]["gap"]
    assert alike["p"] == 1


def test_groups_come_as_their_numbers_rise() -> None:
    def order(*groups: str) -> list[str]:
        return [*summarise_groups(scored([0.5] * len(groups), [*groups]), ["model"], groups)["groups"]]

    assert order("10", "2", "1.5") == ["1.5", "2", "10"]
    assert order("above 35", "up to 35", "up to 8") == ["up to 8", "up to 35", "above 35"]
    assert order("site b", "site a") == ["site a", "site b"]


def test_many_numbers_are_cut_into_thirds(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,age\n" + "".join(f"i{i},{20 + i}\n" for i in range(9)))
    groups = read_groups(samples_of(9), "age", tmp_path / "t.csv")
    assert [groups.count(name) for name in dict.fromkeys(groups)] == [3, 3, 3]
    assert groups[0] == "up to 22"


@pytest.mark.parametrize(
    ("column", "sentence"), [("site", "has no column 'site'; there are id, sex"), ("sex", "names none of the images")]
)
def test_a_table_that_does_not_fit_is_refused(column: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,sex\nother,f\n")
    with pytest.raises(InputError, match=sentence):
        read_groups(samples_of(2), column, tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"0 tables in .* have a column 'no'"):
        place_of(tmp_path, "no")


def test_the_gap_is_between_the_groups_that_are_large_enough() -> None:
    rng = np.random.default_rng(0)
    dice = [*rng.normal(0.9, 0.02, 30), *rng.normal(0.7, 0.02, 30), 0.1, 0.1]
    groups = ["north"] * 30 + ["south"] * 30 + ["small"] * 2
    cases = [f"c{i}" for i in range(62)]
    found = summarise_groups(scored([float(value) for value in dice], cases), ["model"], groups)
    gap = found["labels"]["a"]["model"]["gap"]
    assert (gap["best"], gap["worst"]) == ("north", "south")
    assert gap["mean"] == pytest.approx(np.mean(dice[:30]) - np.mean(dice[30:60]))
    assert gap["low"] < gap["mean"] < gap["high"]
    assert gap["p"] < 0.01
    assert found["groups"]["small"] == {"n": 2, "cases": 2, "small": True}
    assert found["labels"]["a"]["model"]["groups"]["small"]["dice"]["low"] is None
    heading, lines = group_tables({"subgroups": {"site": found}}, "a")[0]
    assert heading == "By site"
    assert "small (n = 2 of 2 cases, too few)" in lines


def test_groups_that_differ_by_chance_have_a_large_p() -> None:
    rng = np.random.default_rng(1)
    dice = rng.normal(0.8, 0.1, 60).tolist()
    groups = [f"g{i % 3}" for i in range(60)]
    found = summarise_groups(scored(dice, [f"c{i}" for i in range(60)]), ["model"], groups)
    assert found["labels"]["a"]["model"]["gap"]["p"] > 0.05
    few = summarise_groups(scored(dice[:4], ["a", "b", "c", "d"]), ["model"], ["x", "x", "y", None])
    assert few["labels"]["a"]["model"]["gap"] is None
    assert few["unknown"] == 1
