"""The images that `benchmarks/coverage.py` draws are counted as any others are."""

import numpy as np

from benchmarks.coverage import Cell, figures, sets, table
from benchmarks.drawn import Lines, draw
from medseg.fitting.baseline import prior_counts
from medseg.fitting.fit import fit
from medseg.fitting.histogram import to_histograms
from medseg.fitting.measure import Measure
from medseg.fitting.observations import Observations


def test_drawn_images_are_counted_as_their_histograms_are() -> None:
    stack, truth = draw(np.random.default_rng(3), "graded", 3, 20)
    lines = Lines.drawn((stack, truth))
    whole = Observations(
        tuple(to_histograms(s[:, None, None], t[None, None], "binary") for s, t in zip(stack, truth, strict=True)),
        prior_counts(truth[:, None, None], lines.cases),
        lines.cases,
        "val",
        "binary",
    )
    for member in np.eye(3).tolist():
        assert np.array_equal(lines.curves(range(20), tuple(member)), whole.curves(range(20), tuple(member)))
    assert lines.baseline(range(10), Measure()) == whole.baseline(range(10), Measure())
    assert (lines.members, lines.positives) == (whole.members, whole.positives)
    ours, theirs = fit(lines), fit(whole)
    assert (
        ours.fitted.mean == np.float64(theirs.fitted.mean).round(12)
        or abs(ours.fitted.mean - theirs.fitted.mean) < 0.01
    )
    assert ours.recommended == theirs.recommended


def test_a_table_says_what_holds_and_what_is_lost(tmp_path) -> None:  # type: ignore[no-untyped-def]
    one = {"members": 3, "kind": "equal", "images": 12, "number": 1, **figures(Cell(3, "equal", 12), 1)}
    lost = {**one, "number": 2, "lost": 0.03, "figures": {name: [0.5, 0.4, 0.6, None, 0.7] for name in one["figures"]}}
    lines = table([one, lost]).splitlines()
    assert " | 1 | " in lines[2]
    assert "1 (50.00%)" in lines[-1]
    (tmp_path / "state").write_text('{"members": 3}\n{"mem')
    assert sets(tmp_path / "state") == [{"members": 3}]
