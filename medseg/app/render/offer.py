"""What the page's sliders offer for an ensemble, and where they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medseg.app.render.text import BLENDS, TITLES, titles

if TYPE_CHECKING:
    from medseg.app.state.view_state import ViewState


def offer(view_state: ViewState) -> dict[str, Any]:
    """The value of the mixer: members, labels and blends, the settings of now, and those that are recommended."""
    ensemble, now = view_state.ensemble, view_state.prediction
    names = list(now.member_names)
    return {
        "name": ensemble.config.name,
        "members": [{"name": name, "title": title} for name, title in zip(names, titles(names), strict=True)],
        "labels": list(now.labels),
        "apart": ensemble.config.task == "multilabel",
        "upright": bool(ensemble.upright),
        "blends": [{"name": name, "title": TITLES[name], "about": BLENDS[name]} for name in ensemble.blends],
        "settings": {
            "weights": view_state.weights,
            "threshold": now.threshold,
            "blend": now.blend,
            "opacity": view_state.opacity,
            "hidden": sorted(view_state.hidden),
            "flips": bool(now.tta),
            "least": now.cleanup.min_area_px,
            "rate": view_state.rate or 0,
        },
        "recommended": {
            "weights": ensemble.weights,
            "threshold": ensemble.config.threshold,
            "blend": ensemble.config.blend,
            "flips": False,
            "least": ensemble.config.cleanup.min_area_px,
        },
    }
