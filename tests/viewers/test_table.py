"""The guide's table of readers: how many sources each opens, and what becomes of the others."""

from __future__ import annotations

from benchmarks.viewers import BEGIN, END, GUIDE, Cell, page


def test_the_table_counts_sources_and_says_what_becomes_of_the_others() -> None:
    tried = [Cell(source, "seg", False, "OHIF", figure) for source, figure in (("cr", "0.991"), ("us", "0.959"))]
    tried += [Cell("cr", "seg", True, "OHIF", "no area"), Cell("cr", "seg", True, "dcmqi", "crashes", failed=True)]
    tried += [Cell("cr", "map", False, "OHIF", "colours"), Cell("us", "map", False, "OHIF", "black", failed=True)]
    lines = page(tried).splitlines()
    assert "| mask (SEG) | – | – | – | – | – | 2 of 2 |" in lines
    assert "| mask (SEG), nothing found | – | – | 0 of 1; crashes | – | – | 1 of 1; no area |" in lines
    assert "| parametric map | – | – | – | – | – | 1 of 2; colours; black: us |" in lines
    assert lines[-2:] == ["| cr | 0.991 |", "| us | 0.959 |"]


def test_the_guide_has_a_place_for_it() -> None:
    assert GUIDE.read_text(encoding="utf-8").partition(BEGIN)[2].count(END) == 1
