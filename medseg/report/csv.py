"""Tables as csv files that a spreadsheet opens safely."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def plain_cell(value: Any) -> Any:
    """`value` as a cell of a csv file that no spreadsheet takes for a formula: such a text gets an apostrophe in front.

    Names of files come from strangers, and `=HYPERLINK(…)` is a name. Numbers stay numbers, the negative ones too.
    Source: OWASP, CSV Injection.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `rows` under `columns`, with safe cells; a column that a row does not have stays empty."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, columns)
        table.writeheader()
        table.writerows({name: plain_cell(cell) for name, cell in row.items()} for row in rows)
