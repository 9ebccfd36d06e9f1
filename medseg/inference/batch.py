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
from typing import Any

from medseg.arrays import Weight
from medseg.config import Blend, Cleanup
from medseg.errors import InputError, MedsegError, ReadError
from medseg.export.png import write_mask
from medseg.inference.blend import normalise_weights
from medseg.inference.ensemble import Ensemble
from medseg.inference.pipeline import ahead
from medseg.inference.prediction import Prediction, checked_blend, checked_threshold
from medseg.inference.record import NOTICE
from medseg.inference.tta import Augmentation
from medseg.reading.readers import count_frames, read_file
from medseg.report.csv import write_csv
from medseg.writing import replacing

Progress = Callable[[], object]

TABLE = "results.csv"
_COLUMNS = ("file", "frame", "label", "area_px", "area_mm2", "error")


@dataclass(frozen=True)
class Settings:
    """How every image is segmented; None is the ensemble's own choice."""

    weights: tuple[Weight, ...] | None = None
    threshold: float | None = None
    blend: Blend | None = None
    tta: Augmentation | bool = False
    cleanup: Cleanup | None = None


@dataclass(frozen=True)
class Job:
    """A file and the place of its results: `stem` is a path without suffix below the output folder."""

    path: Path
    stem: str


def find_jobs(inputs: Sequence[str], output: Path) -> list[Job]:
    """The files that `inputs` name: files, folders (every file below them) and patterns, each file once, sorted.

    Results keep the place of a file below its folder, and its whole name, so that a.png and a.dcm part. Hidden files
    and those below `output` are passed over. Raises InputError for an input without files, or files whose results would
    lie in one place.
    """
    jobs: dict[Path, Job] = {}
    for pattern in inputs:
        files = list(_files(pattern))
        if not files:
            raise InputError(f"{pattern} holds no file: wanted files, folders or patterns such as 'films/*.dcm'.")
        for path, place in files:
            if output.resolve() in path.resolve().parents:
                continue
            jobs.setdefault(path.resolve(), Job(path, place))
    places: dict[str, Path] = {}
    for job in jobs.values():
        other = places.setdefault(job.stem, job.path)
        if other is not job.path:
            raise InputError(f"{other} and {job.path} have one name: give the folder above both instead.")
    return sorted(jobs.values(), key=lambda job: job.stem)


def _files(pattern: str) -> Iterator[tuple[Path, str]]:
    """Each file with its place in the output folder."""
    if Path(pattern).is_dir():
        root = Path(pattern)
        visible = (p for p in root.rglob("*") if not any(part.startswith(".") for part in p.relative_to(root).parts))
        return ((path, path.relative_to(root).as_posix()) for path in visible if path.is_file())
    paths = (
        [Path(pattern)] if Path(pattern).is_file() else [Path(match) for match in glob.glob(pattern, recursive=True)]
    )
    return ((path, path.name) for path in paths if path.is_file())


def predict_jobs(
    ensemble: Ensemble, jobs: Sequence[Job], output: Path, settings: Settings, progress: Progress = lambda: None
) -> int:
    """Segment the `jobs` that `output` does not hold yet; returns how many of them failed.

    A file that fails leaves `<name>.error.json` with its sentence, and is tried again by the next call; the others go
    on. Raises InputError for settings that fit no image, before the first one.
    """
    check(ensemble, settings)
    failed: list[Job] = []

    def image_bytes(job: Job) -> Iterator[int]:
        try:
            for prediction in segment_job(ensemble, job, output, settings):
                yield prediction.image.pixels.nbytes
        except MedsegError:
            failed.append(job)
        progress()

    for _ in ahead(map(image_bytes, jobs), int):
        pass
    return len(failed)


def segment_job(ensemble: Ensemble, job: Job, output: Path, settings: Settings) -> Iterator[Prediction]:
    """Every frame of one file that `output` does not hold yet, each given when its mask and report are there.

    A file that fails, whatever was raised, leaves its `.error.json` and raises a MedsegError; the frames before stay.
    Only a full disk, or one that takes nothing, is no fault of the file.
    """
    target = output / job.stem
    target.parent.mkdir(parents=True, exist_ok=True)
    error = _beside(target, ".error.json")
    try:
        yield from _predict(ensemble, job, target, settings)
        error.unlink(missing_ok=True)
    except MedsegError as refusal:
        _write_json({"file": job.stem, "error": str(refusal)}, error)
        raise
    except Exception as failure:  # one odd file among thousands must not end the run
        if isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
            raise
        sentence = f"This file could not be segmented ({type(failure).__name__}: {str(failure)[:200]})."
        _write_json({"file": job.stem, "error": sentence}, error)
        raise ReadError(sentence) from failure


def _predict(ensemble: Ensemble, job: Job, target: Path, settings: Settings) -> Iterator[Prediction]:
    """Every frame of one file that is not done."""
    with job.path.open("rb") as stream:
        file_sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    frames = count_frames(job.path)
    for frame in range(frames):
        name = target if frames == 1 else target.with_name(f"{target.name}-frame{frame:03d}")
        asked = {
            "file_sha256": file_sha256,
            "frame": frame,
            "ensemble_sha256": _digest(asdict(ensemble.config)),
            "settings": json.loads(json.dumps(asdict(settings))),  # as it will be read again
        }
        if _is_done(_beside(name, ".json"), asked):
            continue
        prediction = ensemble.predict(read_file(job.path, frame=frame), **vars(settings))
        with replacing(_beside(name, ".png")) as writing:
            write_mask(prediction.masks, prediction.image, writing)
        report = {"notice": NOTICE, "file": job.stem, "asked": asked, **prediction.report()}
        _write_json(report, _beside(name, ".json"))
        ensemble.forget(prediction.image)
        yield prediction


def write_table(jobs: Sequence[Job], output: Path) -> tuple[int, int]:
    """Write results.csv, a row for each frame and label and for each file that failed; returns how many files are done
    and how many failed."""
    rows, done, failed = [], 0, 0
    for job in jobs:
        target = output / job.stem
        if (refused := _read_json(_beside(target, ".error.json"))) is not None:
            rows.append({"file": job.stem, "error": refused["error"]})
            failed += 1
            continue
        reports = [_read_json(path) for path in [_beside(target, ".json"), *_frames(target)]]
        rows += [row for report in reports if report is not None for row in _rows(report)]
        done += any(reports)
    write_csv(output / TABLE, _COLUMNS, rows)
    return done, failed


def _rows(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for label, area in report["areas"].items():
        place = {"file": report["file"], "frame": report["asked"]["frame"], "label": label}
        yield {**place, "area_px": area["px"], "area_mm2": area.get("mm2", "")}


def _frames(target: Path) -> list[Path]:
    return sorted(target.parent.glob(f"{glob.escape(target.name)}-frame[0-9][0-9][0-9].json"))


def check(ensemble: Ensemble, settings: Settings) -> None:
    """Raises InputError for settings that fit no image of the `ensemble`."""
    if settings.weights is not None:
        normalise_weights(settings.weights, len(ensemble.members), len(ensemble.config.labels))
    if settings.threshold is not None:
        checked_threshold(settings.threshold)
    if settings.blend is not None:
        checked_blend(settings.blend, ensemble.config)


def _is_done(report: Path, asked: dict[str, Any]) -> bool:
    """Whether the report is of what is `asked` and its mask is there."""
    known = _read_json(report)
    return known is not None and known.get("asked") == asked and report.with_suffix(".png").is_file()


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
