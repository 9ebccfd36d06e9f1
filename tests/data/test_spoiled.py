"""An image with an annotation that cannot be used is left out and named: what remains of its mask is incomplete."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.data.samples import load_data
from medseg.errors import MedsegWarning
from tests.data_sets import save, scene, write_json

GOOD, FLAT = [[10, 4], [20, 4], [20, 9]], [[10, 4], [20, 4], [15, 4]]
"""A triangle, and one without an inside."""


def flat(points: list[list[int]]) -> list[int]:
    return [value for point in points for value in point]


def coco(root: Path, outlines: dict[str, list[list[int]] | None]) -> None:
    images = [{"id": i, "file_name": f"{stem}.png", "height": 24, "width": 32} for i, stem in enumerate(outlines)]
    drawn = [(i, points) for i, points in enumerate(outlines.values()) if points]
    annotations = [{"id": i, "image_id": i, "category_id": 1, "segmentation": [flat(points)]} for i, points in drawn]
    write_json(root / "c.json", {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]})


def labelme(root: Path, outlines: dict[str, list[list[int]] | None]) -> None:
    for stem, points in outlines.items():
        shapes = [{"label": "x", "points": points, "shape_type": "polygon"}] if points else []
        content = {"shapes": shapes, "imagePath": f"{stem}.png", "imageHeight": 24, "imageWidth": 32}
        write_json(root / f"{stem}.json", content)


def cvat(root: Path, outlines: dict[str, list[list[int]] | None]) -> None:
    def entry(stem: str, points: list[list[int]] | None) -> str:
        text = ";".join(f"{x},{y}" for x, y in points or ())
        shape = f'<polygon label="x" points="{text}"/>' if points else '<tag label="normal"/>'
        return f'<image name="{stem}.png" height="24" width="32">{shape}</image>'

    entries = "".join(entry(stem, points) for stem, points in outlines.items())
    (root / "annotations.xml").write_text(f"<annotations>{entries}</annotations>")


def via(root: Path, outlines: dict[str, list[list[int]] | None]) -> None:
    def region(points: list[list[int]]) -> dict[str, Any]:
        xs, ys = zip(*points, strict=True)
        shape = {"name": "polygon", "all_points_x": list(xs), "all_points_y": list(ys)}
        return {"shape_attributes": shape, "region_attributes": {"label": "x"}}

    entries = {s: {"filename": f"{s}.png", "regions": [region(p)] if p else []} for s, p in outlines.items()}
    write_json(root / "v.json", entries)


def label_studio(root: Path, outlines: dict[str, list[list[int]] | None]) -> None:
    def task(stem: str, points: list[list[int]] | None) -> dict[str, Any]:
        place = {"original_width": 32, "original_height": 24}
        value = {"points": points, "polygonlabels": ["x"]}
        shapes = [{"type": "polygonlabels", "value": value, **place}] if points else []
        return {"data": {"image": f"{stem}.png"}, "annotations": [{"result": shapes}]}

    (root / "l.json").write_text(json.dumps([task(stem, points) for stem, points in outlines.items()]))


def yolo(root: Path, outlines: dict[str, list[list[int]] | None]) -> None:
    for stem, points in outlines.items():
        save(root / "images" / f"{stem}.png", scene(ord(stem)))
        (root / "labels").mkdir(exist_ok=True)
        shares = " ".join(f"{x / 32} {y / 24}" for x, y in points or ())
        (root / "labels" / f"{stem}.txt").write_text(f"0 {shares}" if points else "")
        (root / f"{stem}.png").unlink()


@pytest.mark.parametrize("write", [coco, labelme, cvat, via, label_studio, yolo])
def test_an_image_whose_only_polygon_is_faulty_is_left_out(tmp_path: Path, write: Callable[..., None]) -> None:
    for stem in "abc":
        save(tmp_path / f"{stem}.png", scene(ord(stem)))
    write(tmp_path, {"a": GOOD, "b": FLAT, "c": None})
    with pytest.warns(MedsegWarning) as said:
        samples = load_data(tmp_path).samples
    assert {sample.image.name: len(sample.parts) for sample in samples} == {"a.png": 1, "c.png": 0}
    sentences = " ".join(str(warning.message) for warning in said)
    assert "a polygon that encloses nothing" in sentences or write is coco
    assert "images with an annotation that cannot be used" in sentences
    assert "(1), the first: b.png" in sentences


@pytest.mark.filterwarnings("ignore::medseg.errors.MedsegWarning")
def test_an_image_of_which_one_polygon_is_faulty_and_another_is_not_is_left_out(tmp_path: Path) -> None:
    sides = {"imageHeight": 24, "imageWidth": 32}
    shapes = [{"label": "x", "points": points, "shape_type": "polygon"} for points in (GOOD, FLAT)]
    for stem, drawn in (("a", shapes[:1]), ("b", shapes)):
        save(tmp_path / "l" / f"{stem}.png", scene(ord(stem)))
        save(tmp_path / "y" / "images" / f"{stem}.png", scene(ord(stem)))
        save(tmp_path / "c" / f"{stem}.png", scene(ord(stem)))
        write_json(tmp_path / "l" / f"{stem}.json", {"shapes": drawn, "imagePath": f"{stem}.png", **sides})
    (tmp_path / "y" / "labels").mkdir()
    for stem, text in (("a", "0 .1 .1 .5 .1 .5 .5\n"), ("b", "0 .1 .1 .5 .1 .5 .5\n0 .1 .1 .5\n")):
        (tmp_path / "y" / "labels" / f"{stem}.txt").write_text(text)
    images = [{"id": i, "file_name": f"{stem}.png", "height": 24, "width": 32} for i, stem in enumerate("ab")]
    drawn = [(0, flat(GOOD)), (1, flat(GOOD)), (1, [1, 2, 3]), ([1], flat(GOOD))]  # the last of no image at all
    annotations = [{"id": n, "image_id": i, "category_id": 1, "segmentation": [p]} for n, (i, p) in enumerate(drawn)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}
    write_json(tmp_path / "c" / "c.json", content)
    for folder in "lyc":
        loaded = load_data(tmp_path / folder)
        assert [sample.image.name for sample in loaded.samples] == ["a.png"], folder
        assert any(entry.what.startswith("images with an annotation that cannot") for entry in loaded.left_out)
