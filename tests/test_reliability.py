"""The benchmark of promises: rows go on where they were; its page says counts, breaches and what was not tried."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.reliability.__main__ import ROOT, ROWS, main
from benchmarks.reliability.page import page
from benchmarks.reliability.row import Row, Tally, read_tally


def row_of(tried: list[range], bad: int = 0) -> Row:
    def run(cases: range) -> Tally:
        tried.append(cases)
        tally = Tally()
        tally.counts.update({"right": len(cases) - bad, "WRONG": bad})
        tally.note(slowest_s=cases.stop / 2)
        return tally

    return Row("x", "U1", "a promise", "cases", 1, 10, 2, run, ("right",), ("WRONG",), {"slowest s": 2})


def test_a_row_goes_on_where_it_was_and_its_page_names_the_count_that_is_wanting(tmp_path: Path) -> None:
    tried: list[range] = []
    row = row_of(tried)
    row.advance(3, tmp_path)
    row.advance(5, tmp_path)
    assert tried == [range(2), range(2, 3), range(3, 5)]
    text = page([(row, read_tally(tmp_path / "x.json"), 10)], "release")
    assert "| 5 of 10 cases | 5 right, 0 WRONG; *slowest s 2.5 (bound 2)* |" in text
    assert not row.is_broken(read_tally(tmp_path / "x.json"))


def test_a_breach_is_bold_and_a_row_that_was_not_tried_says_so(tmp_path: Path) -> None:
    row, other = row_of([], bad=1), row_of([])
    broken = row.advance(2, tmp_path)
    text = page([(row, broken, 2), (other, Tally(), 2)], "quick")
    assert "1 right, **1 WRONG**" in text
    assert "a promise: not tried in this run" in text
    assert row.is_broken(broken)


def test_the_command_tries_a_row_and_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--quick", "--rows", "bombs", "--state", str(tmp_path), "--page", str(tmp_path / "page.md")])
    assert ended.value.code == 0, capsys.readouterr().out
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "9 of 60 bombs of 9 kinds | 9 refused in a sentence, 0 read" in text
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_a_bound_of_memory_is_judged_and_a_time_is_not(tmp_path: Path) -> None:
    row = replace(row_of([]), bounds={"slowest s": 0.1, "MB in all": 5})
    tally = row.advance(2, tmp_path)
    assert not row.is_broken(tally)
    tally.note(MB_in_all=6)
    assert row.is_broken(tally)
    assert "*slowest s 1 (bound 0.1)*; **MB in all 6 (bound 5)**" in page([(row, tally, 2)], "quick")


def test_each_claim_of_security_names_tests_and_rows_that_exist() -> None:
    claims = [
        line.split(" | ")
        for line in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines()
        if "`tests/" in line
    ]
    assert len(claims) > 15
    for _, tests, rows in claims:
        assert all((ROOT / path).exists() for path in re.findall(r"`([^`]+)`", tests)), tests
        assert set(re.findall(r"[a-z-]+", rows)) <= {row.name for row in ROWS}, rows
