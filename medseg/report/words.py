"""Figures and weights in words, as cards and reports write them."""

from __future__ import annotations

from medseg.config import MemberReference
from medseg.scores import Score


def score_words(score: Score) -> str:
    """One figure with its interval, split, n and protocol."""
    return (
        f"{score.metric} {score.value:.3f} {interval_words(score)} on {score.split}, n = {score.n} ({score.protocol})"
    )


def interval_words(score: Score) -> str:
    """A figure's 95 % interval, in three decimals."""
    return f"[{three_digits(score.low)}, {three_digits(score.high)}]"


def three_digits(value: float | None) -> str:
    """A value in three decimals; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def gain_words(score: Score) -> str:
    """A difference with its interval, all with their signs."""
    low, high = ("–" if bound is None else f"{bound:+.3f}" for bound in (score.low, score.high))
    return f"{score.value:+.3f} [{low}, {high}]"


def weight_words(member: MemberReference) -> str:
    """One weight, or one for each label in their order."""
    return ", ".join(f"{w:g}" for w in (member.weight if isinstance(member.weight, tuple) else (member.weight,)))


def area_words(area: dict[str, float]) -> str:
    """An area of `medseg.inference.record.areas` in pixels and, where the spacing is known, square millimetres."""
    if not area["px"]:
        return "nothing found"
    return f"{area['px']:,.0f} px" + (f", {area['mm2']:,.1f} mm²" if "mm2" in area else "")
