"""How far to believe a result: what the ensemble's calibration predicts for it, or why it predicts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medseg.errors import MedsegError
from medseg.hub.folders import CALIBRATION

if TYPE_CHECKING:
    from medseg.calibration.calibrate import Calibration
    from medseg.calibration.trust import Trust
    from medseg.inference.ensemble import Ensemble
    from medseg.inference.prediction import Prediction


def calibration_of(ensemble: Ensemble) -> Calibration | None:
    """What lies beside ensemble.json, where it is a calibration of these very members and settings."""
    from medseg.calibration.calibrate import load_calibration  # needs torch: the page is there before it

    if ensemble.folder is None or not (ensemble.folder / CALIBRATION).is_file():
        return None
    try:
        return load_calibration(ensemble.folder, ensemble)
    except MedsegError:
        return None


def is_calibrated(calibration: Calibration | None, prediction: Prediction) -> bool:
    """Whether the prediction's settings are those that were calibrated."""
    from medseg.calibration.calibrate import holds_for

    return calibration is not None and holds_for(calibration, prediction)


def judged(calibration: Calibration | None, prediction: Prediction, domain_warnings: Sequence[str]) -> Trust | None:
    """The predicted Dice, where image (`domain_warnings`), settings and calibration allow one."""
    from medseg.calibration.calibrate import judge

    if (
        domain_warnings
        or calibration is None
        or calibration.trust is None
        or not is_calibrated(calibration, prediction)
    ):
        return None
    return judge(calibration, prediction)


def worth(ensemble: Ensemble, prediction: Prediction, own: Calibration | None = None) -> dict[str, Any]:
    """What a report says of how far to believe a `prediction` of the `ensemble`: `domain` with the verdict (None where
    nothing is known of the training images), the distance (None without a domain.json) and sentences; `trust` with the
    predicted Dice, its 90 % interval and whether to look yourself, None where image, settings or calibration (the
    ensemble's, or the `own` one of a fit) allow none."""
    verdict = ensemble.verdict(prediction.image)
    warnings = ensemble.domain_warnings(prediction.image)
    trust = judged(own or calibration_of(ensemble), prediction, warnings)
    distance = None if verdict.distance is None else round(verdict.distance, 3)
    known = ensemble.domain or ensemble.members[0].config.training_data.appearance or warnings
    return {
        "domain": {"verdict": verdict.word if known else None, "distance": distance, "warnings": warnings},
        "trust": trust and {"dice": trust.dice, "low": trust.low, "high": trust.high, "look": trust.look_yourself},
    }
