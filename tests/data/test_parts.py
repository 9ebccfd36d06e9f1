"""What masks are made of: drawn by hand, turned with the image, kept in a manifest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medseg.data.manifest import Sample
from medseg.data.parts import (
    Box,
    Drawn,
    MaskFile,
    Part,
    Polygon,
    Runs,
    draw_upright,
    lies_upright,
    part_from_json,
    part_to_json,
)
from medseg.errors import ReadError
from medseg.image import Image, to_upright

TRIANGLE = Polygon("a", ((1, 1), (4, 1), (1, 4)), outlined=True)
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


SIZE = (5, 6)


def image(height: int = 5, width: int = 6, orientation: int = 1) -> Image:
    return Image(np.zeros((height, width, 1), dtype=np.float32), orientation=orientation)


def test_a_triangle_holds_its_outline_and_what_is_inside() -> None:
    np.testing.assert_array_equal(TRIANGLE.draw(SIZE), CORNER)


def test_a_corner_stands_for_the_pixel_it_lies_in() -> None:
    shifted = Polygon("a", tuple((x + 0.7, y + 0.7) for x, y in TRIANGLE.points), outlined=True)
    np.testing.assert_array_equal(shifted.draw(SIZE), CORNER)


def rows(*lines: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in line] for line in lines])


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (((1, 1), (4, 1), (4, 3), (1, 3)), rows("......", ".###..", ".###..", "......", "......")),  # 3 × 2 of 6
        (((0, 0), (6, 0), (6, 5), (0, 5)), np.ones(SIZE, bool)),
        (((1, 1), (5.1, 1), (1, 5.1)), rows("......", ".####.", ".###..", ".##...", ".#....")),
        (((0.6, 0.6), (1.4, 0.6), (1.4, 1.4), (0.6, 1.4)), np.zeros(SIZE, bool)),  # between the centres
        (
            ((0, 0), (5, 0), (5, 5), (0, 5), (0, 0), (1, 1), (4, 1), (4, 4), (1, 4), (1, 1)),
            rows("#####.", "#...#.", "#...#.", "#...#.", "#####."),
        ),  # what is enclosed twice is a hole
        (((-0.5, -0.5), (6.5, -0.5), (6.5, 5.5), (-0.5, 5.5)), np.ones(SIZE, bool)),
    ],
)
def test_a_polygon_marks_the_pixels_whose_centres_lie_inside(points: tuple, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(Polygon("a", points).draw(SIZE), expected)
    np.testing.assert_array_equal(Polygon("a", points[::-1]).draw(SIZE), expected)


def test_a_polygon_marks_as_much_as_the_area_it_encloses() -> None:
    angles = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    circle = Polygon("a", tuple((50.3 + 30 * np.cos(a), 49.8 + 30 * np.sin(a)) for a in angles))
    assert circle.draw((100, 100)).sum() == pytest.approx(np.pi * 900, rel=0.005)


def test_a_polygon_in_shares_of_the_sides_is_scaled_to_the_image() -> None:
    part = Polygon("a", ((1 / 6, 0.2), (4 / 6, 0.2), (4 / 6, 0.6), (1 / 6, 0.6)), relative=True)
    np.testing.assert_array_equal(part.draw(SIZE), rows("......", ".###..", ".###..", "......", "......"))


def test_a_box_covers_the_pixels_between_its_edges() -> None:
    mask = Box("a", 1, 2, 4, 3.5).draw(SIZE)
    assert np.argwhere(mask).tolist() == [[2, 1], [2, 2], [2, 3], [3, 1], [3, 2], [3, 3]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_parts_are_drawn_on_the_stored_grid_and_turned_upright(orientation: int) -> None:
    upright = to_upright(CORNER, orientation)
    like = image(*upright.shape, orientation)
    np.testing.assert_array_equal(draw_upright(TRIANGLE, like, upright=False), upright)
    runs = Runs("a", "6 4 1 3 2 2 3 1", "relative", (5, 6))
    np.testing.assert_array_equal(draw_upright(runs, like, upright=False), upright)


def test_upright_parts_are_drawn_as_they_are() -> None:
    np.testing.assert_array_equal(draw_upright(TRIANGLE, image(5, 6, 8), upright=True), CORNER)


@pytest.mark.parametrize(
    ("orientation", "upright", "stated", "expected"),
    [
        (1, None, None, False),
        (6, None, (5, 6), True),  # the upright image has 5 × 6, the file 6 × 5
        (6, None, (6, 5), False),
        (6, False, (5, 6), False),
        (3, True, (5, 6), True),
    ],
)
def test_the_stated_size_or_a_word_says_whether_annotations_are_upright(
    orientation: int, upright: bool | None, stated: tuple[int, int] | None, expected: bool
) -> None:
    assert lies_upright(image(5, 6, orientation), upright, stated) is expected


@pytest.mark.parametrize(("orientation", "size"), [(3, (5, 6)), (2, (5, 6)), (6, (5, 5)), (8, None), (6, (9, 9))])
def test_annotations_of_a_turned_photograph_that_say_nothing_are_refused(
    orientation: int, size: tuple[int, int] | None
) -> None:
    like = image(*(size or (5, 6)), orientation) if size != (9, 9) else image(5, 6, orientation)
    with pytest.raises(ReadError, match=rf"turned by its EXIF orientation \({orientation}\)"):
        lies_upright(like, None, size)


@pytest.mark.parametrize("part", [Polygon("a", ((0, 0), (9, 0), (0, 3))), Box("a", 0, 0, 3, 9), Box("a", -3, 0, 3, 3)])
def test_an_annotation_of_a_larger_image_is_refused(part: Drawn) -> None:
    with pytest.raises(ReadError, match=r"beyond the image of 6 × 5 pixels"):
        part.draw(SIZE)


def test_run_lengths_of_another_size_are_refused() -> None:
    with pytest.raises(ReadError, match=r"for 5 × 6 pixels \(width × height\), the image has 6 × 5"):
        Runs("a", "30", "counts", (6, 5)).draw(SIZE)


def test_a_mask_file_is_read_as_its_one_label(tmp_path: Path) -> None:
    PIL.Image.fromarray(CORNER).save(tmp_path / "m.png")
    PIL.Image.fromarray(np.zeros((5, 6), np.uint8)).save(tmp_path / "i.png")
    sample = Sample(tmp_path / "i.png", (MaskFile("a", tmp_path / "m.png"),), "c", "")
    np.testing.assert_array_equal(sample.read(["b", "a"])[1], [np.zeros_like(CORNER), CORNER])


def test_the_labels_of_a_label_map_are_the_values_that_they_name(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.array([[0, 1, 2, 9]], np.uint8)).save(tmp_path / "m.png")
    PIL.Image.fromarray(np.zeros((1, 4), np.uint8)).save(tmp_path / "i.png")
    known = (0, 1, 2, 9)
    parts = tuple(
        MaskFile(name, tmp_path / "m.png", values, known) for name, values in (("core", (2,)), ("whole", (1, 2)))
    )
    sample = Sample(tmp_path / "i.png", parts, "c", "")
    assert sample.read(["whole", "core"])[1].astype(int).tolist() == [[[0, 1, 1, 0]], [[0, 0, 1, 0]]]
    strange = Sample(tmp_path / "i.png", (MaskFile("core", tmp_path / "m.png", (2,), (0, 1, 2)),), "c", "")
    with pytest.raises(ReadError, match="The mask holds 9, and the data set does not say what that means"):
        strange.read(["core"])


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
        MaskFile("a", Path("/data/m.png"), (1, 2), (0, 1, 2)),
        MaskFile("a", Path("/data/m.png"), ((1, 2, 3),), ((1, 2, 3), (0, 0, 9))),
        Polygon("b", ((0.5, 0.25), (1, 1), (0, 1)), relative=True),
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
