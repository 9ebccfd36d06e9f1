"""How far a long run has come: a bar with words, and the time that is left."""

from __future__ import annotations

from html import escape

SURE_S = 2.0
"""Before these seconds a guess at the time left would jump."""


def bar(what: str, done: int, total: int, seconds: float) -> str:
    """A bar of `done` steps out of `total`, under `what` is done, as HTML; `seconds` have passed."""
    words = f"{done} of {total}{time_left(done, total, seconds)}"
    return (
        f"<div class='work'><p>{escape(what)}: <b>{words}</b></p>"
        f"<progress max='{max(total, 1)}' value='{done}' aria-label='{escape(what)}'></progress></div>"
    )


def time_left(done: int, total: int, seconds: float) -> str:
    """At the pace so far; nothing where that says too little, or nothing is left."""
    if not done or done >= total or seconds < SURE_S:
        return ""
    left = seconds / done * (total - done)
    return f", about {max(5, round(left / 5) * 5)} s left" if left < 90 else f", about {round(left / 60)} min left"
