"""Many files through one ensemble: every file exactly once, however often the command is stopped and repeated.

Each frame leaves `<name>.png`, the mask on the file's own grid, and then `<name>.json`, its report. The report is what
makes a frame done: it appears whole, after the mask, and names the input's and the ensemble's hashes, so that a
repeated command does only what is missing, has changed, or failed. Several processes (`accelerate launch -m medseg
predict …`) take files in turn and share the same folder.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.arrays import Threshold, Weight
from medseg.calibration.judgement import worth
from medseg.config import Blend, Cleanup
from medseg.errors import InputError, MedsegError, ReadError
from medseg.export.png import write_mask
from medseg.inference.blend import normalise_weights
from medseg.inference.ensemble import Ensemble
from medseg.inference.jobs import Job
from medseg.inference.memory import return_large_blocks
from medseg.inference.pipeline import ahead
from medseg.inference.prediction import Prediction, checked_blend, checked_threshold
from medseg.inference.record import NOTICE
from medseg.inference.tta import Augmentation, checked_tta
from medseg.report.csv import write_csv
from medseg.writing import replacing

if TYPE_CHECKING:
    from medseg.calibration.calibrate import Calibration

Progress = Callable[[], object]

TABLE = "results.csv"
_COLUMNS = (
    *("file", "frame", "label", "area_px", "area_mm2"),
    *("predicted_dice", "low", "high", "look_yourself", "domain", "warning", "notes", "error"),
)
_TRIED = 3
"""So many frames that fail one after another, and none before, are taken for all of the file."""


@dataclass(frozen=True)
class Settings:
    """How every image is segmented; None is the ensemble's own choice."""

    weights: tuple[Weight, ...] | None = None
    threshold: Threshold | None = None
    blend: Blend | None = None
    tta: Augmentation | bool = False
    cleanup: Cleanup | None = None


def predict_jobs(
    ensemble: Ensemble, jobs: Sequence[Job], output: Path, settings: Settings, progress: Progress = lambda: None
) -> int:
    """Segment the `jobs` that `output` does not hold yet; returns how many of them failed.

    A file that fails leaves `<name>.error.json` with its sentence, and is tried again by the next call; the others go
    on. Raises InputError for settings that fit no image, before the first one.
    """
    check(ensemble, settings)
    return_large_blocks()
    failed: list[Job] = []

    def image_bytes(job: Job) -> Iterator[int]:
        try:
            for prediction in segment_job(ensemble, job, output, settings):
                yield prediction.image.pixels.nbytes
        except MedsegError:
            failed.append(job)
        progress()

    for _ in ahead(map(image_bytes, jobs), int, ensemble.at_once):
        pass
    return len(failed)


def segment_job(
    ensemble: Ensemble, job: Job, output: Path, settings: Settings, own: Calibration | None = None
) -> Iterator[Prediction]:
    """Every frame of one file that `output` does not hold yet, each given when its mask and report are there; trust is
    by the `own` calibration of a fit, or by the ensemble's.

    A file that fails, whatever was raised, leaves its `.error.json` and raises a MedsegError; the frames before stay.
    Only a full disk, or one that takes nothing, is no fault of the file.
    """
    target = output / job.stem
    target.parent.mkdir(parents=True, exist_ok=True)
    error = _beside(target, ".error.json")
    refused: dict[int, str] = {}
    try:
        yield from _predict(ensemble, job, target, settings, refused, own=own)
    except Exception as failure:  # one odd file among thousands must not end the run
        sentence = _sentence(failure)
        _write_json({"file": job.stem, "error": sentence, "frames": {}}, error)
        raise ReadError(sentence) from failure
    if not refused:
        error.unlink(missing_ok=True)
        return
    first, sentence = next(iter(refused.items()))
    if len(refused) > 1:
        sentence = f"{len(refused)} frames failed, the first is {first}: {sentence}"
    _write_json({"file": job.stem, "error": sentence, "frames": refused}, error)
    raise ReadError(sentence)


def _predict(
    ensemble: Ensemble, job: Job, target: Path, settings: Settings, refused: dict[int, str], *, own: Calibration | None
) -> Iterator[Prediction]:
    """Every frame of one file that is not done; those that fail are `refused`, and the others go on."""
    hashes = [_file_sha256(path) for path in job.files]
    frames = job.frames
    common = {**asked_of(ensemble, settings), **({"series_sha256": _digest(hashes)} if job.series else {})}
    for frame in range(frames):
        name = target if frames == 1 else target.with_name(f"{target.name}-frame{frame:03d}")
        asked = {"file_sha256": hashes[frame if job.series else 0], "frame": frame, **common}
        if _is_done(_beside(name, ".json"), asked):
            continue
        try:
            prediction = ensemble.predict(job.read(frame), **vars(settings))
        except Exception as failure:
            refused[frame] = _sentence(failure)
            if len(refused) == min(frames, _TRIED) == frame + 1:
                raise
            continue
        with replacing(_beside(name, ".png")) as writing:
            write_mask(prediction.masks, prediction.image, writing)
        report = {
            "notice": NOTICE,
            "file": job.stem,
            "asked": asked,
            **prediction.report(),
            **worth(ensemble, prediction, own),
        }
        _write_json(report, _beside(name, ".json"))
        ensemble.forget(prediction.image)
        yield prediction


def asked_of(ensemble: Ensemble, settings: Settings) -> dict[str, Any]:
    """What tells one way to segment from another: hash and settings, as every report says them."""
    return {
        "ensemble_sha256": _digest(asdict(ensemble.config)),
        "settings": json.loads(json.dumps(asdict(settings))),  # as it will be read again
    }


def refuse_other_results(ensemble: Ensemble, settings: Settings, output: Path) -> None:
    """Raises InputError where `output` holds results of another ensemble or of other settings."""
    reports = (_read_json(path) for path in output.rglob("*.json"))
    asked = next((report["asked"] for report in reports if report and isinstance(report.get("asked"), dict)), None)
    now = asked_of(ensemble, settings)
    if asked is None or all(asked.get(key) == value for key, value in now.items()):
        return
    other = "another ensemble" if asked.get("ensemble_sha256") != now["ensemble_sha256"] else "other settings"
    raise InputError(
        f"{output} holds results of {other}, and they would be mixed. Name another folder with --output, or delete "
        "that one."
    )


def _sentence(failure: Exception) -> str:
    """Why a file or frame has no result. Raises `failure` where the disk is full or takes nothing."""
    if isinstance(failure, MedsegError):
        return str(failure)
    if isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
        raise failure
    return f"This file could not be segmented ({type(failure).__name__}: {str(failure)[:200]})."


def _file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_table(jobs: Sequence[Job], output: Path) -> tuple[int, int]:
    """Write results.csv, a row for each frame and label and for each file that failed; returns how many files are done
    and how many failed."""
    rows, done, failed = [], 0, 0
    for job in jobs:
        target = output / job.stem
        refused = _read_json(_beside(target, ".error.json"))
        if refused is not None:
            failed += 1
            frames = refused.get("frames") or {"": refused["error"]}
            rows += [{"file": job.stem, "frame": frame, "error": error} for frame, error in frames.items()]
            if not refused.get("frames"):
                continue
        reports = [_read_json(path) for path in [_beside(target, ".json"), *_frames(target)]]
        rows += [row for report in reports if report is not None for row in _rows(report)]
        done += refused is None and any(reports)
    write_csv(output / TABLE, _COLUMNS, rows)
    return done, failed


def _rows(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    domain, trust = report.get("domain") or {}, report.get("trust") or {}
    look = trust.get("look", True if domain.get("warnings") else None)
    believed = {
        "predicted_dice": trust.get("dice"),
        "low": trust.get("low"),
        "high": trust.get("high"),
        "look_yourself": None if look is None else "yes" if look else "no",
        "domain": domain.get("verdict"),
        "warning": " ".join(domain.get("warnings", ())),
    }
    for label, area in report["areas"].items():
        place = {"file": report["file"], "frame": report["asked"]["frame"], "label": label}
        notes = " ".join(report["image"]["notes"])
        yield {**place, "area_px": area["px"], "area_mm2": area.get("mm2", ""), **believed, "notes": notes}


def _frames(target: Path) -> list[Path]:
    frames = target.parent.glob(f"{glob.escape(target.name)}-frame[0-9]*.json")
    return sorted(frames, key=lambda path: (len(path.name), path.name))


def check(ensemble: Ensemble, settings: Settings) -> None:
    """Raises InputError for settings that fit no image of the `ensemble`."""
    if settings.weights is not None:
        normalise_weights(settings.weights, len(ensemble.members), len(ensemble.config.labels))
    if settings.threshold is not None:
        checked_threshold(settings.threshold, ensemble.config)
    if settings.blend is not None:
        checked_blend(settings.blend, ensemble.config)
    if settings.tta is not False:
        checked_tta(settings.tta, ensemble.upright)


def _is_done(report: Path, asked: dict[str, Any]) -> bool:
    """Whether the report is of what is `asked` and its mask is there."""
    known = _read_json(report)
    mask = report.with_suffix(".png")
    return known is not None and known.get("asked") == asked and mask.is_file() and mask.stat().st_size > 0


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _read_json(path: Path) -> dict[str, Any] | None:
    """None where there is nothing, or what a killed process left."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write_json(content: dict[str, Any], path: Path) -> None:
    with replacing(path) as writing:
        writing.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
