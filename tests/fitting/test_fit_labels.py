"""Weights of their own for each label, where each member is right about one label and wrong about the other."""

import dataclasses
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest

from medseg import schema
from medseg.__main__ import main
from medseg.config import EnsembleConfig, MemberReference, Task
from medseg.data.samples import load_data, select
from medseg.errors import ConfigError, InputError
from medseg.fitting.fit import Fit
from medseg.fitting.fit_table import table
from medseg.image import Image
from medseg.inference.blend import blend
from medseg.inference.ensemble import Ensemble
from medseg.reading.readers import read_image
from medseg.scores import Average, FitMethod, Fitted, Score
from tests.conftest import FakeMember, PaintedSample, disc, fake_member, fit_to, make_member, write_disc_pair

LABELS = ("a", "b")
Answer = Callable[[np.ndarray], np.ndarray]


def samples(count: int = 6) -> list[PaintedSample]:
    """Discs that wander, each once for either label; the image shows the mask."""
    found = []
    for number in range(count):
        angle = 2 * math.pi * number / count
        mask = disc((40, 40), (20 + 10 * math.sin(angle), 20 + 10 * math.cos(angle)), 6)
        image = Image(mask[..., np.newaxis].astype(np.float32))
        found.append(PaintedSample(image, np.stack([mask, mask]), f"case{number}"))
    return found


def member(name: str, first: Answer, second: Answer, task: Task = "multilabel") -> FakeMember:
    def answer(image: Image) -> np.ndarray:
        return np.stack([first(image.pixels[..., 0]), second(image.pixels[..., 0])])

    return fake_member(name, answer, labels=LABELS, task=task)


def right(mask: np.ndarray) -> np.ndarray:
    return mask


def wrong(mask: np.ndarray) -> np.ndarray:
    return 1 - mask


def halves() -> list[FakeMember]:
    """Each is right about one label and wrong about the other."""
    return [member("first", right, wrong), member("second", wrong, right)]


def alike() -> list[FakeMember]:
    return [member("first", right, right), member("second", wrong, wrong)]


def fitted_by(members: Sequence[FakeMember], **settings: object) -> Fit:
    return fit_to(members, samples(), **settings)


def label_a_only_on(drawn: Sequence[PaintedSample], *places: int) -> list[PaintedSample]:
    """The samples with label a wiped from all but these."""
    there = [np.array([i in places, True])[:, None, None] for i in range(len(drawn))]
    return [dataclasses.replace(s, masks=s.masks & shows) for s, shows in zip(drawn, there, strict=True)]


# --- the choice


@pytest.mark.parametrize("average", ["per image", "pooled"])
@pytest.mark.parametrize("method", ["grid", "greedy", "local"])
def test_each_label_trusts_the_member_that_is_right_about_it(average: Average, method: FitMethod) -> None:
    found = fitted_by(halves(), average=average, method=method)
    assert found.per_label is not None
    assert found.per_label.weights == ((1, 0), (0, 1))  # of each member: for label a, for label b
    assert (found.per_label.threshold, found.per_label.mean) == (0.5, 1)
    assert found.fitted.mean < 1


def test_on_cases_that_had_no_part_they_are_found_and_recommended() -> None:
    found = fitted_by(halves())
    assert found.nested is not None
    assert found.nested.per_label is not None
    assert found.nested.over_shared is not None
    assert (found.nested.per_label.value, found.recommended) == (1, "per label")
    others = max(found.nested.best_single.value, found.nested.equal.value, found.nested.fitted.value)
    assert found.nested.over_shared.value == pytest.approx(1 - others)
    assert "paired difference, nested" in found.nested.over_shared.protocol


def test_where_the_labels_agree_the_weights_stay_shared() -> None:
    found = fitted_by(alike())
    assert found.nested is not None
    assert found.per_label is not None
    assert found.per_label.weights == ((1, 1), (0, 0))
    assert found.nested.over_shared is not None
    assert (found.nested.over_shared.value, found.recommended) == (0, "fitted")


def test_each_label_has_the_threshold_that_is_best_for_it() -> None:
    def shy(mask: np.ndarray) -> np.ndarray:
        return 0.1 + 0.17 * mask  # perfect at thresholds from 0.15 to 0.25, nothing above

    def bold(mask: np.ndarray) -> np.ndarray:
        return 0.17 + 0.7 * mask  # everything at thresholds up to 0.15, perfect from 0.2 to 0.85

    found = fit_to([member("only", shy, bold)], samples(12)).per_label
    assert found is not None
    assert found.threshold == (0.25, 0.5)  # the first is perfect at 0.2 too, which is further from 0.5
    assert found.mean == 1


@pytest.mark.parametrize("average", ["per image", "pooled"])
def test_shared_weights_have_a_threshold_for_each_label_too_by_one_rule_for_all_contenders(average: Average) -> None:
    """Label a is right at 0.2 and 0.25 alone, label b from 0.75 on: no shared threshold is right for both."""

    def shy(mask: np.ndarray) -> np.ndarray:
        return 0.16 + 0.1 * mask

    def bold(mask: np.ndarray) -> np.ndarray:
        return 0.7 + 0.2 * mask

    found = fit_to([member("first", shy, bold), member("second", shy, bold)], samples(15), average=average)
    for contender in ("fitted", "equal", "best single", "per label"):
        choice = found.choice(contender)  # type: ignore[arg-type]
        assert (choice.threshold, choice.mean) == ((0.25, 0.75), 1)
    assert found.nested is not None
    assert found.nested.equal.value == 1


def test_a_label_that_few_images_show_keeps_one_half() -> None:
    """Two images of twelve show label a, which is right at 0.25 alone: that may be chance."""

    def shy(mask: np.ndarray) -> np.ndarray:
        return 0.3 * mask

    drawn = label_a_only_on(samples(12), 2, 7)
    found = fit_to([member("first", shy, right), member("second", shy, right)], drawn)
    assert found.fitted.threshold == 0.5


def test_among_equal_scores_the_weights_nearest_to_equal_win() -> None:
    members = [member("first", right, wrong), member("second", right, right)]
    found = fitted_by(members).per_label
    assert found is not None
    assert found.weights == ((0.5, 0), (0.5, 1))


def test_the_choice_knows_what_it_marks_of_each_label() -> None:
    found = fit_to(
        [member("first", right, np.zeros_like), member("second", right, np.zeros_like)], samples(3)
    ).per_label
    assert found is not None
    pixels = [int(sample.masks[0].sum()) for sample in samples(3)]
    assert found.counts[:, 0].tolist() == [[n, n, n] for n in pixels]
    assert found.counts[:, 1, 1].tolist() == [0, 0, 0]


def test_without_a_nested_estimate_they_are_a_choice_that_nothing_recommends() -> None:
    found = fit_to(halves(), samples(2))
    assert found.choice("per label") == found.per_label
    assert (found.nested, found.recommended) == (None, "best single")


# --- where there is no such contender


@pytest.mark.parametrize(("task", "labels"), [("binary", ("a",)), ("multilabel", ("a",)), ("multiclass", ("a", "b"))])
def test_labels_that_are_one_or_decided_together_have_no_weights_of_their_own(
    task: Task, labels: tuple[str, ...]
) -> None:
    def answer(image: Image) -> np.ndarray:
        return np.stack([image.pixels[..., 0] / len(labels)] * len(labels))

    drawn = [dataclasses.replace(sample, masks=sample.masks[: len(labels)]) for sample in samples()]
    found = fit_to([fake_member("only", answer, labels=labels, task=task)], drawn)
    assert found.nested is not None
    assert (found.per_label, found.nested.per_label, found.nested.over_shared) == (None, None, None)
    with pytest.raises(InputError, match="need a multilabel task with two labels or more"):
        found.choice("per label")


# --- as lines and in ensemble.json


def test_the_table_shows_the_weights_of_each_label_and_the_difference() -> None:
    lines = table(fitted_by(halves()), ["first", "second"], LABELS).splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("  per label"))
    assert lines[place].split() == ["per", "label", "1.0000", "threshold", "0.50"]
    assert [line.split() for line in lines[place + 1 : place + 3]] == [
        ["a", "weights", "1.00", "0.00"], ["b", "weights", "0.00", "1.00"],
    ]  # fmt: skip
    assert any(line.startswith("  per label                    1.0000 [–, –]") for line in lines)
    assert any(line.startswith("  per label − ") for line in lines)


def test_each_label_has_its_scores_and_a_warning_where_few_cases_show_it() -> None:
    drawn = [
        dataclasses.replace(s, masks=s.masks & np.array([i < 2, True])[:, None, None]) for i, s in enumerate(samples())
    ]
    found = fit_to(alike(), drawn)
    assert found.positives == (2, 6)
    lines = table(found, ["first", "second"], LABELS).splitlines()
    place = lines.index("Of each label, over the images that show it:")
    assert lines[place + 1].split() == ["a", "b"]
    assert lines[place + 2].split() == ["first", "1.0000", "1.0000"]
    assert "Warning: 2 cases show a: too few to choose weights or a threshold for it." in lines
    assert not any("cases show b" in line for line in lines)


def test_what_drops_a_label_is_not_recommended() -> None:
    """One image in twelve shows label a, and only the second member finds it; the first is better at b."""
    drawn = [
        dataclasses.replace(s, masks=s.masks & np.array([i == 3, True])[:, None, None])
        for i, s in enumerate(samples(12))
    ]
    known = {sample.drawn.sha256: sample.masks for sample in drawn}

    def first(image: Image) -> np.ndarray:
        return known[image.sha256] * np.array([0.0, 1.0])[:, None, None]

    def second(image: Image) -> np.ndarray:
        return known[image.sha256] * np.array([1.0, 0.4])[:, None, None]

    members = [
        fake_member(name, answer, labels=LABELS, task="multilabel") for name, answer in (("a", first), ("b", second))
    ]
    nested = fit_to(members, drawn).nested
    assert nested is not None
    assert "best single" in nested.drops
    assert nested.recommended not in nested.drops


def test_a_label_is_not_paid_for_with_another() -> None:
    """Up to 0.35 label b is right, at 0.5 empty; label a, shown once, is right at 0.5 and everywhere up to 0.35."""
    drawn = [
        dataclasses.replace(s, masks=s.masks & np.array([i == 3, True])[:, None, None])
        for i, s in enumerate(samples(12))
    ]
    known = {sample.drawn.sha256: sample.masks for sample in drawn}

    def answer(image: Image) -> np.ndarray:
        a, b = known[image.sha256].astype(float)
        return np.stack([0.35 * a.any() + 0.6 * a, 0.1 + 0.25 * b])

    found = fit_to([fake_member("only", answer, labels=LABELS, task="multilabel")], drawn)
    assert found.fitted.threshold == (0.5, 0.35)


def test_the_record_holds_them_and_is_read_back(tmp_path: Path) -> None:
    drawn = samples()
    kept = fit_to(halves(), drawn).record(["first", "second"], drawn, "discs, val")
    assert kept.per_label is not None
    assert (kept.per_label.value, kept.recommended, kept.chosen) == (1, "per label", "per label")
    assert "for each label by itself; weights per label by a grid for each" in kept.method
    schema.dump(kept, tmp_path / "fitted.json")
    assert schema.load(Fitted, tmp_path / "fitted.json") == kept


def test_a_record_that_chose_them_without_their_score_is_refused() -> None:
    score = Score("dice", 0.5, None, None, 1, "val", "…")
    with pytest.raises(ConfigError, match="weights per label need their score"):
        Fitted("data", "0" * 64, "grid", "a", score, score, score, chosen="per label")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two members with random weights, and a folder of discs: label a is the disc, label b its middle."""
    root = tmp_path_factory.mktemp("per-label")
    for number in range(24):
        write_disc_pair(root / "pairs", f"case{number:02d}", number)
    data = root / "data"
    shutil.copytree(root / "pairs" / "images", data / "images")
    shutil.copytree(root / "pairs" / "masks", data / "masks" / "a")
    (data / "masks" / "b").mkdir()
    for path in (data / "masks" / "a").iterdir():
        mask = PIL.Image.open(path)
        mask.filter(PIL.ImageFilter.MinFilter(5)).save(data / "masks" / "b" / path.name)
    for seed, name in enumerate(("first", "second")):
        make_member(root / name, name, seed, labels=LABELS, task="multilabel", plain=True)
    return [root / "first", root / "second", data]


def test_the_command_writes_an_ensemble_that_answers_with_them(folders: list[Path], tmp_path: Path) -> None:
    *members, data = folders
    command = ["fit", *map(str, members), "--data", str(data), "--output", str(tmp_path / "new"), "--name", "discs"]
    main([*command, "--choose", "per-label"])
    ensemble = Ensemble.from_pretrained(tmp_path / "new")
    assert ensemble.config.fitted is not None
    assert ensemble.config.fitted.chosen == "per label"
    assert np.sum(ensemble.weights, axis=0) == pytest.approx([1, 1])
    found = fit_to(ensemble.members, select(load_data(data).samples, "val")).choice("per label")
    assert (ensemble.weights, ensemble.config.threshold) == (found.written, found.threshold)
    prediction = ensemble.predict(read_image(data / "images" / "case00.png"))
    by_hand = blend(prediction.members, "weighted mean", found.weights, "multilabel")
    assert np.allclose(prediction.probabilities, by_hand, atol=1e-3)
    assert "weights per label: dice" in (tmp_path / "new" / "README.md").read_text("utf-8")


def test_the_command_refuses_them_for_one_label_before_it_predicts(
    disc_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_member(tmp_path / "a", "a", 0, plain=True)
    command = ["fit", str(tmp_path / "a"), "--data", str(disc_pairs), "--output", str(tmp_path / "new"), "--name", "x"]
    with pytest.raises(SystemExit) as caught:
        main([*command, "--choose", "per-label"])
    assert str(caught.value.code).startswith("error: Weights per label need a multilabel task")
    assert "predicting" not in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_written_weights_answer_as_the_members_blended_by_hand() -> None:
    found = fitted_by(halves()).choice("per label")
    references = [MemberReference(name, "0" * 64, weight) for name, weight in zip(LABELS, found.written, strict=True)]
    settings = EnsembleConfig("discs", "multilabel", LABELS, tuple(references), threshold=found.threshold)
    sample = samples()[0]
    stack = np.stack([each.probabilities(sample.drawn) for each in halves()])
    blended = blend(stack, settings.blend, [reference.weight for reference in settings.members], "multilabel")
    assert np.array_equal(blended, np.stack([stack[0, 0], stack[1, 1]]))
    assert np.array_equal(blended >= settings.threshold, sample.masks)
