"""Tables as csv files that a spreadsheet opens safely."""

from __future__ import annotations

from typing import Any

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def plain_cell(value: Any) -> Any:
    """`value` as a cell of a csv file that no spreadsheet takes for a formula: such a text gets an apostrophe in front.

    Names of files come from strangers, and `=HYPERLINK(…)` is a name. Numbers stay numbers, the negative ones too.
    Source: OWASP, CSV Injection.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
