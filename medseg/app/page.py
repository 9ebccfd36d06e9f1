"""The page: its tabs, and its launch. Every number and image comes from the library."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from medseg.app.server.settings import max_bytes, read_settings
from medseg.app.server.upload_folder import claim_folder, visitors_folder
from medseg.errors import MedsegError

try:
    SETTINGS = read_settings()
    # before gradio is imported, which reports at import and asks once where its files belong
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ["GRADIO_TEMP_DIR"] = claim_folder()
except MedsegError as error:
    sys.exit(f"error: {error}")

from medseg.app.render import examples

# a start is mostly imports, on one core: the examples are read beside them, and later the models loaded
beside = ThreadPoolExecutor(1)
offered = beside.submit(examples.thumbnails)

if not SETTINGS.mcp:  # gradio imports it wherever it is installed, for up to a third of the start
    sys.modules.setdefault("mcp", None)  # type: ignore[arg-type]
import gradio as gr
from fastapi.exceptions import RequestValidationError
from starlette.middleware import Middleware

from medseg.app.render.about import about
from medseg.app.render.theme import CSS, THEME
from medseg.app.server.agents import answer_agents_in_json
from medseg.app.server.connections import bound_connections, raise_limit
from medseg.app.server.endpoints import add_endpoints, results
from medseg.app.server.gate import STATE, Gate
from medseg.app.server.guards import guard
from medseg.app.server.health import Health
from medseg.app.server.janitor import Janitor
from medseg.app.server.mistakes import refuse_body
from medseg.app.server.settings import keep_seconds
from medseg.app.server.shutdown import serve_until_stopped
from medseg.app.server.uploads import UploadMiddleware
from medseg.app.server.waiting import VisitorsQueue, list_no_paths
from medseg.app.state import registry
from medseg.app.state.session import Session
from medseg.app.tabs.batch import draw_batch_tab
from medseg.app.tabs.events import QUIET
from medseg.app.tabs.fit import draw_fit_tab
from medseg.app.tabs.image import IMAGE_TAB, draw_image_tab
from medseg.app.viewer.components import draw_head, read
from medseg.inference.memory import return_holes, return_large_blocks

if not SETTINGS.mcp and sys.modules["mcp"] is None:
    del sys.modules["mcp"]
sweeps = [results.sweep, return_holes]


class _Page(gr.Blocks):
    """Blocks with a queue of SETTINGS from the start: each call of Gradio's own `queue` builds a web application that
    is never served, in a tenth of a second."""

    def queue(self, *_: Any, **__: Any) -> _Page:
        self._queue = VisitorsQueue(True, self.max_threads, 1, SETTINGS.queue, self, SETTINGS.workers)
        return self


with _Page(title="medseg", analytics_enabled=False, fill_width=True) as demo:
    session = gr.State(Session())
    draw_head()
    changed = gr.State("")  # another value tells the first tab that another tab has changed the session
    with gr.Tabs(elem_id="tabs") as tabs:
        with gr.Tab("Image", id=IMAGE_TAB):
            draw_image_tab(demo, session, changed, offered.result())
        with gr.Tab("Batch") as batch_tab:
            draw_batch_tab(batch_tab, session, tabs, changed)
        with gr.Tab("Fit to my data") as fit_tab:
            draw_fit_tab(fit_tab, session, tabs, changed)
        if SETTINGS.archive:
            from medseg.app.server.archive_endpoints import add_archive_endpoints, desks
            from medseg.app.tabs.archive import draw_archive_tab

            with gr.Tab("Archive"):
                draw_archive_tab(session, tabs, changed)
        with gr.Tab("About the models") as about_tab:
            models = gr.Markdown(elem_id="about")
        about_tab.select(lambda: about(registry.ensembles.sources), None, models, **QUIET)
    add_endpoints()
    if SETTINGS.archive:
        add_archive_endpoints()
        sweeps.append(desks.sweep)

guard()
bound_connections()
list_no_paths(demo)
if SETTINGS.mcp:
    answer_agents_in_json()

# what is there already stays: the examples' images, which every visitor sees
janitor = Janitor(visitors_folder(), keep_seconds(), frozenset(visitors_folder().rglob("*")), sweeps)
health = Health(janitor, lambda: len(demo._queue), lambda: len(results))
routes = {"/health": health.answer} | ({"/metrics": health.metrics} if SETTINGS.metrics else {})
gate = Middleware(
    Gate,
    hosts=SETTINGS.hosts,
    routes=routes,
    names={str(fn.api_name) for fn in demo.fns.values() if fn.api_visibility == "public"},
    is_full=lambda entering: len(demo._queue) + entering >= SETTINGS.queue,
    knows=lambda event: demo._queue.knows(event),  # noqa: PLW0108 - Gradio may make its queue anew
    count=health.count,
    in_space="SPACE_ID" in os.environ,
)

LAUNCH: dict[str, Any] = {
    "theme": THEME,
    "css": CSS + read("viewer.css") + read("tabs.css"),
    "max_file_size": max_bytes(),
    "app_kwargs": {
        "middleware": [gate, Middleware(UploadMiddleware)],
        "exception_handlers": {RequestValidationError: refuse_body},
    },
    "ssr_mode": False,
    "run_history": False,  # it would keep the visitors' images in their browsers
    "footer_links": ["api"],
    "enable_monitoring": False,  # it would write a line into the log for whoever asks for it
    "auth": list(SETTINGS.logins) or None,
    "mcp_server": SETTINGS.mcp,
}


def main() -> None:
    """Serve the page until the process is stopped."""
    return_large_blocks()
    raise_limit()
    janitor.start()
    beside.submit(registry.ensembles.prepare)  # the first visitor waits for the rest of it, not for all
    serve_until_stopped(lambda: demo.launch(**LAUNCH, prevent_thread_lock=True), _is_idle)


def _is_idle() -> bool:
    return not (len(demo._queue) or any(demo._queue.active_jobs) or STATE.entering)
