"""Tables as csv files that a spreadsheet opens safely. The only writer of csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]]) -> None:
    """Write `rows` under `columns`, each a sequence or a mapping by column; None and what is missing is empty."""
    path.write_bytes(csv_text(columns, rows).encode())


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]]) -> str:
    """As `write_csv` writes it; a text that a spreadsheet would take for a formula gets an apostrophe in front."""
    stream = io.StringIO()
    table = csv.writer(stream)
    table.writerow(columns)
    for row in rows:
        cells = [row.get(column) for column in columns] if isinstance(row, Mapping) else row
        table.writerow([plain_cell(cell) for cell in cells])
    return stream.getvalue()


def plain_cell(value: Any) -> Any:
    """`value` as a cell of a csv file that no spreadsheet takes for a formula: such a text gets an apostrophe in front.

    Names of files come from strangers, and `=HYPERLINK(…)` is a name. Numbers stay numbers, the negative ones too.
    Source: OWASP, CSV Injection.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
