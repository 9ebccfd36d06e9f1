"""How far to believe a result: what the ensemble's calibration predicts for it, or why it predicts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medseg.app.render.text import plain
from medseg.errors import MedsegError
from medseg.hub.folders import CALIBRATION

if TYPE_CHECKING:
    from medseg.app.state.view_state import Shown
    from medseg.calibration.calibrate import Calibration
    from medseg.calibration.trust import Trust
    from medseg.inference.ensemble import Ensemble, Prediction

LOOK = "⚠ **Look at this yourself.**"


def calibration_of(ensemble: Ensemble) -> Calibration | None:
    """What lies beside ensemble.json, where it is a calibration of these very members and settings."""
    from medseg.calibration.calibrate import load_calibration  # needs torch: the page is there before it

    if ensemble.folder is None or not (ensemble.folder / CALIBRATION).is_file():
        return None
    try:
        return load_calibration(ensemble.folder, ensemble)
    except MedsegError:
        return None


def is_calibrated(found: Calibration | None, prediction: Prediction) -> bool:
    """Whether the prediction's settings are those that were calibrated."""
    from medseg.calibration.calibrate import holds_for

    return found is not None and holds_for(found, prediction)


def judged(found: Calibration | None, prediction: Prediction, doubts: Sequence[str]) -> Trust | None:
    """The predicted Dice, where picture (`doubts`), settings and calibration allow one."""
    from medseg.calibration.calibrate import judge

    if doubts or found is None or found.trust is None or not is_calibrated(found, prediction):
        return None
    return judge(found, prediction)


def verdict(shown: Shown) -> str:
    """The predicted Dice and whether to look at the mask oneself; else why there is none."""
    if shown.doubts:
        return f"{LOOK} {plain(' '.join(shown.doubts))} So no Dice is predicted."
    found = shown.calibration
    if found is None:
        what = "the models that are left have" if shown.ensemble.quarantined else "this ensemble, as it is, has"
        return f"No predicted Dice: {what} not been calibrated."
    if not is_calibrated(found, shown.prediction):
        return (
            "No predicted Dice: these settings are not calibrated, only the ensemble's own are: its fitted weights, "
            f"weighted mean, threshold {found.threshold:.2f}, no flips, no other least area."
        )
    trust = judged(found, shown.prediction, shown.doubts)
    if trust is None:
        return "No predicted Dice: the ensemble was calibrated on too few cases for one."
    expected = f"**Predicted Dice {trust.dice:.2f}**, 90 % interval {trust.low:.2f} to {trust.high:.2f}."
    learnt = (
        f"From how far the models agree, as learnt on {plain(found.data)} (n = {found.n}); for pictures like those."
    )
    return f"{expected} {LOOK} {learnt}" if trust.look_yourself else f"{expected} {learnt}"
