"""The figures that a visitor looks for first: how much of the image each label covers, and how far to believe it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from medseg.calibration import judgement
from medseg.inference.record import areas

if TYPE_CHECKING:
    from medseg.app.state.view_state import ViewState
    from medseg.calibration.trust import Trust

LOOK, FAIR, GOOD = "look yourself", "fair", "good"
GOOD_DICE = 0.8

WITHHELD = (
    "<p><b class='big'>No mask</b> <span>None of the ensembles here is made for this image.</span></p>"
    "<button type='button' class='insist'>Segment it anyway</button>"
    "<p class='small'>Every export will then say that the mask was insisted on.</p>"
)


def figures(view_state: ViewState) -> str:
    """Areas in large, and the expected agreement with an expert as a bar with its interval, as HTML."""
    if view_state.withheld:
        return WITHHELD
    prediction = view_state.prediction
    pixels = prediction.image.size[0] * prediction.image.size[1]
    several = len(prediction.labels) > 1
    lines = "".join(
        _area(label, area, area["px"] / pixels, several)
        for label, area in areas(prediction.masks, prediction.labels, prediction.image).items()
    )
    judged = judgement.judged(view_state.valid_calibration, prediction, view_state.domain_warnings)
    return f"<div class='areas{' several' if several else ''}'>{lines}</div>{_meter(judged) if judged else ''}"


def level(trust: Trust) -> str:
    """How far to believe a mask, in a word."""
    return LOOK if trust.look_yourself else GOOD if trust.dice >= GOOD_DICE else FAIR


def _area(label: str, area: dict[str, float], share: float, several: bool) -> str:
    if not area["px"]:
        return f"<p><b class='big'>–</b> <span>{escape(label)}: nothing found</span></p>"
    size = (f"{area['mm2']:,.1f} mm², " if "mm2" in area else "") + f"{area['px']:,.0f} px"
    words = f"{escape(label)}, {size}" if several else f"of the image is {escape(label)} ({size})"
    return f"<p><b class='big'>{share:.1%}</b> <span>{words}</span></p>"


def _meter(judged: Trust) -> str:
    """The interval as a band and the expected value as a line, from 0 to 1."""
    low, high, dice = (max(0.0, min(1.0, value)) for value in (judged.low, judged.high, judged.dice))
    return (
        f"<div class='expected'><span>Expected agreement with an expert</span> <b>{level(judged)}</b></div>"
        f"<div class='meter {'low' if judged.look_yourself else ''}' aria-hidden='true'>"
        f"<i style='left:{low:.0%};width:{high - low:.0%}'></i><b style='left:{dice:.0%}'></b></div>"
    )
