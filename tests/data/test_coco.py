"""COCO instance JSON, in and out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.data.coco import read_coco, write_coco
from medseg.data.manifest import Sample
from medseg.data.parts import Box, Polygon
from medseg.data.rle import encode_rle, pack_counts
from medseg.data.samples import load_data
from medseg.errors import InputError
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
BOX_OUTLINE = [10.0, 4.0, 19.0, 4.0, 19.0, 8.0, 10.0, 8.0]


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
    with pytest.raises(InputError, match="holds 2 JSON files: name the one"):
        load_data(tmp_path)


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
    found = load_data(tmp_path)
    write_coco(found.samples, found.labels, tmp_path / "out.json")
    for before, after in zip(found.samples, read_coco(tmp_path / "out.json").samples, strict=True):
        np.testing.assert_array_equal(before.read(found.labels)[1], after.read(found.labels)[1])


def test_polygons_stay_polygons(tmp_path: Path) -> None:
    chestx_det(tmp_path)
    found = load_data(tmp_path)
    write_coco(found.samples, found.labels, tmp_path / "out.json")
    assert [s.mask for s in read_coco(tmp_path / "out.json").samples] == [s.mask for s in found.samples]
    first = json.loads((tmp_path / "out.json").read_text())["annotations"][0]
    assert (first["area"], first["bbox"], first["segmentation"]) == (SMALL.sum(), [10, 4, 10, 5], [BOX_OUTLINE])


def test_pictures_of_parts_that_are_not_asked_for_have_no_annotation(tmp_path: Path) -> None:
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
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, broken: dict[str, Any]) -> None:
    path = written(tmp_path / "c.json", instances(broken))
    with pytest.raises(InputError, match=r"c\.json is no COCO instance file that holds together"):
        load_data(path)
