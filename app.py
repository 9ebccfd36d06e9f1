"""The page: `python app.py` starts it on this machine, and a Hugging Face Space runs the same file.

Tabs and launch only: what happens is in `ui/`, and every number and picture comes from `medseg/`.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported, which reports at import

import gradio as gr

from medseg.errors import MedsegError
from ui.endpoints import add_endpoints
from ui.page_segment import draw_segment
from ui.serving import refuse_links, serving
from ui.session import Session
from ui.theme import CSS, THEME

HOUR = 3600
try:
    SERVING = serving()
except MedsegError as error:
    sys.exit(f"error: {error}")

LAUNCH: dict[str, Any] = {
    "theme": THEME,
    "css": CSS,
    "max_file_size": "100mb",
    "state_session_capacity": 100,  # a session holds tens of megabytes; the longest unused goes first
    "ssr_mode": False,
    "run_history": False,  # it would keep the visitors' pictures in their browsers
    "footer_links": ["api"],
    "auth": list(SERVING.logins) or None,
    "mcp_server": SERVING.mcp,
}

with gr.Blocks(title="medseg", analytics_enabled=False, delete_cache=(HOUR, HOUR), fill_width=True) as demo:
    session = gr.State(Session())
    gr.Markdown(
        "# medseg\nSegment a 2-D medical picture with several models at once, and steer how much each of them counts. "
        "**Research use only, not for diagnosis.**",
        elem_id="head",
    )
    with gr.Tabs(), gr.Tab("One picture"):
        draw_segment(demo, session)
    add_endpoints()

demo.queue(max_size=SERVING.queue, default_concurrency_limit=SERVING.workers)
refuse_links()

if __name__ == "__main__":
    # a container is stopped so: leave in an orderly way, which removes the visitors' files
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    demo.launch(**LAUNCH)
