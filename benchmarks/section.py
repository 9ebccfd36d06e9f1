"""A part of a page in docs/ that a command writes."""

from __future__ import annotations

from pathlib import Path


def write_section(page: Path, command: str, text: str) -> None:
    """`text` between `<!-- command -->` and `<!-- end of command -->`, which the page must have."""
    begin, end = f"<!-- {command} -->", f"<!-- end of {command} -->"
    before, opened, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        raise SystemExit(f"{page.name} has no place for the output: wanted the lines {begin} and {end}.")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
