"""What came of each of many images, as a row: with its worth, as a table on the page and as csv."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.app.render.figures import LOOK, level
from medseg.calibration.judgement import is_calibrated, judged
from medseg.inference.record import areas
from medseg.overlay import draw_overlay
from medseg.report.csv import write_csv
from medseg.report.html import data_uri

if TYPE_CHECKING:
    from medseg.app.state.view_state import ViewState
    from medseg.calibration.trust import Trust
    from medseg.inference.prediction import Prediction

THUMBNAIL = 128
_COLUMNS = ("file", "frame", "label", "area_px", "area_mm2", "predicted_dice", "low", "high", "agreement")
_SAID = ("notes", "error")


@dataclass(frozen=True)
class Row:
    """What came of one image. `file` is the visitor's name for it, `path` where it lies, `thumbnail` a data: address.

    `frame` of `frames` is that of the file or series, `own_frame` the one in the file at `path`. `trust` is there where
    the calibration holds, else `agreement` (the mean Dice between the members' masks) where there are two members.
    `domain_warnings` are sentences of the domain check, `notes` those of reading, `reason` says why there is no result.
    """

    file: str
    path: Path
    frame: int = 0
    frames: int = 1
    own_frame: int = 0
    thumbnail: str = ""
    areas: dict[str, dict[str, float]] = field(default_factory=dict)
    trust: Trust | None = None
    agreement: float | None = None
    domain_warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def worth(self) -> tuple[int, float]:
        """What rows are sorted by: the doubted images first, then by Dice or agreement; files without result last."""
        known = self.trust.dice if self.trust is not None else self.agreement
        return (2 if self.reason else 0 if self.domain_warnings else 1, 1.0 if known is None else known)


def row_of(prediction: Prediction, view_state: ViewState, file: str, path: Path, own_frame: int = 0) -> Row:
    """The row of an image that was segmented as `view_state` is."""
    image = prediction.image
    domain_warnings = tuple(view_state.ensemble.domain_warnings(image))
    return Row(
        file,
        path,
        image.frame,
        image.frames,
        own_frame,
        _thumbnail(prediction),
        areas(prediction.masks, prediction.labels, image),
        judged(view_state.valid_calibration, prediction, domain_warnings),
        None if is_calibrated(view_state.valid_calibration, prediction) else _agreement(prediction),
        domain_warnings,
        image.notes,
    )


def _agreement(prediction: Prediction) -> float | None:
    """The mean Dice between the masks of the members with weight; None where there are fewer than two."""
    from medseg.calibration.trust import agreement
    from medseg.fitting.observations import thin

    voting = [index for index, weight in enumerate(prediction.weights) if np.any(weight)]
    return None if len(voting) < 2 else agreement(thin(prediction.members[voting]), prediction.ensemble.task)


def _thumbnail(prediction: Prediction) -> str:
    """The image with its contours, small, for looking only."""
    step = max(1, max(prediction.image.size) // (2 * THUMBNAIL))
    small = draw_overlay(prediction.image.pixels[::step, ::step], prediction.masks[:, ::step, ::step], 0.15, 4)
    return data_uri(small, THUMBNAIL)


def write_table(rows: Sequence[Row], path: Path) -> None:
    """results.csv: a line for each label of each image, and for each file without a result."""
    write_csv(path, (*_COLUMNS, *_SAID), (line for row in rows for line in _lines(row)))


def _lines(row: Row) -> Iterator[dict[str, object]]:
    if row.reason:
        yield {"file": row.file, "error": row.reason}
    trust = row.trust
    expected = {} if trust is None else {"predicted_dice": trust.dice, "low": trust.low, "high": trust.high}
    said = {"agreement": row.agreement, "notes": " ".join(row.notes)}
    for label, area in row.areas.items():
        place = {"file": row.file, "frame": row.frame, "label": label}
        yield {**place, "area_px": area["px"], "area_mm2": area.get("mm2"), **expected} | said


def page_rows(rows: Sequence[Row], begin: int = 0) -> list[dict[str, Any]]:
    """The rows from `begin` on as the page's table takes them, in words; `index` is a row's place among all."""
    return [
        {
            "index": index,
            "file": row.file,
            "frame": f", frame {row.frame + 1}" if row.frames > 1 else "",
            "src": row.thumbnail,
            "areas": [_area(label, area, len(row.areas) > 1) for label, area in row.areas.items()],
            "worth": _worth(row),
            "notes": " ".join(row.notes),
            "reason": row.reason,
            "order": row.worth,
        }
        for index, row in enumerate(rows[begin:], start=begin)
    ]


def _area(label: str, area: dict[str, float], several: bool) -> str:
    name = f"{label}: " if several else ""
    if not area["px"]:
        return f"{name}nothing found"
    return f"{name}{area['px']:,.0f} px" + (f", {area['mm2']:,.1f} mm²" if "mm2" in area else "")


def _worth(row: Row) -> tuple[str, str]:
    """How far to believe it, as a level (a colour beside its word; "" where nothing is claimed) and a sentence."""
    if row.domain_warnings:
        return LOOK, " ".join(row.domain_warnings)
    if row.trust is not None:
        return level(row.trust), f"Predicted Dice {row.trust.dice:.2f} [{row.trust.low:.2f}, {row.trust.high:.2f}]"
    return "", "–" if row.agreement is None else f"Models agree to {row.agreement:.2f}"
