"""The command that adds what other programs or runtimes need: export."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = commands.add_parser("export", help="add graphs for ONNX Runtime to an ensemble or member folder")
    export.add_argument("--graph", required=True, type=Path, metavar="FOLDER", help="ensemble or member folder")
    export.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from medseg.inference.graph_folder import add_graphs

    for name in add_graphs(options.graph):
        print(f"{name}: graph.onnx written, compared with torch")
