"""Strokes on a screen's grid become corrections on the image's own, and nothing else changes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medseg.correct import begin, to_grid
from medseg.metrics import Confusion


def grid(*rows: str) -> np.ndarray:
    """A mask written with # for its pixels."""
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_painted_and_erased_pixels_are_the_only_ones_that_change() -> None:
    begun = begin(grid("##..", "##..")[None], "binary")
    corrected = begun.drawn(0, painted=grid(".#.#", "...."), erased=grid("#.#.", "...."))
    assert np.array_equal(corrected.masks[0], grid(".#.#", "##.."))
    assert corrected.start is begun.masks
    assert corrected.changes == [Confusion(tp=3, fp=1, fn=1, tn=3)]


def test_strokes_on_half_the_grid_leave_every_finer_outline_elsewhere() -> None:
    begun = begin(grid("#.......", "##......", "###.....", "####....")[None], "binary")
    corrected = begun.drawn(0, painted=grid("...#", "...."), erased=grid("....", ".#.."))
    assert np.array_equal(corrected.masks[0], grid("#.....##", "##....##", "##......", "##......"))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 30), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_a_stroke_on_a_smaller_grid_is_shown_there_as_it_was_drawn(
    height: int, width: int, more_rows: int, more_columns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    begun = begin(np.zeros((1, height + more_rows, width + more_columns), bool), "binary")
    painted = rng.random((height, width)) > 0.5
    corrected = begun.drawn(0, painted, np.zeros_like(painted))
    assert np.array_equal(to_grid(corrected.masks[0], (height, width)), painted)


def test_paint_takes_pixels_from_other_labels_only_where_labels_exclude_each_other() -> None:
    masks, painted, nothing = np.stack([grid("##.."), grid("..##")]), grid("..#."), grid("....")
    exclusive, overlapping = (begin(masks, task).drawn(0, painted, nothing) for task in ("multiclass", "multilabel"))
    assert np.array_equal(exclusive.masks, np.stack([grid("###."), grid("...#")]))
    assert np.array_equal(overlapping.masks, np.stack([grid("###."), grid("..##")]))
