"""A report made true again: the ensemble that it names runs on the image once more, and every difference is said."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg import schema
from medseg.arrays import Masks
from medseg.config import Cleanup
from medseg.errors import ConfigError, InputError, MedsegError
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.inference.prediction import Prediction
from medseg.inference.record import areas, masks_sha256, versions
from medseg.metrics import confusion
from medseg.postprocess import to_label_map
from medseg.reading.readers import read_image, read_masks


@dataclass(frozen=True)
class Replay:
    """`differences`, a sentence each, are empty where image, models and mask are the same; `remarks` change none of
    them: other versions of what the numbers depend on, or members that were left out then as now."""

    differences: tuple[str, ...]
    remarks: tuple[str, ...]


def load_report(path: Path) -> dict[str, Any]:
    """A JSON report of `predict` or of the page. Raises InputError for anything else."""
    try:
        if not path.is_file() or path.stat().st_size > schema.MAX_FILE_BYTES:  # a pipe has no end
            raise ValueError("no file, or too large")
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InputError(f"{path.name} is not a report: wanted the JSON file of `predict` or of the page.") from None
    return _checked(report, path.name)


def _checked(report: Any, name: str) -> dict[str, Any]:
    """`report`, where all that is used of it has the type that `Prediction.report` gives it. Raises InputError."""
    if not isinstance(report, dict):
        raise InputError(f"{name} is not a report: wanted the JSON file of `predict` or of the page.")
    for key, fits in _FIELDS.items():
        if not fits(report.get(key)):
            raise InputError(f"{name} is not a report of `predict` or of the page: its {key!r} is missing or changed.")
    return report


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_weight(value: Any) -> bool:
    return _is_number(value) or (isinstance(value, list) and bool(value) and all(map(_is_number, value)))


def _is_member(value: Any) -> bool:
    return _has(value, name=str, sha256=str) and _is_weight(value.get("weight"))


def _is_image(value: Any) -> bool:
    if not _has(value, sha256=str, frame=int) or value["frame"] < 0:
        return False
    window = value.get("window")
    return window is None or (isinstance(window, list) and len(window) == 2 and all(map(_is_number, window)))


def _is_cleanup(value: Any) -> bool:
    try:
        return bool(schema.from_json(Cleanup, value))
    except ConfigError:
        return False


def _is_area(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _has(value: Any, **types: type) -> bool:
    return isinstance(value, dict) and all(type(value.get(key)) is kind for key, kind in types.items())


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "members": lambda value: isinstance(value, list) and bool(value) and all(map(_is_member, value)),
    "image": _is_image,
    "threshold": _is_weight,
    "blend": lambda value: isinstance(value, str),
    "tta": lambda value: isinstance(value, bool | str),
    "cleanup": _is_cleanup,
    "masks_sha256": lambda value: isinstance(value, str),
    "areas": lambda value: isinstance(value, dict) and all(map(_is_area, value.values())),
    "versions": lambda value: isinstance(value, dict) and all(isinstance(each, str) for each in value.values()),
    "source": lambda value: value is None or (_has(value, name=str) and isinstance(value.get("revision"), str | None)),
    "stacker": lambda value: value is None or _has(value, sha256=str),
}
"""What is used of a report, and what it must be."""


def hub_source(report: dict[str, Any]) -> str | None:
    """The Hub repository and commit that the report names, as `Ensemble.from_pretrained` takes them; else None."""
    source = report.get("source") or {}
    return f"{source['name']}@{source['revision']}" if source.get("revision") else None


def replay(report: dict[str, Any], path: Path, ensemble: Ensemble, mask: Path | None = None) -> Replay:
    """Segment the file `path` as `report` says, and compare.

    `mask` is the mask file of that time: with it, a mask that came out otherwise is said with its Dice, and a file that
    holds another mask than the report's is a difference. Raises
    ReadError for an image that cannot be read, InputError for settings in the report that the ensemble does not take.
    """
    report = _checked(report, "This")
    image = _image(report, path)
    differences = [*_other_image(report, image), *_other_models(report, ensemble)]
    if len(ensemble.members) == len(report["members"]):
        prediction = _predict(report, image, ensemble)
        differences += [*_other_mask(report, prediction, mask), *_other_areas(report, prediction)]
    return Replay(tuple(differences), tuple(_remarks(report, ensemble)))


def _image(report: dict[str, Any], path: Path) -> Image:
    """The frame that the report names, by its window only where the file's own gives other pixels."""
    frame, window = report["image"]["frame"], report["image"].get("window")
    image = read_image(path, frame=frame)
    if image.sha256 != report["image"]["sha256"] and window is not None:
        return read_image(path, frame=frame, window=tuple(window))
    return image


def _predict(report: dict[str, Any], image: Image, ensemble: Ensemble) -> Prediction:
    weights = tuple(tuple(w) if isinstance(w, list) else w for w in (member["weight"] for member in report["members"]))
    settings = {"threshold": report["threshold"], "blend": report["blend"], "tta": report["tta"]}
    settings["cleanup"] = Cleanup(**report["cleanup"])
    prediction = ensemble.predict(image, weights=weights, **settings)
    # normalised weights normalised again may differ in the last bit
    return dataclasses.replace(prediction, weights=weights)


def _other_image(report: dict[str, Any], image: Image) -> Iterator[str]:
    if (then := report["image"]["sha256"]) != image.sha256:
        yield f"The image is another one: its pixels have the sha256 {image.sha256[:12]}…, then {then[:12]}…."


def _other_models(report: dict[str, Any], ensemble: Ensemble) -> Iterator[str]:
    then = {member["name"]: member["sha256"] for member in report["members"]}
    now = {name: member.sha256 for name, member in zip(ensemble.names, ensemble.members, strict=True)}
    for name in then.keys() - now.keys():
        yield f"The member {name} of the report is not in the ensemble {ensemble.config.name}."
    for name in now.keys() - then.keys():
        yield f"The member {name} of the ensemble {ensemble.config.name} is not in the report."
    for name in now.keys() & then.keys():
        if now[name] != then[name]:
            yield f"The member {name} is another one: its sha256 is {now[name][:12]}…, then {then[name][:12]}…."
    if now.keys() == then.keys() and list(now) != list(then):
        yield f"The members stand in another order: {', '.join(now)}, then {', '.join(then)}."
    stacker = ensemble.stacker.sha256 if ensemble.stacker and report["blend"] == "stacking" else None
    before = (report.get("stacker") or {}).get("sha256")
    if stacker != before:
        yield f"The stacker is another one: its sha256 is {str(stacker)[:12]}…, then {str(before)[:12]}…."


def _other_mask(report: dict[str, Any], prediction: Prediction, mask: Path | None) -> Iterator[str]:
    if masks_sha256(prediction.masks) == report["masks_sha256"]:
        yield from _other_file(prediction, mask)
        return
    overlaps = _overlaps(prediction, mask)
    now = areas(prediction.masks, prediction.labels, prediction.image)
    for index, label in enumerate(prediction.labels):
        before = report["areas"].get(label, {}).get("px", 0)
        dice_now = f", Dice {overlaps[index]:.4f}" if overlaps else ""
        yield f"The mask of {label} has {now[label]['px']:.0f} pixels, then {before:.0f}{dice_now}."


def _other_file(prediction: Prediction, mask: Path | None) -> Iterator[str]:
    """What the mask file holds, where that is not the mask of the report, which `prediction` repeats."""
    if mask is None:
        return
    try:
        masks = _read_filed(mask, prediction)
    except MedsegError as error:
        yield f"The file {mask.name} is no mask of this image: {error}"
        return
    for label, there, own in zip(prediction.labels, masks, _as_filed(prediction.masks), strict=True):
        if not np.array_equal(there, own):
            dice_now = confusion(own, there).ratio("dice")
            counts = f"{there.sum()} pixels, the report's has {own.sum()}"
            yield f"The file {mask.name} holds another mask of {label}: {counts}, Dice {dice_now:.4f}."


def _other_areas(report: dict[str, Any], prediction: Prediction) -> Iterator[str]:
    """What the report says of areas and its own mask does not; of another mask `_other_mask` says them."""
    if masks_sha256(prediction.masks) != report["masks_sha256"]:
        return
    now, then = areas(prediction.masks, prediction.labels, prediction.image), report["areas"]
    for label in sorted(now.keys() | then.keys()):
        here, there = now.get(label, {}), then.get(label, {})
        for unit in sorted(here.keys() | there.keys()):
            if not math.isclose(here.get(unit, math.nan), there.get(unit, math.nan), rel_tol=1e-6, abs_tol=1e-3):
                values = [f"{area[unit]:g}" if unit in area else "none" for area in (here, there)]
                named = {"px": "pixels", "mm2": "mm²"}.get(unit, unit[:20])
                yield f"The area of {label[:80]} is {values[0]} {named}, the report says {values[1]}."


def _overlaps(prediction: Prediction, mask: Path | None) -> list[float]:
    """Each label's Dice with the mask file of that time; none where there is no such file, or it does not fit."""
    if mask is None:
        return []
    try:
        then = _read_filed(mask, prediction)
    except MedsegError:
        return []
    return [confusion(new, old).ratio("dice") for new, old in zip(_as_filed(prediction.masks), then, strict=True)]


def _read_filed(mask: Path, prediction: Prediction) -> Masks:
    """The mask file of the image; a PNG of a volume's slice lies as the slice is shown, and cannot say where."""
    image = prediction.image
    image = dataclasses.replace(image, affine=None) if mask.suffix.lower() == ".png" else image
    return read_masks(mask, prediction.labels, like=image)


def _as_filed(masks: Masks) -> Masks:
    """The masks as a file gives them back: a label map keeps the later one where two overlap."""
    if len(masks) == 1:
        return masks
    label_map = to_label_map(masks)
    return np.stack([label_map == index + 1 for index in range(len(masks))])


def _remarks(report: dict[str, Any], ensemble: Ensemble) -> Iterator[str]:
    now = versions()
    for name, then in report["versions"].items():
        if now.get(name) != then:
            yield f"{name} is {now.get(name, 'missing')} here, and was {then}."
    yield from ensemble.quarantined
