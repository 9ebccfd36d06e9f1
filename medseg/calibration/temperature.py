"""Do the probabilities mean what they say? Reliability tables, what is read off them, and the temperature that helps.

A picture is mostly background that every model is sure of, so the error over all pixels looks perfect whatever happens
at the edge: every figure is also given for the band of pixels near the true boundary.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from scipy import ndimage, optimize

from medseg.arrays import Masks, Probabilities
from medseg.config import Task
from medseg.errors import InputError
from medseg.inference.uncertainty import distributions
from medseg.overlay import Colour, label_colour

BINS = 15
BAND = 3
"""The band: as many pixels on either side of the true boundary, on the grid that is looked at."""

SAMPLED = 4000
"""Pixels of each image that the temperature is fitted on."""

_HOTTEST = 10.0
_SUREST = 1e-4  # float16 answers round to 0 and 1, where one wrong pixel would outweigh all others

Table: TypeAlias = Float64[np.ndarray, "4 bins"]
"""Per bin of probability, as parts of all pixels: how many lie in it, Σ probability, Σ truth, Σ squared error."""


def band(truth: Masks, width: int = BAND) -> Masks:
    """Pixels within `width` pixels of each label's boundary, on either side; none where a mask is empty or full."""
    near = np.zeros_like(truth)
    for mask, result in zip(truth, near, strict=True):
        if mask.any() and not mask.all():
            distance = ndimage.distance_transform_edt(mask) + ndimage.distance_transform_edt(~mask)
            result[:] = distance <= width
    return near


def reliability(probabilities: Probabilities, truth: Masks, where: Masks | None = None) -> Table:
    """The table of one image over all labels' pixels, or those of `where`; nan where there are none.

    Bins are BINS equal parts of [0, 1], closed below.
    """
    said = probabilities.ravel() if where is None else probabilities[where]
    true = truth.ravel() if where is None else truth[where]
    if not said.size:
        return np.full((4, BINS), np.nan)
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    bins = np.digitize(said, edges)
    terms = (np.ones_like(said), said, true, np.square(said - true))
    return np.stack([np.bincount(bins, term, BINS) for term in terms]) / said.size


def pool(tables: Sequence[Table]) -> Table:
    """One table in which every image that has pixels counts the same; nan where none has."""
    known = [table for table in tables if not np.isnan(table).any()]
    return np.asarray(np.mean(known, axis=0)) if known else np.full((4, BINS), np.nan)


def ece(table: Table) -> float:
    """Expected calibration error, in [0, 1]: how far a bin's mean probability is from its share of true pixels, the
    mean over pixels. Source: Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015.
    """
    return float(np.abs(table[1] - table[2]).sum())


def brier(table: Table) -> float:
    """Mean squared difference of probability and truth, in [0, 1]. Source: Brier 1950."""
    return float(table[3].sum())


def fit_temperature(answers: Sequence[tuple[Probabilities, Masks]], task: Task) -> float:
    """The temperature in [0.1, 10] for `uncertainty.tempered` under which the truth of held-out pixels is likeliest.

    `answers` are (probabilities, truth) on one grid each. Of each image SAMPLED pixels are drawn, so that no image
    dominates; evenly, so that background and band have the share that they have in pictures. More of the band would
    give the temperature that is right for who already knows where the boundary is: with half of the pixels from there
    the polyp ensemble's became 1.47 and its ECE over all validation pixels doubled. Raises InputError without answers.
    """
    if not answers:
        raise InputError("A temperature needs held-out answers, got none.")
    drawn = [_draw(probabilities, truth, task, index) for index, (probabilities, truth) in enumerate(answers)]
    logs = np.log(np.concatenate([chances for chances, _ in drawn]).clip(_SUREST, 1 - _SUREST))
    right = np.concatenate([outcome for _, outcome in drawn])[:, np.newaxis]

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        scaled -= np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        return float(-np.take_along_axis(scaled, right, axis=1).mean())

    limit = np.log(_HOTTEST)
    return float(np.exp(optimize.minimize_scalar(loss, bounds=(-limit, limit), method="bounded").x))


def _draw(
    probabilities: Probabilities, truth: Masks, task: Task, seed: int
) -> tuple[Float64[np.ndarray, "N C"], np.ndarray]:
    """Chances (N, C) of the outcomes at drawn pixels, and the outcome that came true."""
    places = np.random.default_rng(seed).integers(truth[0].size, size=SAMPLED)
    chances = distributions(probabilities, task)
    chances = chances.reshape(*chances.shape[:2], -1)[:, :, places]
    flat = truth.reshape(len(truth), -1)[:, places]
    outcome = np.where(flat.any(axis=0), flat.argmax(axis=0) + 1, 0)[np.newaxis] if task == "multiclass" else flat
    return np.asarray(chances.swapaxes(1, 2).reshape(-1, chances.shape[1]), np.float64), outcome.ravel().astype(int)


def reliability_figure(tables: Mapping[str, Table], side: int = 480) -> bytes:
    """A reliability diagram as PNG: share of true pixels over mean probability, one line for each named table.

    The diagonal is perfect; a line below it says too much. Dots grow with the pixels in their bin; empty bins have
    none. `side` is the picture's width and height in pixels.
    """
    picture = Pillow.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    margin, font = side // 10, ImageFont.load_default(side // 32)
    length = side - 2 * margin

    def place(said: float, true: float) -> tuple[float, float]:
        return margin + said * length, side - margin - true * length

    draw.rectangle((*place(0, 1), *place(1, 0)), outline="black")
    draw.line((*place(0, 0), *place(1, 1)), fill="grey")
    for value in (0, 0.5, 1):
        x, y = place(value, value)
        draw.text((x, side - margin + 4), f"{value:g}", fill="black", font=font, anchor="ma")
        draw.text((margin - 4, y), f"{value:g}", fill="black", font=font, anchor="rm")
    draw.text((side / 2, side - 4), "probability", fill="black", font=font, anchor="md")
    draw.text((4, margin - 4), "share of true pixels", fill="black", font=font, anchor="ld")
    for index, (name, table) in enumerate(tables.items()):
        _draw_line(draw, table, label_colour(2 * index), place)
        corner = (margin + 8, margin + 8 + index * side // 20)
        draw.text(corner, f"{name}: ECE {ece(table):.4f}", fill=label_colour(2 * index), font=font)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _draw_line(
    draw: ImageDraw.ImageDraw,
    table: Table,
    colour: Colour,
    place: Callable[[float, float], tuple[float, float]],
) -> None:
    shares, said, true, _ = table[:, table[0] > 0]
    points = [place(float(x), float(y)) for x, y in zip(said / shares, true / shares, strict=True)]
    draw.line(points, fill=colour, width=2)
    for (x, y), share in zip(points, shares, strict=True):
        radius = 2 + 6 * float(share) ** 0.5
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
