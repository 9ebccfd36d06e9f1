"""Thresholds all at once are thresholds one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg.config import Task
from medseg.fitting.thresholds import THRESHOLDS, decision_values, threshold_counts
from medseg.metrics import confusion
from medseg.postprocess import to_masks

TASKS: tuple[Task, ...] = ("binary", "multilabel", "multiclass")
GRID = st.sampled_from([*THRESHOLDS.tolist(), *np.linspace(0, 1, 21).tolist(), 0.333, 0.999])


@st.composite
def probabilities(draw: st.DrawFn, task: Task) -> np.ndarray:
    labels = 1 if task == "binary" else draw(st.integers(1, 3))
    shape = (labels, draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    values = draw(hnp.arrays(np.float32, shape, elements=GRID.map(np.float32)))
    return values / np.maximum(values.sum(axis=0), 1) if task == "multiclass" else values


@pytest.mark.parametrize("task", TASKS)
@given(st.data())
def test_decision_values_give_the_masks_of_every_threshold(task: Task, data: st.DataObject) -> None:
    values = data.draw(probabilities(task))
    decided = decision_values(values, task)
    for threshold in THRESHOLDS.tolist():
        assert np.array_equal(decided >= threshold, to_masks(values, threshold, task))


@pytest.mark.parametrize("task", TASKS)
@given(st.data())
def test_threshold_counts_are_those_of_the_masks(task: Task, data: st.DataObject) -> None:
    values = data.draw(probabilities(task))
    truth = data.draw(hnp.arrays(bool, values.shape))
    found = threshold_counts(decision_values(values, task), truth)
    for t, threshold in enumerate(THRESHOLDS.tolist()):
        each = [confusion(m, true) for m, true in zip(to_masks(values, threshold, task), truth, strict=True)]
        assert found[:, t].tolist() == [[c.tp, c.tp + c.fp, c.tp + c.fn] for c in each]


def test_a_threshold_parts_the_float_at_it_from_the_one_below() -> None:
    at = THRESHOLDS.astype(np.float32)
    for values, reached in ((at, 1), (np.nextafter(at, np.float32(0)), 0)):
        for t in range(len(at)):
            found = threshold_counts(values[t].reshape(1, 1, 1), np.ones((1, 1, 1), bool))
            assert found[0, t].tolist() == [reached, reached, 1]
