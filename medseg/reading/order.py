"""The slices of one series, in order, with what is missing, doubled or not known said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

_SAME_MM = 0.01
"""Nearer to each other two slices lie at one place: no scanner moves in smaller steps."""

_GAP = 1.5
"""More of the usual distance between two slices is a gap."""

_NAMED = 8
"""So many missing or doubled slices are named, the rest is counted."""


@dataclass(frozen=True)
class Slice:
    """One DICOM file of a series, as `dicom_slice.read_slice` describes it: in mm, None where it is silent."""

    path: str
    rows: int | None
    columns: int | None
    samples: int | None
    frames: int
    series: str | None
    instance: str | None
    description: str
    modality: str | None
    series_number: int | None
    number: int | None
    position: Sequence[float] | None
    orientation: Sequence[float] | None
    spacing: Sequence[float] | None
    window: tuple[float, float] | None
    lut: bool

    @cached_property
    def _normal(self) -> np.ndarray[Any, Any] | None:
        """The direction across the slice in which its series is counted: to the head, the left or the back."""
        if self.orientation is None:
            return None
        across = np.cross(self.orientation[:3], self.orientation[3:])
        length = float(np.linalg.norm(across))
        if not 0.9 < length < 1.1:
            return None
        return across / length * (1 if across[np.argmax(np.abs(across))] > 0 else -1)

    @property
    def direction(self) -> tuple[float, ...] | None:
        """The normal, rounded so that the slices of one stack share it."""
        return None if self._normal is None else tuple((np.round(self._normal, 2) + 0.0).tolist())

    @property
    def place(self) -> float | None:
        """Where the slice lies along the normal (PS3.3 C.7.6.2.1.1), in mm."""
        return None if self._normal is None or self.position is None else float(np.dot(self._normal, self.position))


def ordered(members: Sequence[Slice]) -> tuple[tuple[Slice, ...], float | None, tuple[str, ...]]:
    """The slices of one stack in order, without copies; the usual distance of neighbours in mm; and what is to be said.

    The order is that of position, else of instance number, else of file name; slices at one place follow each other by
    number.
    """
    slices, notes = _without_copies(members)
    if len(slices) == 1:
        return tuple(slices), None, tuple(notes)
    if all(each.place is not None for each in slices):
        slices.sort(key=lambda each: (round((each.place or 0.0) / _SAME_MM), each.number or 0, each.path))
        places = np.array([each.place for each in slices])
        if np.ptp(places) > _SAME_MM:
            distance, said = _notes_of_places(places)
            return tuple(slices), distance, (*notes, *said)
        notes.append("All slices lie at one place: they are in the order of their instance numbers.")
    elif all(each.number is not None for each in slices):
        notes.append("Not all slices say where they lie: they are in the order of their instance numbers.")
    if all(each.number is not None for each in slices):
        slices.sort(key=lambda each: (each.number or 0, each.path))
        return tuple(slices), None, (*notes, *_notes_of_numbers([each.number or 0 for each in slices]))
    slices.sort(key=lambda each: (len(Path(each.path).name), each.path))
    return (
        tuple(slices),
        None,
        (*notes, "The slices say neither place nor number: they are in the order of file names."),
    )


def _without_copies(members: Sequence[Slice]) -> tuple[list[Slice], list[str]]:
    """The slices without further files of the same SOP Instance UID, which must hold the same (PS3.5 9)."""
    slices: list[Slice] = []
    names: set[str] = set()
    for each in members:
        if each.instance is None or each.instance not in names:
            slices.append(each)
            names |= {each.instance} if each.instance else set()
    copies = len(members) - len(slices)
    return slices, [f"Copies of slices of the series are left out: {copies}."] if copies else []


def _notes_of_places(places: np.ndarray[Any, Any]) -> tuple[float, list[str]]:
    """The usual distance, and gaps, doubled slices and uneven steps by name; `places` ascend."""
    steps = np.diff(places)
    apart = np.flatnonzero(steps > _SAME_MM)
    usual = float(np.median(steps[apart]))
    notes = _notes_of_doubles(places, len(apart) + 1)
    gaps = [int(i) for i in apart if steps[i] > _GAP * usual]
    if gaps:
        missing = sum(round(steps[i] / usual) - 1 for i in gaps)
        names = _some(
            f"{round(steps[i] / usual) - 1} between slices {i} and {i + 1} ({places[i]:g} and {places[i + 1]:g} mm)"
            for i in gaps
        )
        notes.append(f"Slices are missing, {missing} in all at the usual distance of {usual:g} mm: {names}.")
    elif steps[apart].max() - steps[apart].min() > 0.1 * usual:
        low, high = steps[apart].min(), steps[apart].max()
        notes.append(f"The slices do not lie at equal distances: {low:g} to {high:g} mm.")
    return usual, notes


def _notes_of_doubles(places: np.ndarray[Any, Any], distinct: int) -> list[str]:
    if distinct == len(places):
        return []
    starts = np.flatnonzero(np.diff(places, prepend=-np.inf) > _SAME_MM)
    counts = np.diff(starts, append=len(places))
    if counts.min() == counts.max():
        return [
            f"Each of {distinct} places holds {counts[0]} slices, such as times, echoes or weightings: they follow "
            "each other by instance number."
        ]
    doubled = [(int(start), int(count)) for start, count in zip(starts, counts, strict=True) if count > 1]
    names = _some(f"slices {i} to {i + count - 1} at {places[i]:g} mm" for i, count in doubled)
    return [f"Doubled slices, several at one place: {names}."]


def _notes_of_numbers(numbers: list[int]) -> list[str]:
    counts = Counter(numbers)
    doubled = [str(number) for number, count in sorted(counts.items()) if count > 1]
    missing = sorted(set(range(min(numbers), min(max(numbers), min(numbers) + 10**5))) - set(numbers))
    notes = [f"Doubled instance numbers: {_some(doubled)}."] if doubled else []
    return notes + ([f"Missing instance numbers: {_some(map(str, missing))}."] if missing else [])


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    rest = len(listed) - _NAMED
    return ", ".join(listed[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
