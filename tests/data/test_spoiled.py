"""An image whose only annotation cannot be used is no image without findings: it is left out and named."""

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
    assert "images of which no annotation could be used" in sentences
    assert "(1), the first: b.png" in sentences
