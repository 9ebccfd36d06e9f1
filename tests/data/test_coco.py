"""COCO instance JSON, in and out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from medseg.data.coco import read_coco, write_coco
from medseg.data.manifest import Sample
from medseg.data.parts import Box, Polygon
from medseg.data.rle import encode_rle, pack_counts
from medseg.data.samples import load_data
from medseg.errors import InputError, MedsegWarning
from tests.conftest import disc
from tests.data_sets import SIZE, SMALL, TALL, chestx_det, class_folders, save, scene


def instances(*annotations: dict[str, Any]) -> dict[str, Any]:
    numbered = [{"id": i, "image_id": 1, "category_id": 3, **entry} for i, entry in enumerate(annotations)]
    image = {"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}
    return {"images": [image], "annotations": numbered, "categories": [{"id": 3, "name": "nucleus"}]}


def written(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


COUNTS = [int(count) for count in encode_rle(TALL, "counts").split()]
BOX_OUTLINE = [10.0, 4.0, 20.0, 4.0, 20.0, 9.0, 10.0, 9.0]


def test_instances_of_polygons_and_run_lengths_are_united(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", scene())
    for counts in (COUNTS, pack_counts(COUNTS)):
        content = instances(
            {"segmentation": [BOX_OUTLINE], "bbox": [10, 4, 10, 5]},
            {"segmentation": {"size": list(SIZE), "counts": counts}},
        )
        (sample,) = load_data(written(tmp_path / "annotations" / "instances_x.json", content)).samples
        np.testing.assert_array_equal(sample.read(["nucleus"])[1], [SMALL | TALL])
        assert sample.boxes == (Box("nucleus", 10, 4, 20, 9),)


def test_a_folder_with_one_instance_file_is_a_data_set(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", scene())
    written(tmp_path / "annotations" / "instances.json", instances())
    assert load_data(tmp_path).layout == "coco"
    written(tmp_path / "annotations" / "more.json", instances())
    with pytest.raises(InputError, match=r"a.png is in instances\.json and in more\.json: name the file"):
        load_data(tmp_path)


def test_several_instance_files_are_the_splits_that_they_name(tmp_path: Path) -> None:
    for split, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        save(tmp_path / folder / "a.png", scene(len(folder)))
        content = instances({"segmentation": [BOX_OUTLINE]})
        content["categories"] = [
            {"id": 0, "name": "nuclei-xy", "supercategory": "none"},
            {"id": 3, "name": "nucleus", "supercategory": "nuclei-xy"},
        ]
        written(tmp_path / folder / "_annotations.coco.json", content)
        content["images"][0]["file_name"] = f"{split}.png"
        save(tmp_path / "flat" / "images" / f"{split}.png", scene(len(folder)))
        written(tmp_path / "flat" / "annotations" / f"instances_{split}.json", content)
    shutil.move(tmp_path / "flat", tmp_path.parent / f"{tmp_path.name}-flat")
    for root in (tmp_path, tmp_path.parent / f"{tmp_path.name}-flat"):
        loaded = load_data(root)
        assert (loaded.layout, loaded.labels) == ("coco", ("nucleus",))  # Roboflow's first category is none
        assert sorted(sample.split for sample in loaded.samples) == ["test", "train", "val"]
        assert all(sample.read(["nucleus"])[1].sum() == SMALL.sum() for sample in loaded.samples)


def test_what_is_written_reads_back_to_the_same_masks(tmp_path: Path) -> None:
    for stem in "ab":
        save(tmp_path / "images" / f"{stem}.png", scene(ord(stem)))
        save(tmp_path / "masks" / f"{stem}.png", disc(SIZE, (12, 14), 5 + ord(stem) % 2))
    samples = load_data(tmp_path).samples
    write_coco(samples, ["blob"], tmp_path / "out.json")
    again = read_coco(tmp_path / "out.json").samples
    assert [(s.image, s.case, s.split) for s in again] == [(s.image, s.case, s.split) for s in samples]
    for before, after in zip(samples, again, strict=True):
        np.testing.assert_array_equal(before.read(["blob"])[1], after.read(["blob"])[1])


def test_overlapping_class_folders_survive_the_round_trip(tmp_path: Path) -> None:
    class_folders(tmp_path)
    found = load_data(tmp_path, quiet=True)
    write_coco(found.samples, found.labels, tmp_path / "out.json")
    for before, after in zip(found.samples, read_coco(tmp_path / "out.json").samples, strict=True):
        np.testing.assert_array_equal(before.read(found.labels)[1], after.read(found.labels)[1])


def test_polygons_stay_polygons(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", scene())
    content = instances({"segmentation": [BOX_OUTLINE, [1, 1, 4, 1, 1, 4]]})
    samples = load_data(written(tmp_path / "in.json", content)).samples
    write_coco(samples, ["nucleus"], tmp_path / "out.json")
    assert [s.mask for s in read_coco(tmp_path / "out.json").samples] == [s.mask for s in samples]
    first = json.loads((tmp_path / "out.json").read_text())["annotations"][0]
    assert (first["area"], first["bbox"], first["segmentation"]) == (SMALL.sum(), [10, 4, 10, 5], [BOX_OUTLINE])


def test_outlines_of_another_convention_become_run_lengths_of_the_same_mask(tmp_path: Path) -> None:
    chestx_det(tmp_path)
    loaded = load_data(tmp_path)
    write_coco(loaded.samples, loaded.labels, tmp_path / "out.json")
    for before, after in zip(loaded.samples, read_coco(tmp_path / "out.json").samples, strict=True):
        np.testing.assert_array_equal(before.read(loaded.labels)[1], after.read(loaded.labels)[1])


@pytest.mark.parametrize("upright", [True, False])
def test_polygons_on_a_turned_photograph_come_back_on_their_grid(tmp_path: Path, upright: bool) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 3
    PIL.Image.fromarray(scene()).save(tmp_path / "a.jpg", exif=exif)
    part = Polygon("a", ((1, 1), (9, 1), (9, 5), (1, 5)))
    sample = Sample(tmp_path / "a.jpg", (part,), "a", "", upright=upright)
    write_coco([sample], ["a"], tmp_path / "out.json")
    (again,) = read_coco(tmp_path / "out.json").samples
    assert (again.upright, again.mask) == (upright, (part,))
    rows, columns = np.nonzero(again.read(["a"])[1][0])
    assert (rows.min(), columns.min()) == ((1, 1) if upright else (24 - 5, 32 - 9))


def test_images_of_parts_that_are_not_asked_for_have_no_annotation(tmp_path: Path) -> None:
    save(tmp_path / "a.png", scene())
    outline = Polygon("b", ((1, 1), (4, 1), (1, 4)))
    write_coco([Sample(tmp_path / "a.png", (outline,), "a", "")], ["a"], tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["annotations"] == []


@pytest.mark.parametrize(
    "broken",
    [
        {"image_id": 9, "segmentation": [BOX_OUTLINE]},
        {"category_id": 9, "segmentation": [BOX_OUTLINE]},
        {"segmentation": [[1, 2, 3, 4]]},
        {"segmentation": {"counts": [1, 2]}},
        {"segmentation": {"size": [1], "counts": [1, 2]}},
        {"bbox": [1, 2, 3]},
    ],
)
def test_an_annotation_that_cannot_be_drawn_is_left_out_and_named(tmp_path: Path, broken: dict[str, Any]) -> None:
    path = written(tmp_path / "c.json", instances({"segmentation": [BOX_OUTLINE]}, broken))
    loaded = read_coco(path)
    first, *others = map(str, loaded.left_out)
    assert "annotations that are no polygon" in first
    assert "(1), the first: annotation 1 of " in first
    if broken.get("image_id") == 9:
        assert loaded.samples[0].mask == (Polygon("nucleus", ((10, 4), (20, 4), (20, 9), (10, 9))),)
    else:  # what is left of its image would be incomplete
        assert not loaded.samples
        assert "images with an annotation that cannot be used" in others[0]


def test_boxes_without_an_outline_mark_nothing_and_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "c.json", instances({"bbox": [1, 2, 3, 4]}, {"bbox": [1, 2, 3, 4], "segmentation": []}))
    words = (
        r"a box and no outline, which mark nothing \(2\).* images with bounding boxes and no outline \(1\), .* a\.png"
    )
    with pytest.raises(InputError, match=f"no samples.*{words}"):
        load_data(path)
    save(tmp_path / "a.png", scene())
    with pytest.warns(MedsegWarning, match="which mark nothing"):
        (sample,) = load_data(path, boxes=True).samples
    assert sample.read(["nucleus"])[1].sum() == 12


@pytest.mark.parametrize("content", ['{"images": [{}], "annotations": [], "categories": []}', "[1"])
def test_a_file_that_does_not_hold_together_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(InputError, match=r"c\.json is no (COCO instance file that holds together|JSON file)"):
        load_data(tmp_path / "c.json")


def test_a_byte_order_mark_before_json_is_none_of_it(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", scene())
    path = tmp_path / "c.json"
    path.write_text("\ufeff" + json.dumps(instances({"segmentation": [BOX_OUTLINE]})), encoding="utf-8")
    assert load_data(path).samples[0].read(["nucleus"])[1].sum() == SMALL.sum()
