"""Some eighty numbers that say what an image looks like: how bright and coloured, how fine, and what lies where.

No network takes part, so a page can ask of every ensemble whether an image suits it before it loads one. As good at
telling families of images apart as anybody needs: `benchmarks/domain.py` prints how good.
"""

from __future__ import annotations

from itertools import pairwise
from weakref import WeakKeyDictionary

import numpy as np
import PIL.Image
from jaxtyping import Float64

from medseg.image import Image

SIDE = 128
"""Pixels of the square that is looked at; each stands for the mean of those it covers."""

NUMBER = 82
_HALVINGS, _BINS, _LAYOUT, _COLOURS, _TURNS = 4, 8, 6, 3, 6
_FLAT = 0.005  # a slope of less than this a pixel is none
_LEAST = 1e-3  # of a deviation, before its logarithm

Plane = Float64[np.ndarray, "side side"]

_cache: WeakKeyDictionary[Image, Float64[np.ndarray, "D"]] = WeakKeyDictionary()


def features(image: Image) -> Float64[np.ndarray, "D"]:
    """NUMBER numbers of one image, of the whole of it whatever its shape: mean and deviation of brightness and of two
    opponent colours, the histogram of brightness, the deviation at four scales, symmetry (left-right, up-down), the
    brightness of 6 × 6 and the colours of 3 × 3 fields, the directions of edges, their strength, and the flat share.

    An image of other than three channels has no colour: its brightness is the mean of its channels.

    Source of the opponent colours: Hasler and Süsstrunk, Measuring colourfulness in natural images, SPIE 2003; of the
    directions: Freeman and Roth, Orientation histograms for hand gesture recognition, 1995.
    """
    if image not in _cache:
        _cache[image] = _features(image.pixels)
    return _cache[image]


def _features(pixels: np.ndarray) -> Float64[np.ndarray, "D"]:
    planes = [_small(plane) for plane in np.moveaxis(pixels, -1, 0)]
    grey = np.mean(planes, axis=0)
    red, green, blue = planes if len(planes) == 3 else [grey] * 3
    colours = red - green, (red + green) / 2 - blue
    rows, columns = np.gradient(fields(grey, SIDE // 2))
    strength = np.hypot(rows, columns)
    return np.concatenate(
        [
            [value for plane in (grey, *colours) for value in (plane.mean(), plane.std())],
            np.sqrt(np.histogram(grey, _BINS, (0, 1))[0] / grey.size),
            _scales(grey),
            [_likeness(grey, grey[:, ::-1]), _likeness(grey, grey[::-1])],
            fields(grey, _LAYOUT).ravel(),
            *(fields(plane, _COLOURS).ravel() for plane in colours),
            _directions(rows, columns, strength),
            [np.log(_LEAST + strength.mean()), (strength < _FLAT).mean()],
        ]
    )


def _small(plane: np.ndarray) -> Plane:
    step = max(1, min(plane.shape) // (4 * SIDE))  # every n-th of a large one: the means hardly change
    thin = PIL.Image.fromarray(np.ascontiguousarray(plane[::step, ::step], np.float32))
    return np.asarray(thin.resize((SIDE, SIDE), PIL.Image.Resampling.BOX), np.float64)


def fields(plane: Plane, number: int) -> Float64[np.ndarray, "number number"]:
    """The means over `number` × `number` fields, of the first pixels that these divide."""
    side = plane.shape[0] // number
    parts = plane[: side * number, : side * number].reshape(number, side, number, side)
    return np.asarray(parts.mean(axis=(1, 3)))


def _scales(grey: Plane) -> list[float]:
    """The logarithm of what each halving takes away."""
    levels = [grey]
    for _ in range(_HALVINGS):
        levels.append(fields(levels[-1], len(levels[-1]) // 2))
    lost = (fine - np.kron(coarse, np.ones((2, 2))) for fine, coarse in pairwise(levels))
    return [float(np.log(_LEAST + part.std())) for part in lost]


def _likeness(plane: Plane, other: Plane) -> float:
    """Their correlation; 0 where one is flat."""
    ours, theirs = plane - plane.mean(), other - other.mean()
    scale = np.sqrt((ours**2).sum() * (theirs**2).sum())
    return float((ours * theirs).sum() / scale) if scale > 1e-9 else 0.0


def _directions(rows: Plane, columns: Plane, strength: Plane) -> Float64[np.ndarray, "turns"]:
    """The share of the edges' strength in each sixth of half a turn."""
    angles = np.arctan2(columns, rows) % np.pi
    shares = np.histogram(angles, _TURNS, (0, np.pi), weights=strength)[0]
    return np.asarray(shares / (strength.sum() + 1e-6))
