"""The shapes of annotation tools, as polygons of points (x, y) = (column, row)."""

from __future__ import annotations

import math

Points = tuple[tuple[float, float], ...]

_CORNERS = 96
"""Of a circle's polygon, whose area is 0.07 % less than the circle's."""


def rectangle(left: float, top: float, right: float, bottom: float, degrees: float = 0.0) -> Points:
    """The corners of a rectangle that is turned clockwise about its centre."""
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return _turned(corners, ((left + right) / 2, (top + bottom) / 2), degrees)


def ellipse(centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0.0) -> Points:
    """An ellipse of radii (along x, along y), turned clockwise about its centre."""
    angles = [2 * math.pi * step / _CORNERS for step in range(_CORNERS)]
    points = tuple((centre[0] + radii[0] * math.cos(a), centre[1] + radii[1] * math.sin(a)) for a in angles)
    return _turned(points, centre, degrees)


def _turned(points: Points, centre: tuple[float, float], degrees: float) -> Points:
    """`points` turned clockwise on the screen, where y grows downwards."""
    if not degrees:
        return points
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    moved = [(x - centre[0], y - centre[1]) for x, y in points]
    return tuple((centre[0] + x * cosine - y * sine, centre[1] + x * sine + y * cosine) for x, y in moved)
