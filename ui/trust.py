"""How far to believe a result: what the ensemble's calibration predicts for it, or why it predicts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medseg.errors import MedsegError
from medseg.folders import CALIBRATION

if TYPE_CHECKING:
    from medseg.calibrate import Calibration
    from medseg.ensemble import Ensemble


def calibration_of(ensemble: Ensemble) -> Calibration | None:
    """What lies beside ensemble.json, where it is a calibration of these very members and settings."""
    from medseg.calibrate import load_calibration  # needs torch: the page is there before it

    if ensemble.folder is None or not (ensemble.folder / CALIBRATION).is_file():
        return None
    try:
        return load_calibration(ensemble.folder, ensemble)
    except MedsegError:
        return None
