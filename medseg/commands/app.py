"""The command that serves the page: app."""

from __future__ import annotations

import argparse
import runpy

from medseg.places import shipped


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    app = commands.add_parser("app", help="serve the page; environment variables set it up (docs/programs.md)")
    app.set_defaults(run=lambda options: runpy.run_path(str(shipped("app.py")), run_name="__main__"))
