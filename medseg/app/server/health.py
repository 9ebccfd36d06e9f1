"""What a container or proxy may ask: /health, and with MEDSEG_METRICS=1 the numbers of /metrics for Prometheus."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, Response

from medseg.app.server.gate import STATE
from medseg.app.server.janitor import Janitor
from medseg.app.server.upload_folder import visitors_folder
from medseg.app.state import registry
from medseg.app.state.openings import openings
from medseg.version import __version__


@dataclass
class Health:
    """Of one process; `queue_length` asks Gradio's queue."""

    janitor: Janitor
    queue_length: Callable[[], int]
    results: Callable[[], int]
    statuses: Counter[int] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)

    def count(self, status: int) -> None:
        self.statuses[status] += 1

    def figures(self) -> dict[str, Any]:
        """The state as plain values; `status` is ok, stopping, or names what is stuck."""
        late = self.janitor.seconds_since_sweep > 4 * self.janitor.period_s + 60
        return {
            "status": "stopping" if STATE.stopping else "the clean-up is stuck" if late else "ok",
            "version": __version__,
            "models_loaded": registry.ensembles.loaded,
            "queue": self.queue_length(),
            "open_images": len(openings),
            "open_bytes": openings.total,
            "results": self.results(),
            "seconds_since_sweep": round(self.janitor.seconds_since_sweep, 1),
            "disk_free_bytes": shutil.disk_usage(visitors_folder()).free,
            "seconds_up": round(time.monotonic() - self.started, 1),
        }

    def answer(self) -> Response:
        """/health: 200 where all is well, else 503."""
        figures = self.figures()
        return JSONResponse(figures, 200 if figures["status"] == "ok" else 503, {"Cache-Control": "no-store"})

    def metrics(self) -> Response:
        """/metrics, in Prometheus' text format.

        Source: https://prometheus.io/docs/instrumenting/exposition_formats/
        """
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, ProcessCollector, generate_latest

        collected = CollectorRegistry()
        ProcessCollector(registry=collected)
        figures = self.figures()
        figures["models_loaded"] = len(figures["models_loaded"])
        for name, value in figures.items():
            if isinstance(value, int | float):
                Gauge(f"medseg_{name}", name.replace("_", " "), registry=collected).set(value)
        answers = Gauge("medseg_answers", "answers since the start, by HTTP status", ["status"], registry=collected)
        for status, number in self.statuses.items():
            answers.labels(str(status)).set(number)
        return Response(generate_latest(collected), media_type=CONTENT_TYPE_LATEST)
