"""Tables of patients, in the spellings that strangers use: matched, or said to be of no use."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.data.samples import load_data
from tests.conftest import write_disc_pair

ROWS = [(f"case{number}", f"P{number // 3}") for number in range(6)]


def loaded(folder: Path, name: str, text: str) -> tuple[set[str], str]:
    """The cases of six pairs beside a table, and what is said to be left out."""
    for number in range(6):
        write_disc_pair(folder, f"case{number}", number)
    (folder / name).write_text(text, encoding="utf-8")
    found = load_data(folder)
    return {sample.case for sample in found.samples}, " ".join(map(str, found.left_out))


@pytest.mark.filterwarnings("ignore::medseg.errors.MedsegWarning")
@pytest.mark.parametrize(
    ("name", "head", "row"),
    [
        ("Cases.CSV", "image,patient", "{0}.png,{1}"),
        ("patients.csv", "image,patient_nr", "{0}.png,{1}"),
        ("patients.csv", "file,patient", "C:\\data\\images\\{0}.png,{1}"),
        ("patients.csv", "file,patient", "{0}.jpg,{1}"),
    ],
)
def test_rows_find_their_images_in_any_spelling(tmp_path: Path, name: str, head: str, row: str) -> None:
    cases, _ = loaded(tmp_path, name, "\n".join([head, *(row.format(*pair) for pair in ROWS)]))
    assert cases == {"P0", "P1"}


@pytest.mark.filterwarnings("ignore::medseg.errors.MedsegWarning")
def test_a_table_without_column_names_is_said(tmp_path: Path) -> None:
    cases, said = loaded(tmp_path, "patients.csv", "\n".join(f"{image}.png,{patient}" for image, patient in ROWS))
    assert len(cases) == 6
    assert "tables without a line of column names" in said
    assert "patients.csv" in said
