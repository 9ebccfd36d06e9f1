"""The command that writes what other programs or runtimes open: export."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.errors import ConfigError, InputError
from medseg.places import NAMED, own_folder


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = commands.add_parser(
        "export",
        help="write an ensemble as one ONNX or torch.export file, or add graph.onnx to a folder",
    )
    export.add_argument("ensemble", nargs="?", help=f"with --onnx or --torch: {NAMED}")
    kinds = export.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--onnx", type=Path, metavar="FILE", help="image → probabilities and masks, for ONNX runtimes")
    kinds.add_argument("--torch", type=Path, metavar="FILE", help="the same as torch.export's .pt2, for torch alone")
    kinds.add_argument("--graph", metavar="FOLDER", help="ensemble or member folder that lacks graph.onnx")
    export.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    if (options.ensemble is None) != (options.graph is not None):
        raise InputError("Wanted `medseg export ENSEMBLE --onnx FILE`, or --torch FILE, or `--graph FOLDER` alone.")
    if options.graph is not None:
        from medseg.inference.graph_folder import add_graphs

        for name in add_graphs(own_folder(options.graph)):
            print(f"{name}: graph.onnx written, compared with torch")
        return
    try:
        from medseg.export.model import export_model

        sentences = export_model(options.ensemble, options.onnx or options.torch, "onnx" if options.onnx else "torch")
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed: export with `pip install 'medseg[train]'`.") from None
    print(*sentences, sep="\n")
