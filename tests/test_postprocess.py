"""From probabilities to masks, on images drawn in text: `#` is inside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from medseg.config import Cleanup
from medseg.errors import InputError
from medseg.postprocess import clean_up, to_label_map, to_masks

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=8))


def drawn(*rows: str) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def cleaned(mask: np.ndarray, **asked: bool | int) -> np.ndarray:
    return clean_up(mask[None], Cleanup(**asked), "binary")[0]


def test_a_probability_equal_to_the_threshold_is_inside() -> None:
    probabilities = np.array([[[0.49, 0.5, 0.51]]], dtype=np.float32)
    assert to_masks(probabilities, 0.5, "binary").tolist() == [[[False, True, True]]]


def test_multilabel_labels_may_overlap() -> None:
    probabilities = np.array([[[0.9, 0.2]], [[0.8, 0.1]]], dtype=np.float32)
    assert to_masks(probabilities, 0.5, "multilabel").tolist() == [[[True, False]], [[True, False]]]


def test_labels_that_are_decided_alone_may_have_a_threshold_each() -> None:
    probabilities = np.array([[[0.3, 0.2]], [[0.8, 0.7]]], dtype=np.float32)
    assert to_masks(probabilities, (0.3, 0.8), "multilabel").tolist() == [[[True, False]], [[True, False]]]


def test_multiclass_gives_a_foreground_pixel_to_its_most_probable_label() -> None:
    # Left to right: torn between two labels but surely not background; background; the second label; a tie.
    probabilities = np.array([[[0.45, 0.25, 0.1, 0.5]], [[0.40, 0.2, 0.7, 0.5]]], dtype=np.float32)
    masks = to_masks(probabilities, 0.5, "multiclass")
    assert masks.tolist() == [[[True, False, False, True]], [[False, False, True, False]]]


@given(
    hnp.arrays(np.float32, (3, 4, 5), elements=st.floats(0, 1, width=32)),
    st.floats(0.01, 0.99),
)
def test_multiclass_masks_never_overlap(values: np.ndarray, threshold: float) -> None:
    masks = to_masks(values / 3, threshold, "multiclass")
    assert masks.sum(axis=0).max() <= 1
    np.testing.assert_array_equal(masks.any(axis=0), (values / 3).sum(axis=0) >= threshold)


def test_nothing_asked_changes_nothing() -> None:
    masks = drawn("#.#", "...")[None]
    assert clean_up(masks, Cleanup(), "binary") is masks


def test_holes_are_filled_but_bays_open_to_the_border_are_not() -> None:
    mask = drawn(
        ".###..",
        "#..#.#",
        ".##.##",
        "....##",
        "..#..#",
    )
    filled = drawn(
        ".###..",
        "####.#",
        ".##.##",
        "....##",
        "..#..#",
    )
    np.testing.assert_array_equal(cleaned(mask, fill_holes=True), filled)


def test_a_multiclass_hole_that_holds_another_label_stays() -> None:
    ring = drawn("#####", "#...#", "#...#", "#...#", "#####")
    core = drawn(".....", ".###.", ".#.#.", ".###.", ".....")
    exclusive = clean_up(np.stack([ring, core]), Cleanup(fill_holes=True), "multiclass")
    np.testing.assert_array_equal(exclusive[0], ring)
    assert exclusive[1].sum() == 9  # its own hole belongs to nobody else
    overlapping = clean_up(np.stack([ring, core]), Cleanup(fill_holes=True), "multilabel")
    assert overlapping[0].all()


def test_components_touch_at_corners() -> None:
    kept = cleaned(drawn("#....", "..#..", ".#..."), largest_component=True)
    np.testing.assert_array_equal(kept, drawn(".....", "..#..", ".#..."))


def test_the_first_of_equal_components_stays() -> None:
    kept = cleaned(drawn("..#", "...", "#.."), largest_component=True)
    np.testing.assert_array_equal(kept, drawn("..#", "...", "..."))


def test_components_of_exactly_the_smallest_area_stay() -> None:
    kept = cleaned(drawn("##.#", "...#", "#..#"), min_area_px=2)
    np.testing.assert_array_equal(kept, drawn("##.#", "...#", "...#"))
    assert not cleaned(drawn("##"), min_area_px=3).any()


def test_the_largest_component_may_still_be_too_small() -> None:
    assert not cleaned(drawn("##.#"), largest_component=True, min_area_px=3).any()


def test_holes_are_filled_before_areas_are_compared() -> None:
    mask = drawn("###......", "#.#.#####", "###.####.")  # a ring of 8, or 9 when filled, beside a bar of 9
    np.testing.assert_array_equal(
        cleaned(mask, fill_holes=True, largest_component=True), drawn("###......", "###......", "###......")
    )
    assert not cleaned(mask, largest_component=True)[0].any()


@given(MASKS)
def test_filled_holes_are_those_of_scipy(masks: np.ndarray) -> None:
    expected = np.stack([ndimage.binary_fill_holes(mask) for mask in masks])
    np.testing.assert_array_equal(clean_up(masks, Cleanup(fill_holes=True), "multilabel"), expected)


@given(hnp.arrays(np.uint8, (8, 8), elements=st.integers(0, 3)), st.integers(0, 4), st.booleans())
def test_exclusive_labels_stay_exclusive(label_map: np.ndarray, area: int, largest: bool) -> None:
    masks = np.stack([label_map == value for value in (1, 2, 3)])
    found = clean_up(masks, Cleanup(area, fill_holes=True, largest_component=largest), "multiclass")
    assert found.sum(axis=0).max() <= 1


@given(MASKS, st.integers(0, 5), st.booleans(), st.booleans())
def test_cleaning_up_twice_changes_nothing_more(masks: np.ndarray, area: int, holes: bool, largest: bool) -> None:
    cleanup = Cleanup(area, holes, largest)
    once = clean_up(masks, cleanup, "multilabel")
    np.testing.assert_array_equal(clean_up(once, cleanup, "multilabel"), once)


def test_a_label_map_shows_the_later_of_overlapping_labels() -> None:
    label_map = to_label_map(np.stack([drawn("##."), drawn(".#."), drawn("...")]))
    assert label_map.dtype == np.uint8
    assert label_map.tolist() == [[1, 2, 0]]


@given(hnp.arrays(np.uint8, (5, 4), elements=st.integers(0, 3)))
def test_exclusive_masks_come_back_from_a_label_map(label_map: np.ndarray) -> None:
    np.testing.assert_array_equal(to_label_map(np.stack([label_map == value for value in (1, 2, 3)])), label_map)


def test_more_labels_than_a_byte_counts_are_refused() -> None:
    with pytest.raises(InputError, match="255 labels at most, got 256"):
        to_label_map(np.zeros((256, 1, 1), dtype=bool))
