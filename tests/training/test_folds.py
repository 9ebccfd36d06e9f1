"""Cross-validation: every case is tested once, by what never saw it, and the report adds the folds up."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from medseg.cards.folder import write_cards
from medseg.data.samples import load_data, select
from medseg.errors import InputError
from medseg.evaluation.evaluate import ENSEMBLE, EQUAL
from medseg.evaluation.rows import EMPTY, PRIOR, Evaluation
from medseg.image import Image
from medseg.training import folds
from medseg.training.folds import SINGLE, cross_validate
from medseg.training.recipe import Recipe
from tests.conftest import make_member

RECIPE = """
data = {data!r}
name = {name!r}
labels = ["blob"]
fold = 7
architecture = "plainunet"
encoder = "none"
decoder = {{ depth = 2, width = 4 }}
size = 32
"""


@pytest.fixture
def data(disc_pairs: Path, tmp_path: Path) -> Path:
    """The 24 discs in three folds of eight."""
    folder = tmp_path / "data"
    shutil.copytree(disc_pairs, folder)
    names = [[f"case{number:02d}" for number in range(first, 24, 3)] for first in range(3)]
    (folder / "splits.json").write_text(json.dumps({"unit": "case", "folds": names}), encoding="utf-8")
    return folder


@pytest.fixture
def recipes(data: Path, tmp_path: Path) -> list[Path]:
    paths = []
    for name in ("one", "two"):
        paths.append(tmp_path / f"{name}.toml")
        paths[-1].write_text(RECIPE.format(data=str(data), name=name), encoding="utf-8")
    return paths


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """What would have been trained; each leaves a network with random weights."""
    found: list[Recipe] = []

    def train(path: Path, recipe: Recipe) -> None:
        found.append(recipe)
        make_member(Path(recipe.output) / "member", recipe.name, seed=10 * recipe.fold + len(recipe.name), plain=True)

    monkeypatch.setattr(folds, "_train", train)
    return found


def test_every_case_is_tested_once_and_all_folds_together_are_the_report(
    recipes: list[Path], trained: list[Recipe], tmp_path: Path
) -> None:
    report = cross_validate(recipes, 3, tmp_path / "out")
    assert [(recipe.name, recipe.fold) for recipe in trained] == [(n, f) for f in range(3) for n in ("one", "two")]
    assert list(report["rows"]) == [EMPTY, PRIOR, "one", "two", SINGLE, EQUAL, ENSEMBLE]
    assert (report["n"], report["cases"], len(report["folds"])) == (24, 24, 3)
    tested = [
        sample.case
        for fold in range(3)
        for sample in select(load_data(tmp_path / "out" / f"fold-{fold}" / "samples.json").samples, "test")
    ]
    assert sorted(tested) == [f"case{number:02d}" for number in range(24)]
    assert json.loads((tmp_path / "out" / "folds.json").read_text(encoding="utf-8")) == json.loads(json.dumps(report))
    gain = report["differences"][f"{ENSEMBLE} − {PRIOR}"]["blob"]
    means = [report["rows"][row]["blob"]["per_image_all"]["dice"]["mean"] for row in (ENSEMBLE, PRIOR)]
    assert gain["mean"] == pytest.approx(means[0] - means[1])
    assert gain["low"] <= gain["mean"] <= gain["high"]


def test_the_card_shows_the_folds_and_refuses_those_of_others(
    recipes: list[Path], trained: list[Recipe], tmp_path: Path
) -> None:
    report = cross_validate(recipes, 3, tmp_path / "out")
    folder = tmp_path / "out" / "fold-0" / "ensemble"
    shutil.copyfile(tmp_path / "out" / "folds.json", folder / "folds.json")
    write_cards(folder)
    card = (folder / "README.md").read_text(encoding="utf-8")
    mean = report["rows"][ENSEMBLE]["blob"]["per_image_all"]["dice"]["mean"]
    assert "Test parts of 3 folds, n = 24 of 24 cases, blob:" in card
    section = card.partition("## Cross-validated")[2]
    assert re.search(rf"\| ensemble[^|]*\| {mean:.3f} \[", section)
    del report["rows"]["one"]
    (folder / "folds.json").write_text(json.dumps(report), encoding="utf-8")
    with pytest.raises(InputError, match=r"folds\.json scored other members"):
        write_cards(folder)
    (folder / "folds.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match=r"folds\.json is not a report"):
        write_cards(folder)


def test_the_best_single_member_is_chosen_anew_in_each_fold(
    recipes: list[Path], trained: list[Recipe], tmp_path: Path
) -> None:
    report = cross_validate(recipes, 3, tmp_path / "out")
    singles = [
        json.loads((tmp_path / "out" / f"fold-{fold}" / "ensemble" / "ensemble.json").read_text(encoding="utf-8"))
        for fold in range(3)
    ]
    names = {entry["fitted"]["best_single_member"] for entry in singles}
    dice = {row: report["rows"][row]["blob"]["per_image_all"]["dice"]["mean"] for row in ("one", "two", SINGLE)}
    assert names <= {"one", "two"}
    if len(names) == 1:
        assert dice[SINGLE] == dice[names.pop()]
    assert min(dice.values()) <= dice[SINGLE] <= max(dice.values())


def test_recipes_of_other_labels_are_refused(recipes: list[Path], trained: list[Recipe], tmp_path: Path) -> None:
    recipes[1].write_text(recipes[1].read_text(encoding="utf-8").replace("blob", "disc"), encoding="utf-8")
    with pytest.raises(InputError, match="one data set and the same labels"):
        cross_validate(recipes, 3, tmp_path / "out")


def test_data_that_come_in_no_or_in_other_folds_are_refused_before_anything_is_trained(
    recipes: list[Path], data: Path, trained: list[Recipe], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="comes in 3 folds, not in 5: leave --folds out"):
        cross_validate(recipes, 5, tmp_path / "out")
    (data / "splits.json").unlink()
    with pytest.raises(InputError, match=r"comes in no folds: `medseg inspect .* --folds 5` deals its cases"):
        cross_validate(recipes, None, tmp_path / "out")
    assert trained == []


def test_a_training_that_refuses_ends_the_run_in_one_sentence(
    recipes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds, "LAUNCH", (sys.executable, "-c", "import sys; sys.exit(1)"))
    with pytest.raises(InputError, match="The training of one for fold 0 stopped"):
        cross_validate(recipes, 3, tmp_path / "out")


def test_scores_of_other_rows_cannot_be_added_up() -> None:
    mask = np.ones((1, 2, 2), dtype=bool)
    image = Image(np.zeros((2, 2, 1), np.float32))
    one, other = Evaluation(["blob"]), Evaluation(["blob"])
    for found, row in ((one, "a"), (other, "b")):
        found.cases.append("case")
        found.add(row, mask, mask, image)
    with pytest.raises(InputError, match="Wanted scores of a; got b"):
        one.extend(other)
