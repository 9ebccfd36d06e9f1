"""Where the frames of a DICOM result lie, and how large their pixels are.

dcmqi, highdicom and OHIF open a multi-frame result only where it has a position, a direction, a spacing and a thickness
for every frame, which films, cines and photographs lack. These get the grid of their own pixels, upper left at 0, as
viewers assume for them, and no frame of reference: that grid lies nowhere in the patient. `doubts` says what nobody
measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

_OFF_GRID = 0.05
"""How far slices of a volume may lie off a grid, as a part of its step: scanners round positions."""

_ONE_PLACE_MM = 1e-3
"""Slices that are no farther apart lie at one place."""

_ROUNDED = 0.02
"""How far directions may be from right angles and length 1: scanners write few digits."""


@dataclass(frozen=True)
class Placement:
    """Items of the functional groups Plane Position (one a frame), Plane Orientation and Pixel Measures."""

    positions: list[Dataset]
    orientation: Dataset
    measures: Dataset
    frame_of_reference: str | None


def is_placed(headers: Sequence[Dataset]) -> bool:
    """Whether all frames say where they lie, in a plane of two perpendicular directions of length 1 (PS3.3
    C.7.6.2.1.1)."""
    wanted = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    return all(keyword in header for header in headers for keyword in wanted) and all(map(_is_plane, headers))


def _is_plane(header: Dataset) -> bool:
    sides = np.reshape(np.asarray(header.ImageOrientationPatient, float), (2, 3))
    return bool(np.allclose(sides @ sides.T, np.eye(2), atol=_ROUNDED))


def depth(header: Dataset) -> float:
    """Distance in mm along the normal of the plane (PS3.3 C.7.6.2.1.1)."""
    row, column = np.reshape(np.asarray(header.ImageOrientationPatient, float), (2, 3))
    return float(np.cross(row, column) @ np.asarray(header.ImagePositionPatient, float))


def locate(headers: Sequence[Dataset]) -> Placement:
    """The placement of frames of one direction and spacing, sorted by `depth` where they are placed."""
    placed = is_placed(headers)
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = headers[0].ImageOrientationPatient if placed else [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing = headers[0].get("PixelSpacing") or [1, 1]
    between = _between(headers) if placed else 1.0
    if between and len(headers) > 1:
        measures.SpacingBetweenSlices = DSfloat(between, auto_format=True)
    measures.SliceThickness = (placed and _thickness(headers[0])) or DSfloat(between or 1.0, auto_format=True)
    places = [header.ImagePositionPatient for header in headers] if placed else [[0, 0, z] for z in range(len(headers))]
    return Placement(
        [_position(place) for place in places],
        orientation,
        measures,
        headers[0].get("FrameOfReferenceUID") if placed else None,
    )


def _thickness(header: Dataset) -> DSfloat | None:
    """In mm; None where the file has none, or says 0 or less."""
    thickness = header.get("SliceThickness")
    return thickness if thickness and thickness > 0 else None


def _position(place: Sequence[float]) -> Dataset:
    item = Dataset()
    item.ImagePositionPatient = list(place)
    return item


def _between(headers: Sequence[Dataset]) -> float | None:
    """The distance of slices in mm, where all lie on a grid, also with gaps or several at one place: without it dcmqi
    takes the thickness for the distance."""
    depths = np.asarray([depth(header) for header in headers])
    depths -= depths[0]
    steps = np.diff(depths)
    apart = steps[steps > _ONE_PLACE_MM]
    if not len(apart):
        return None
    places = np.rint(depths / np.median(apart))
    step = float(depths @ places / max(places @ places, 1))
    return step if step > 0 and np.abs(depths - step * places).max() < _OFF_GRID * step else None


def doubts(headers: Sequence[Dataset]) -> str:
    """What of the placement nobody measured, as sentences; empty where all was."""
    header, sentences = headers[0], []
    if "PixelSpacing" not in header:
        sentences.append("The image has no spacing: 1 mm stands for one pixel, so measure nothing in mm.")
    elif "ImagerPixelSpacing" in header:
        sentences.append("The spacing is that at the detector.")
    if not is_placed(headers):
        sentences.append("It lies nowhere in the patient; position and thickness stand for none.")
    elif not _thickness(header):
        sentences.append("The thickness of the slice is not known.")
    return " ".join(sentences)
