"""What masks are made of: drawn by hand, turned with the picture, kept in a manifest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medseg.data.parts import Box, MaskFile, Part, Polygon, Runs, part_from_json, part_to_json
from medseg.errors import ReadError
from medseg.image import Image, to_upright

TRIANGLE = Polygon("a", ((1, 1), (4, 1), (1, 4)))
CORNER = np.array(
    [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
    ],
    dtype=bool,
)


def picture(height: int = 5, width: int = 6, orientation: int = 1) -> Image:
    return Image(np.zeros((height, width, 1), dtype=np.float32), orientation=orientation)


def test_a_triangle_holds_its_outline_and_what_is_inside() -> None:
    np.testing.assert_array_equal(TRIANGLE.read(picture()), CORNER)


def test_a_corner_stands_for_the_pixel_it_lies_in() -> None:
    shifted = Polygon("a", tuple((x + 0.7, y + 0.7) for x, y in TRIANGLE.points))
    np.testing.assert_array_equal(shifted.read(picture()), CORNER)


def test_a_box_covers_the_pixels_between_its_edges() -> None:
    mask = Box("a", 1, 2, 4, 3.5).read(picture())
    assert np.argwhere(mask).tolist() == [[2, 1], [2, 2], [2, 3], [3, 1], [3, 2], [3, 3]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_parts_are_drawn_on_the_stored_grid_and_turned_upright(orientation: int) -> None:
    upright = to_upright(CORNER, orientation)
    like = picture(*upright.shape, orientation)
    np.testing.assert_array_equal(TRIANGLE.read(like), upright)
    np.testing.assert_array_equal(Runs("a", "6 4 1 3 2 2 3 1", "relative", (5, 6)).read(like), upright)


@pytest.mark.parametrize("part", [Polygon("a", ((0, 0), (9, 0), (0, 3))), Box("a", 0, 0, 3, 9), Box("a", -3, 0, 3, 3)])
def test_an_annotation_of_a_larger_picture_is_refused(part: Part) -> None:
    with pytest.raises(ReadError, match=r"beyond the picture of 6 × 5 pixels"):
        part.read(picture())


def test_run_lengths_of_another_size_are_refused() -> None:
    with pytest.raises(ReadError, match=r"for 5 × 6 pixels \(width × height\), the picture has 6 × 5"):
        Runs("a", "30", "counts", (6, 5)).read(picture())


def test_a_mask_file_is_read_as_its_one_label(tmp_path: Path) -> None:
    PIL.Image.fromarray(CORNER).save(tmp_path / "m.png")
    np.testing.assert_array_equal(MaskFile("a", tmp_path / "m.png").read(picture()), CORNER)


@pytest.mark.parametrize(
    "part",
    [
        TRIANGLE,
        Polygon("b", ((0.5, 1.25), (3, 4), (5, 6), (7, 8))),
        Runs("a", "1 4"),
        Runs("a", "1 4 1", "counts", (2, 3)),
        Box("a", 1, 2, 3.5, 4),
        MaskFile("ä b", Path("/data/x/m.png")),
        MaskFile("a", Path("/elsewhere/m.png")),
    ],
)
def test_a_part_comes_back_from_json(part: Part) -> None:
    written = json.loads(json.dumps(part_to_json(part, Path("/data"))))
    assert part_from_json(written, Path("/data")) == part


@pytest.mark.parametrize(
    "entry",
    [
        {"label": "a"},
        {"label": "a", "file": "m.png", "rle": "1 2"},
        {"label": 5, "file": "m.png"},
        {"label": "a", "file": 5},
        {"label": "a", "polygon": [[0, 0], [1, 1]]},
        {"label": "a", "polygon": [[0, 0], [1, 1], [2]]},
        {"label": "a", "polygon": [[0, 0], [1, float("nan")], [2, 2]]},
        {"label": "a", "polygon": [[0, 0], [1, "1"], [2, 2]]},
        {"label": "a", "rle": "1 2", "form": "zigzag"},
        {"label": "a", "box": [1, 2, 3]},
    ],
)
def test_what_is_no_part_is_refused(entry: dict) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        part_from_json(entry, Path())
