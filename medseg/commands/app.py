"""The command that serves the page: app."""

from __future__ import annotations

import argparse
import runpy
import sys
from typing import Any

from medseg.places import shipped

VARIABLES = """environment variables:
  GRADIO_SERVER_NAME     where it listens (127.0.0.1)
  GRADIO_SERVER_PORT     its port (7860)
  GRADIO_TEMP_DIR        where uploads lie until they are deleted (the system's)
  MEDSEG_ENSEMBLES       folders or Hub ids shown first, separated by : (the embedded ones)
  MEDSEG_LOGIN           name:password of those who may come in, separated by spaces (everybody)
  MEDSEG_HOSTS           names by which the server may be called, separated by spaces
  MEDSEG_ALLOW_HUB       1: visitors may name Hub repositories on a public page too
  MEDSEG_DICOMWEB        address of the hospital's archive; with _TOKEN, _USER and _CA
  MEDSEG_DICOMWEB_OPEN   1: a proxy says who may come in, MEDSEG_LOGIN need not
  MEDSEG_QUEUE           events that may wait (64)
  MEDSEG_WORKERS         events that run at once (8)
  MEDSEG_UPLOAD_MB       the most that one upload may have (200)
  MEDSEG_UPLOAD_MINUTES  how long a visitor's file is kept (60)
  MEDSEG_ONLY            1: nothing beside the ensembles of MEDSEG_ENSEMBLES (off)
  MEDSEG_OPEN_MB         the most memory of all open images and results (512)
  MEDSEG_MCP             1: the endpoints are tools for agents too
  MEDSEG_METRICS         1: /metrics for Prometheus"""


LAYOUT: dict[str, Any] = {"epilog": VARIABLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
DESCRIPTION = (
    "Serve the page until it is stopped: images, batches and fits in a browser, and endpoints for programs.\n"
    "It has no options; environment variables set it up. Research use only, not for diagnosis."
)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    app = commands.add_parser(
        "app", help="serve the page; environment variables set it up", description=DESCRIPTION, **LAYOUT
    )
    app.set_defaults(run=_run)


def read_arguments() -> None:
    """Of `python app.py`: --help, and a refusal of anything else."""
    argparse.ArgumentParser(prog="python app.py", description=DESCRIPTION, **LAYOUT).parse_args()


def _run(_: argparse.Namespace) -> None:
    sys.argv[1:] = []
    runpy.run_path(str(shipped("app.py")), run_name="__main__")
