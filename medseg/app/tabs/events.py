"""How the page's events are wired: none is an endpoint, most show no progress, sliders skip what is overtaken."""

from __future__ import annotations

from typing import Any

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUIET: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}
NEWEST: dict[str, Any] = {**QUIET, "trigger_mode": "always_last"}
"""Of many positions on the way the newest wins."""
