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
    corrected = begun.drawn(0, grid(".#.#", "##.."))
    assert np.array_equal(corrected.masks[0], grid(".#.#", "##.."))
    assert corrected.start is begun.masks
    assert corrected.changes == [Confusion(tp=3, fp=1, fn=1, tn=3)]


def test_strokes_on_half_the_grid_leave_every_finer_outline_elsewhere() -> None:
    fine = grid("#.......", "##......", "###.....", "####....")
    begun = begin(fine[None], "binary")
    assert np.array_equal(to_grid(fine, (2, 4)), grid("#...", "##.."))
    corrected = begun.drawn(0, grid("#..#", "##.."))
    assert np.array_equal(corrected.masks[0], grid("#.....##", "##....##", "###.....", "####...."))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 30), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_no_stroke_changes_nothing_and_strokes_are_shown_as_drawn(
    height: int, width: int, more_rows: int, more_columns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    begun = begin(rng.random((1, height + more_rows, width + more_columns)) > 0.5, "binary")
    assert np.array_equal(begun.drawn(0, to_grid(begun.masks[0], (height, width))).masks, begun.masks)
    wanted = rng.random((height, width)) > 0.5
    assert np.array_equal(to_grid(begun.drawn(0, wanted).masks[0], (height, width)), wanted)


def test_paint_takes_pixels_from_other_labels_only_where_labels_exclude_each_other() -> None:
    masks = np.stack([grid("##.."), grid("..##")])
    painted = grid("###.")
    assert np.array_equal(begin(masks, "multiclass").drawn(0, painted).masks, np.stack([painted, grid("...#")]))
    assert np.array_equal(begin(masks, "multilabel").drawn(0, painted).masks, np.stack([painted, grid("..##")]))
