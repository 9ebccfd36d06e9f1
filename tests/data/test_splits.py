"""Splits: by case, in folds, given, and tied to their data by a hash. Dealing and hashing are in test_samples.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medseg.data.division import as_trained
from medseg.data.manifest import Sample
from medseg.data.splits import apply_splits, deal, deal_folds, split_hash, with_fold, write_folds, write_splits
from medseg.errors import InputError


def slices(cases: int, each: int = 2, split: str = "") -> list[Sample]:
    return [
        Sample(Path(f"case{case:02d}/case{case:02d}_{number}.tif"), Path("m.tif"), f"case{case:02d}", split)
        for case in range(cases)
        for number in range(each)
    ]


def test_folds_hold_every_case_once_and_differ_by_one_at_most() -> None:
    folds = deal_folds(slices(23), 5)
    assert sorted(case for fold in folds for case in fold) == sorted({s.case for s in slices(23)})
    assert sorted(map(len, folds)) == [4, 4, 5, 5, 5]


def test_folds_depend_on_the_seed_alone() -> None:
    assert deal_folds(slices(20), 4, seed=1) == deal_folds(slices(20)[::-1], 4, seed=1) != deal_folds(slices(20), 4)


def test_every_case_is_tested_once_over_all_folds() -> None:
    samples = slices(9)
    folds = deal_folds(samples, 3)
    tested = [s.case for fold in range(3) for s in with_fold(samples, folds, fold) if s.split == "test"]
    assert sorted(tested) == sorted(s.case for s in samples)


def test_a_fold_is_test_the_next_val_the_rest_train() -> None:
    samples = with_fold(slices(4, 1), [["case00"], ["case01"], ["case02"], ["case03"]], 3)
    assert [s.split for s in samples] == ["val", "train", "train", "test"]


@pytest.mark.parametrize("fold", [-1, 3])
def test_a_fold_that_is_not_there_is_refused(fold: int) -> None:
    with pytest.raises(InputError, match=f"Fold {fold} of 3 cannot be chosen"):
        with_fold(slices(3), [["case00"], ["case01"], ["case02"]], fold)


def test_more_folds_than_cases_are_refused() -> None:
    with pytest.raises(InputError, match="3 cases cannot be dealt into 5 folds"):
        deal_folds(slices(3), 5)


def test_written_splits_are_read_back(tmp_path: Path) -> None:
    dealt = deal(slices(30), seed=3)
    write_splits(dealt, tmp_path / "s.json")
    assert apply_splits(slices(30), tmp_path / "s.json") == dealt
    assert json.loads((tmp_path / "s.json").read_text())["sha256"] == split_hash(dealt)


def test_written_folds_are_read_back(tmp_path: Path) -> None:
    folds = deal_folds(slices(12), 4)
    write_folds(slices(12), folds, tmp_path / "f.json")
    assert apply_splits(slices(12), tmp_path / "f.json", 2) == with_fold(slices(12), folds, 2)


@pytest.mark.parametrize("write", ["splits", "folds"])
def test_splits_written_for_other_data_are_refused(tmp_path: Path, write: str) -> None:
    if write == "splits":
        write_splits(deal(slices(12)), tmp_path / "s.json")
    else:
        write_folds(slices(12), deal_folds(slices(12), 3), tmp_path / "s.json")
    with pytest.raises(InputError, match=r"s\.json was written for other samples"):
        apply_splits(slices(12, each=3), tmp_path / "s.json")


@pytest.mark.parametrize("name", ["case01", "case01_0", "case01_0.tif"])
def test_names_may_be_cases_stems_or_files(tmp_path: Path, name: str) -> None:
    given = {"unit": "whatever", "train": ["case00"], "val": [name], "test": []}
    (tmp_path / "s.json").write_text(json.dumps(given), encoding="utf-8")
    assert [s.split for s in apply_splits(slices(2, 1), tmp_path / "s.json")] == ["train", "val"]


def test_a_case_in_two_folds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"folds": [["a"], ["b"], ["a"]]}', encoding="utf-8")
    with pytest.raises(InputError, match="puts a into two splits"):
        apply_splits(slices(1), tmp_path / "s.json")


def test_a_published_test_part_is_not_dealt_a_second_one() -> None:
    dealt = deal([*slices(200), *slices(3, 1, "test")])
    assert sum(s.split == "test" for s in dealt) == 3
    assert sum(s.split == "val" for s in dealt) == pytest.approx(60, abs=25)


@pytest.mark.parametrize("cases", [3, 9, 10, 12, 16, 23])
def test_few_cases_leave_no_split_without_one_and_ten_or_more_none_with_one_alone(cases: int) -> None:
    for seed in range(20):
        dealt = [sample.split for sample in deal(slices(cases, 1), seed)]
        assert min(dealt.count(split) for split in ("train", "val", "test")) >= (2 if cases >= 10 else 1)


def test_a_division_that_an_older_version_dealt_is_known_again() -> None:
    samples = slices(12, 1)
    seed = next(seed for seed in range(10) if deal(samples, seed) != deal(samples, seed, least=1))
    older = deal(samples, seed, least=1)
    assert as_trained(samples, [split_hash(older)]) == older
