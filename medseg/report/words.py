"""Figures and weights in words, as cards and reports write them."""

from __future__ import annotations

import math
import re

from medseg.arrays import Threshold
from medseg.config import MemberReference
from medseg.scores import Score

_OLD_WORD = re.compile(r"(?<=blind to the )picture|(?<=training )picture(?=s of the)|(?<=colour )picture(?=s of col)")
"""What medseg 0.1.0 itself wrote into JSON files: protocols, and the data of the embedded members."""


def of_today(text: str) -> str:
    """`text` of a JSON file in the words of today; a user's own words stay as they are."""
    return _OLD_WORD.sub("image", text)


def score_words(score: Score) -> str:
    """One figure with its interval, split, n and protocol."""
    return (
        f"{score.metric} {score.value:.3f} {interval_words(score)} on {score.split}, n = {score.n} "
        f"({of_today(score.protocol)})"
    )


def interval_words(score: Score) -> str:
    """A figure's 95 % interval, in three decimals."""
    return f"[{three_digits(score.low)}, {three_digits(score.high)}]"


def three_digits(value: float | None) -> str:
    """A value in three decimals; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign; its minus is no hyphen."""
    return f"{value:+.{digits}f}".replace("-", "−")


def gain_words(score: Score) -> str:
    """A difference with its interval, all with their signs."""
    low, high = ("–" if bound is None else signed(bound) for bound in (score.low, score.high))
    return f"{signed(score.value)} [{low}, {high}]"


def threshold_words(threshold: Threshold, digits: str = "g") -> str:
    """One threshold, or one for each label in their order."""
    return " / ".join(f"{each:{digits}}" for each in ([threshold] if isinstance(threshold, float) else threshold))


def weight_words(member: MemberReference) -> str:
    """One weight, or one for each label in their order."""
    return ", ".join(f"{w:g}" for w in (member.weight if isinstance(member.weight, tuple) else (member.weight,)))


def area_words(area: dict[str, float]) -> str:
    """An area of `medseg.inference.record.areas` in pixels and, where the spacing is known, square millimetres."""
    if not area["px"]:
        return "nothing found"
    return f"{area['px']:,.0f} px" + (f", {area['mm2']:,.1f} mm²" if "mm2" in area else "")
