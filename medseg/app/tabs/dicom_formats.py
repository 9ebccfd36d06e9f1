"""DICOM results of the open image, each for the download list and the archive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.app.state.view_state import ViewState
from medseg.errors import InputError

if TYPE_CHECKING:
    from medseg.export.derived import Source
    from medseg.export.dicom_seg import SegKind


def write_seg(kind: SegKind) -> Callable[[ViewState, Path], None]:
    """What writes a SEG of this `kind`."""

    def write(view_state: ViewState, path: Path) -> None:
        from medseg.export.dicom_seg import write_dicom_seg

        write_dicom_seg([view_state.prediction], _source(view_state), path, kind=kind)

    return write


def write_capture(view_state: ViewState, path: Path) -> None:
    from medseg.export.secondary_capture import write_secondary_capture

    write_secondary_capture(view_state.prediction, _source(view_state), path)


def write_map(view_state: ViewState, path: Path) -> None:
    from medseg.export.parametric_map import write_parametric_map

    write_parametric_map([view_state.prediction], _source(view_state), path)


def _source(view_state: ViewState) -> Source:
    from medseg.export.results import GONE

    if not view_state.path.exists():
        raise InputError(GONE)
    return view_state.source
