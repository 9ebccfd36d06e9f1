"""Which patient an image is of, by the csv files beside a data set.

Such tables come with any column names, separators and encodings, and name images by file name, stem or path. So the
column of patients is found by its name and the column of images by its values; what does not match is counted.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.data.left_out import DOUBTFUL, LeftOut, left_out
from medseg.data.listing import files_in, stem_of, walk
from medseg.data.manifest import Sample
from medseg.data.patients import of_one_patient
from medseg.errors import InputError

_CASES = (
    "case", "caseid", "patient", "patientid", "patientnumber", "patientnr", "patientname", "pid", "subject",
    "subjectid", "subjectnumber", "participant", "participantid", "ptid", "patid",
    "patientuid", "person", "personid", "sequence", "sequenceid", "study", "studyid", "lesionid", "mrn", "patientenid",
    "patienten", "patientennummer", "patientin", "proband", "fall", "fallid", "fallnummer",
)  # fmt: skip
"""Names of the column of patients, without what is no letter: the first that is there counts."""


_TEXTS = 20
"""Text files that are looked into: some layouts have one for each image."""


@dataclass(frozen=True)
class _Table:
    path: Path
    rows: list[dict[str, str]]

    def column_of_cases(self) -> str | None:
        columns = {re.sub(r"[^a-z]", "", name.lower()): name for name in (self.rows[0] if self.rows else {})}
        return next((columns[name] for name in (*_CASES[2:], *_CASES[:2]) if name in columns), None)

    def groups(self, images: str) -> bool:
        """Whether a column beside that of the `images` may be of cases: words or numbers that some images share."""
        columns = [[row.get(name) or "" for row in self.rows] for name in self.rows[0] if name != images]
        one_each = len({row.get(images) for row in self.rows}) == len(self.rows)  # else a table of objects
        return one_each and any(2 < len({*column}) < len(column) for column in columns)


_NO_PATIENT = (
    "tables that name images and have no column of a name such as patient or case: each image is taken for a case"
)

csv.field_size_limit(2**31 - 1)  # as in layouts/tables.py: a column of run lengths may stand beside that of patients


def with_cases(samples: Sequence[Sample], root: Path) -> tuple[list[Sample], tuple[LeftOut, ...]]:
    """`samples` with the cases that the csv files in `root` give, else those of `of_one_patient`; and the rows and
    images that stay without the other.

    A table counts where one of its columns is of patients. Raises InputError where two rows say different patients of
    one image.
    """
    samples = of_one_patient(samples)
    names = {name: sample for sample in samples for name in _names(sample, root)}
    cases: dict[Path, str] = {}
    spelled: dict[str, str] = {}  # p1 and P1 are one patient
    entries: tuple[LeftOut, ...] = ()
    for table in _tables(root):
        column = table.column_of_cases()
        if column is None:
            if table.rows and any(not names.keys().isdisjoint(_spellings(name)) for name in table.rows[0]):
                entries += left_out("tables without a line of column names", [table.path.name])
            elif table.rows and (images := _column_of_images(table, "", names.keys())) and table.groups(images):
                entries += left_out(_NO_PATIENT, [table.path.name], DOUBTFUL)
            continue
        image_column = _column_of_images(table, column, names.keys())
        lost = []
        for row in table.rows:
            named, case = row.get(image_column or "", ""), (row.get(column) or "").strip()
            sample = next((names[name] for name in _spellings(named) if name in names), None)
            if sample is None or not case:
                lost.append(named or case or "an empty row")
            elif cases.setdefault(sample.image, spelled.setdefault(case.casefold(), case)) != spelled[case.casefold()]:
                raise InputError(f"{table.path.name} gives {sample.image.name} two patients. Mend the table.")
        entries += left_out(f"rows of {table.path.name} that name no image here, or no {column}", lost)
    if not cases:
        return list(samples), entries
    alone = [sample for sample in samples if sample.case == stem_of(sample.image)]
    single = {sample.image.name for sample in alone if sample.image not in cases}
    entries += left_out("images without a patient in the csv file: each is taken for a case of its own", single)
    return [replace(sample, case=cases.get(sample.image, sample.case)) for sample in samples], entries


def _names(sample: Sample, root: Path) -> list[str]:
    """All that a table may call a sample: path, file name and stem of its image and of its mask file."""
    files = sample.files
    return [
        _plain(name)
        for path in reversed(files)  # the image's own names win over those of a mask
        for name in (*_tails(path, root), *_tails(path.with_name(stem_of(path)), root))
    ]


def _tails(path: Path, root: Path) -> list[str]:
    parts = path.relative_to(root).parts if path.is_relative_to(root) else (path.name,)
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _spellings(named: str) -> list[str]:
    """What a row may mean by a name: the path, its ends where it is of another machine, or the stem of the file."""
    parts = _plain(named).split("/")
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    return [*ends, *(end.rsplit(".", 1)[0] for end in ends)]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/").removeprefix("./").lower())


def _column_of_images(table: _Table, of_cases: str, names: Iterable[str]) -> str | None:
    """The column whose values name the most images, None where none names any. It may be that of patients too."""
    known = set(names)
    columns = [name for name in table.rows[0] if name != of_cases]
    counts = {
        name: sum(not known.isdisjoint(_spellings(row.get(name) or "")) for row in table.rows) for name in columns
    }
    best = max(counts, key=lambda name: counts[name], default=None)
    return best if best is not None and counts[best] else None


def _tables(root: Path) -> list[_Table]:
    """The csv files at any depth, and text files of the folder itself that may be tables."""
    paths = [path for path in walk(root) if path.suffix.lower() in (".csv", ".tsv")]
    texts = [path for path in files_in(root, "*.txt")[:_TEXTS] if len(_rows(path)) > 1 and len(_rows(path)[0]) > 1]
    return [_Table(path, _rows(path)) for path in (*paths, *texts)]


def _rows(path: Path) -> list[dict[str, str]]:
    lines = read_text(path).splitlines()
    if lines and re.fullmatch(r'"?sep=.?"?', lines[0].strip()):  # Excel's own line
        del lines[0]
    if not lines:
        return []
    separator = max(",;\t", key=lines[0].count)
    return [
        {(k or "").strip(): v or "" for k, v in row.items() if k} for row in csv.DictReader(lines, delimiter=separator)
    ]


def read_text(path: Path) -> str:
    """The text of a table in any encoding that Excel writes: UTF-8, UTF-16 with their mark, or that of Windows."""
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")
