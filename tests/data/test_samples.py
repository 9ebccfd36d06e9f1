"""Data sets as lists of samples: pairs, manifests, splits by case."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from medseg.data.samples import Sample, load_data, select, split_hash
from medseg.errors import InputError, ReadError


def touch(folder: Path, *names: str) -> None:
    """Empty files: listing a data set opens none."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def manifest(folder: Path, *entries: dict[str, Any]) -> Path:
    path = folder / "data.json"
    path.write_text(json.dumps({"labels": ["polyp"], "samples": entries}), encoding="utf-8")
    return path


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {"image": f"{name}.png", "mask": f"{name}_mask.png", **more}


# --- folders of pairs


@pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("train_images", "train_masks"), ("image", "mask")])
def test_images_and_masks_pair_up_by_stem(tmp_path: Path, images: str, masks: str) -> None:
    touch(tmp_path, f"{images}/b.jpg", f"{images}/a.PNG", f"{masks}/a.tif", f"{masks}/b.png", f"{masks}/notes.txt")
    found = load_data(tmp_path).samples
    assert [(s.image.name, s.mask.name, s.case) for s in found] == [("a.PNG", "a.tif", "a"), ("b.jpg", "b.png", "b")]


def test_a_compressed_nifti_file_has_the_stem_without_both_endings(tmp_path: Path) -> None:
    touch(tmp_path, "images/scan.nii.gz", "masks/scan.nii")
    assert [s.case for s in load_data(tmp_path).samples] == ["scan"]


def test_files_without_a_partner_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "masks/a.png", "masks/c.png")
    with pytest.raises(InputError, match=r"2 files have no partner .* first: images/b\.png, masks/c\.png\."):
        load_data(tmp_path)


def test_two_files_with_one_stem_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/a.jpg", "masks/a.png")
    with pytest.raises(InputError, match="images/ holds two files with the stem a"):
        load_data(tmp_path)


def test_a_folder_of_something_else_is_refused_with_what_was_wanted(tmp_path: Path) -> None:
    touch(tmp_path, "pictures/a.png", "pictures/b.mha", "c.txt")
    with pytest.raises(
        InputError,
        match=r"It holds 1 \*\.txt, 1 pictures/\*\.png, 1 pictures/\*\.mha\. Wanted images/ and masks/ or another",
    ):
        load_data(tmp_path)


def test_empty_folders_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "images/x.txt", "masks/x.txt")
    with pytest.raises(InputError, match="in no layout that medseg knows"):
        load_data(tmp_path)


# --- splits


def test_a_given_split_is_honoured(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/{stem}.png" for folder in ("images", "masks") for stem in "abc"))
    (tmp_path / "splits.json").write_text('{"train": ["b"], "val": ["a"], "test": ["c"]}', encoding="utf-8")
    assert [s.split for s in load_data(tmp_path).samples] == ["val", "train", "test"]


@pytest.mark.parametrize(
    ("splits", "sentence"),
    [
        ('{"train": ["a"]}', "leaves out 1 images, the first: b"),
        ('{"train": ["a", "b"], "val": ["b"]}', "puts b into two splits"),
        ("[]", "is not of the form"),
        ("{", "is not of the form"),
        ('{"train": 5}', "is not of the form"),
    ],
)
def test_a_splits_file_that_cannot_be_followed_is_refused(tmp_path: Path, splits: str, sentence: str) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "masks/a.png", "masks/b.png")
    (tmp_path / "splits.json").write_text(splits, encoding="utf-8")
    with pytest.raises(InputError, match=rf"splits\.json {sentence}"):
        load_data(tmp_path)


def test_cases_are_dealt_about_70_15_15(tmp_path: Path) -> None:
    found = load_data(manifest(tmp_path, *(entry(f"case{i}") for i in range(1000)))).samples
    counts = Counter(s.split for s in found)
    assert counts["train"] == pytest.approx(700, abs=50)
    assert counts["val"] == pytest.approx(150, abs=40)
    assert counts.total() == 1000


def test_who_fits_on_everything_has_nothing_dealt(tmp_path: Path) -> None:
    path = manifest(tmp_path, entry("a"), entry("b", split="val"))
    assert [s.split for s in load_data(path, divide=False).samples] == ["", "val"]


def test_adding_cases_moves_no_other_case(tmp_path: Path) -> None:
    few = load_data(manifest(tmp_path, *(entry(f"case{i}") for i in range(20)))).samples
    many = load_data(manifest(tmp_path, *(entry(f"case{i}") for i in range(40)))).samples
    assert many[:20] == few


def test_another_seed_deals_otherwise_and_the_same_seed_alike(tmp_path: Path) -> None:
    path = manifest(tmp_path, *(entry(f"case{i}") for i in range(40)))
    assert load_data(path, seed=1).samples == load_data(path, seed=1).samples != load_data(path, seed=2).samples


def test_images_of_one_case_are_dealt_into_one_split(tmp_path: Path) -> None:
    found = load_data(manifest(tmp_path, *(entry(f"slice{i}", case=f"patient{i % 5}") for i in range(50)))).samples
    assert all(len({s.split for s in found if s.case == case}) == 1 for case in {s.case for s in found})


def test_a_case_in_two_splits_is_refused(tmp_path: Path) -> None:
    path = manifest(tmp_path, entry("a", case="p1", split="train"), entry("b", case="p1", split="val"))
    with pytest.raises(InputError, match="The case p1 stands in both train and val"):
        load_data(path)


def test_select_takes_one_split(tmp_path: Path) -> None:
    found = load_data(manifest(tmp_path, entry("a", split="train"), entry("b", split="val"))).samples
    assert [s.case for s in select(found, "val")] == ["b"]


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    found = load_data(manifest(tmp_path, entry("a", split="train"))).samples
    with pytest.raises(InputError, match=r"belongs to the split 'test' \(there are train 1, val 0, test 0\): add"):
        select(found, "test")


def test_the_hash_of_a_split_depends_on_the_division_not_on_order_or_place() -> None:
    def sample(case: str, split: str, root: str = "x") -> Sample:
        return Sample(Path(root) / f"{case}.png", Path("m.png"), case, split)

    first = [sample("a", "train"), sample("b", "val")]
    assert split_hash(first) == split_hash([sample("b", "val", "y"), sample("a", "train", "y")])
    assert split_hash(first) != split_hash([sample("a", "val"), sample("b", "val")])


# --- manifests


def test_a_manifest_names_files_relative_to_itself(tmp_path: Path) -> None:
    found = load_data(manifest(tmp_path, {"image": "x/a.png", "mask": "y/a.png", "case": "p", "split": "test"})).samples
    assert found == [Sample(tmp_path / "x/a.png", tmp_path / "y/a.png", "p", "test")]


def test_a_case_may_be_numbered_from_0(tmp_path: Path) -> None:
    found = load_data(manifest(tmp_path, entry("a", case=0), entry("b", case=0), entry("c", case=None))).samples
    assert [s.case for s in found] == ["0", "0", "c"]


@pytest.mark.parametrize(
    "content",
    [
        "[]", "{}", '{"samples": 5}', '{"samples": ["a.png"]}', '{"samples": [{"image": "a.png"}]}',
        '{"samples": [{"image": 1, "mask": "m"}]}', '{"samples": [{"image": "a", "mask": "m", "split": "dev"}]}',
    ],
)  # fmt: skip
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "data.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"data\.json is no annotation file"):
        load_data(tmp_path / "data.json")


@pytest.mark.parametrize("content", ["", "{", '{"a": 1} x'])
def test_what_is_no_json_is_refused_with_the_place(tmp_path: Path, content: str) -> None:
    (tmp_path / "data.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"data\.json is no JSON file \(.* line 1 column"):
        load_data(tmp_path / "data.json")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a.png", r"a\.png is no data set: wanted its folder, its zip, or its annotation file \(JSON"),
        ("a.json", r"a\.json is no JSON file \(its bytes are no text\)"),
    ],
)
def test_an_image_is_no_data_set(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    with pytest.raises(InputError, match=sentence):
        load_data(tmp_path / name)


def test_an_image_that_is_not_there_is_named_below_its_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"samples": [{"image": "a.png", "mask": "m.png"}]}', encoding="utf-8")
    with pytest.raises(ReadError) as caught:
        load_data(tmp_path / "data.json").samples[0].read(["x"])
    assert str(caught.value).startswith(f"{tmp_path.name}/a.png: The file does not exist.")
    assert str(tmp_path) not in str(caught.value)


def test_a_manifest_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.json is not there"):
        load_data(tmp_path / "data.json")


# --- reading


def test_a_label_that_stands_twice_is_refused(disc_pairs: Path) -> None:
    with pytest.raises(InputError, match="A label stands twice among a, b, a"):
        load_data(disc_pairs, labels=["a", "b", "a"])


def test_a_sample_is_read_as_image_and_masks_on_one_grid(disc_pairs: Path) -> None:
    image, masks = load_data(disc_pairs).samples[0].read(["blob"])
    assert image.pixels.shape == (48, 64, 3)
    assert (masks.shape, masks.dtype) == ((1, 48, 64), bool)
    red = image.pixels[..., 0]
    assert red[masks[0]].mean() > red[~masks[0]].mean() + 0.2


@pytest.mark.parametrize("broken", ["images/a.png", "masks/a.png"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, broken: str) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        PIL.Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / name / "a.png")
    (tmp_path / broken).write_text("no image")
    with pytest.raises(ReadError, match=f"^{broken}: "):
        load_data(tmp_path).samples[0].read(["blob"])
