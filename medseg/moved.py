"""Modules under their old names, for one release: each import of one warns and gives the module of today."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "medseg.formats": "medseg.export",
    "medseg.formats.dicom_seg": "medseg.export.dicom_seg",
    "medseg.formats.frames": "medseg.export.frames",
    "medseg.formats.nifti": "medseg.export.nifti",
    "medseg.formats.page": "medseg.report.prediction_page",
    "medseg.formats.tables": "medseg.export.tables",
    "medseg.formats.training_pair": "medseg.export.training_pair",
    "medseg.data.layouts_folders": "medseg.data.catalogue",
    "medseg.data.layouts_tables": "medseg.data.catalogue",
    "medseg.evaluation.html_page": "medseg.report.html",
    "medseg.evaluation.report_html": "medseg.report.evaluation_page",
    "medseg.evaluation.report_pictures": "medseg.report.evaluation_images",
    "medseg.evaluation.tables": "medseg.report.evaluation_table",
    "medseg.inference.about": "medseg.cards.info",
    "medseg.inference.card": "medseg.cards.card",
    "medseg.inference.card_metadata": "medseg.cards.metadata",
    "medseg.inference.scope": "medseg.inference.domain_check",
    "medseg.inference.words": "medseg.report.words",
    "medseg.reading.picture": "medseg.reading.raster",
    "medseg.fitting.tally": "medseg.fitting.histogram",
    "medseg.fitting.observed": "medseg.fitting.observations",
    "medseg.fitting.contest": "medseg.fitting.compare",
    "medseg.fitting.floor": "medseg.fitting.baseline",
    "medseg.calibration.reliability": "medseg.calibration.temperature",
    "medseg.commands.cards": "medseg.cards.folder",
    "medseg.commands.data": "medseg.commands.inspect",
    "medseg.commands.folder_run": "medseg.inference.batch",
    "medseg.commands.golden": "medseg.inference.selftest",
    "medseg.commands.ray_run": "medseg.inference.ray",
    "medseg.commands.replay": "medseg.inference.replay",
    "medseg.commands.space": "medseg.hub.space",
}
"""Old name of a module → its name today, of what moved in 0.2.0."""


class MovedFinder(MetaPathFinder):
    """Finds the modules of MOVED. It stands first: `medseg.formats` has the path of the package of today."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in MOVED:
            return None
        name = MOVED[fullname]
        warnings.warn(f"{fullname} is {name} now; the old name goes in 0.3.0.", DeprecationWarning, stacklevel=2)
        return ModuleSpec(fullname, _Alias(name))


class _Alias(Loader):
    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import has put the old name's there


def install() -> None:
    """Make the old names importable."""
    if not any(isinstance(finder, MovedFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedFinder())
