"""The page: its tabs, and its launch. Every number and image comes from the library."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from medseg.app.server.upload_folder import claim_folder, keep_clean, max_bytes

# before gradio is imported, which reports at import and asks once where its files belong
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ["GRADIO_TEMP_DIR"] = claim_folder()

from medseg.app.render import examples

# a start is mostly imports, on one core: the examples are read beside them, and later the models loaded
beside = ThreadPoolExecutor(1)
offered = beside.submit(examples.thumbnails)

import gradio as gr
from starlette.middleware import Middleware

from medseg.app.render.theme import CSS, THEME
from medseg.app.server.endpoints import add_endpoints
from medseg.app.server.settings import refuse_links, serving
from medseg.app.server.uploads import Arrivals
from medseg.app.state import registry
from medseg.app.state.session import Session
from medseg.app.tabs.batch import draw_batch
from medseg.app.tabs.fit import draw_tune
from medseg.app.tabs.image import ONE_PICTURE, draw_segment
from medseg.errors import MedsegError

try:
    SERVING = serving()
except MedsegError as error:
    sys.exit(f"error: {error}")

LAUNCH: dict[str, Any] = {
    "theme": THEME,
    "css": CSS,
    "max_file_size": max_bytes(),
    "app_kwargs": {"middleware": [Middleware(Arrivals)]},
    "state_session_capacity": 100,  # a session holds tens of megabytes; the longest unused goes first
    "ssr_mode": False,
    "run_history": False,  # it would keep the visitors' pictures in their browsers
    "footer_links": ["api"],
    "auth": list(SERVING.logins) or None,
    "mcp_server": SERVING.mcp,
}

with gr.Blocks(title="medseg", analytics_enabled=False, fill_width=True) as demo:
    session = gr.State(Session())
    gr.Markdown(
        "# medseg\nSegment a 2-D medical picture with several models at once, and steer how much each of them counts. "
        "**Research use only, not for diagnosis.**",
        elem_id="head",
    )
    changed = gr.State("")  # another value tells the first tab that another tab has changed the session
    with gr.Tabs() as tabs:
        with gr.Tab("One picture", id=ONE_PICTURE):
            draw_segment(demo, session, changed, offered.result())
        with gr.Tab("Many pictures") as many:
            draw_batch(many, session, tabs, changed)
        with gr.Tab("Tune") as tune:
            draw_tune(tune, session, tabs, changed)
    add_endpoints()

demo.queue(max_size=SERVING.queue, default_concurrency_limit=SERVING.workers)
refuse_links()


def main() -> None:
    """Serve the page until the process is stopped."""
    # a container is stopped so: leave in an orderly way, which removes the visitors' files
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    keep_clean()
    beside.submit(registry.shelf.prepare)  # whoever comes first waits for the rest of it, not for all
    demo.launch(**LAUNCH)
