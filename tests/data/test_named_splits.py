"""Held-out images are never dealt into train because medseg does not know the name of their folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.data.coco import read_coco_files
from medseg.data.samples import load_data
from medseg.errors import InputError, MedsegWarning
from tests.data_sets import SMALL, save, scene, write_json

OUTLINE = [10.0, 4.0, 20.0, 4.0, 20.0, 9.0, 10.0, 9.0]


def pairs(root: Path, *folders: str) -> None:
    for number, folder in enumerate(folders):
        for stem in "ab":
            save(root / folder.format("images") / f"{stem}{number}.png", scene(number))
            save(root / folder.format("masks") / f"{stem}{number}.png", SMALL)


@pytest.mark.parametrize(
    "folders", [("development/{}", "holdout/{}"), ("{}/holdout", "{}/rest"), ("fold1/{}", "fold2/{}")]
)
def test_folders_that_look_like_a_division_are_refused(tmp_path: Path, folders: tuple[str, ...]) -> None:
    pairs(tmp_path / "d", *folders)
    with pytest.raises(InputError, match=r"look like parts of a division.*Rename them to train, val and test, or put"):
        load_data(tmp_path / "d")
    stems = {"train": ["a0", "b0"], "val": ["a1"], "test": ["b1"]}
    write_json(tmp_path / "d" / "splits.json", stems)  # the way out
    assert sorted(sample.split for sample in load_data(tmp_path / "d").samples) == ["test", "train", "train", "val"]


def test_an_unknown_folder_beside_known_splits_is_refused(tmp_path: Path) -> None:
    pairs(tmp_path / "d", "train/{}", "test/{}", "clinic/{}")
    words = r"images that they are test or train, and of 2 others nothing, the first: clinic/images/a2\.png"
    with pytest.raises(InputError, match=words):
        load_data(tmp_path / "d")


def test_a_folder_test_that_is_alone_stays_test(tmp_path: Path) -> None:
    pairs(tmp_path / "d", "test/{}")
    assert {sample.split for sample in load_data(tmp_path / "d").samples} == {"test"}
    with pytest.warns(MedsegWarning, match=r"Doubtful: folders called for one split.*the first: test\."):
        load_data(tmp_path / "d" / "test")


def test_a_division_in_the_one_folder_of_a_place_counts(tmp_path: Path) -> None:
    pairs(tmp_path / "d", "Set/{}")
    write_json(tmp_path / "d" / "Set" / "splits.json", {"train": ["a0"], "test": ["b0"]})
    assert sorted(sample.split for sample in load_data(tmp_path / "d").samples) == ["test", "train"]


def test_instance_files_of_unknown_parts_are_refused(tmp_path: Path) -> None:
    for part in ("development", "holdout"):
        image = {"id": 1, "file_name": f"{part}.png", "height": 24, "width": 32}
        annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [OUTLINE]}
        content = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "x"}]}
        write_json(tmp_path / "annotations" / f"instances_{part}.json", content)
    with pytest.raises(
        InputError, match=r"instances_development\.json and instances_holdout\.json in .* look like parts"
    ):
        read_coco_files(sorted((tmp_path / "annotations").iterdir()))


def test_a_fold_of_data_without_folds_is_refused(tmp_path: Path) -> None:
    pairs(tmp_path / "d", "{}")
    with pytest.raises(InputError, match="comes in no folds, and fold 2 is wanted"):
        load_data(tmp_path / "d", fold=2)


def test_images_beside_a_folder_test_are_not_for_testing(tmp_path: Path) -> None:
    pairs(tmp_path / "d", "{}", "test/{}")
    splits = {
        sample.image.parts[-3] == "test": sample.split for sample in load_data(tmp_path / "d", divide=False).samples
    }
    assert splits == {True: "test", False: ""}
