"""The numbers and sentences beside the image, all on the image's own grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medseg.calibration import judgement
from medseg.report.words import of_today, threshold_words

if TYPE_CHECKING:
    from medseg.app.state.view_state import ViewState
    from medseg.inference.ensemble import Ensemble
    from medseg.inference.prediction import Prediction

TABLES = (
    {"dice": "Dice", "iou": "IoU", "hd95_px": "HD95 (px)", "hd95_mm": "HD95 (mm)"},
    {"precision": "Precision", "recall": "Recall", "accuracy": "Accuracy"},
)
"""The scores as two tables, which are narrow enough for the page's right column."""

_NETWORKS = {
    "unet": "U-Net",
    "unetplusplus": "U-Net++",
    "fpn": "FPN",
    "deeplabv3": "DeepLabV3",
    "deeplabv3plus": "DeepLabV3+",
    "segformer": "SegFormer",
    "upernet": "UPerNet",
    "pspnet": "PSPNet",
    "linknet": "LinkNet",
    "manet": "MA-Net",
}

BLENDS = {
    "weighted mean": "The average probability; each model counts as its slider says.",
    "geometric": "The average of the models' log-odds: who is sure counts for more.",
    "median": "The middle probability: a model that is far off moves it little.",
    "majority vote": "The share of models that say yes; the cut-off is the share needed.",
    "STAPLE": "Judges from this image whom to trust; every model above 0 takes part.",
    "stacking": "A further network decides from the probabilities of all models; the sliders rest.",
}
"""What each blend is, in one line."""

TITLES = {
    "weighted mean": "Average",
    "geometric": "Geometric average",
    "median": "Median",
    "majority vote": "Majority",
    "STAPLE": "STAPLE",
    "stacking": "Stacking",
}
"""What the page calls each."""


LOOK = "⚠ **Look at this yourself.**"

NO_TRUTH = "Add the true mask of this image, or draw it, to see Dice, IoU, precision, recall, accuracy and HD95 here."


def score_table(view_state: ViewState, rows: list[dict[str, object]]) -> str:
    """`rows` as Markdown tables, two a label, under which the protocol stands; without truth how to get one."""
    if not rows:
        return NO_TRUTH
    names, labels = titles(view_state.prediction.member_names), view_state.prediction.labels
    parts = []
    for label in labels:
        parts += [f"**{plain(label)}**"] if len(labels) > 1 else []
        parts += [_table([row for row in rows if row["label"] == label], names, columns) for columns in TABLES]
    return "\n\n".join([*parts, protocol(view_state)])


def _table(rows: list[dict[str, object]], names: list[str], columns: dict[str, str]) -> str:
    columns = {key: title for key, title in columns.items() if key in rows[0]}
    lines = [_line(["Mask", *columns.values()]), _line(["---", *["---:"] * len(columns)])]
    for row in rows:
        name = plain(names[int(str(row["member"]))]) if "member" in row else f"**{row['mask']}**"
        lines.append(_line([name, *(_number(key, row[key]) for key in columns)]))
    return "\n".join(lines)


def titles(names: Sequence[str]) -> list[str]:
    """The networks that the members' names name, where each names another one; else the names themselves."""
    said = [next((_NETWORKS[word] for word in name.lower().split("-") if word in _NETWORKS), "") for name in names]
    return said if all(said) and len(set(said)) == len(said) else list(names)


def protocol(view_state: ViewState) -> str:
    """What every score of this image is measured by."""
    height, width = view_state.prediction.image.size
    return (
        f"Truth: {view_state.truth_source}. One image on its own grid ({width} × {height} px); foreground only, but "
        "accuracy also counts the background. HD95: 95th percentile of the distances between the outlines. Nothing to "
        "find and nothing found counts as overlap 1 and distance 0; only one of them empty as 0 and ∞."
    )


def summary(view_state: ViewState) -> str:
    """The settings of the result, and what its figures do not say."""
    if view_state.withheld:
        return ""
    unit = "" if view_state.prediction.image.spacing_mm else " The file names no pixel spacing, so areas are in pixels."
    return f"Segmented {_settings(view_state)}.{unit}{_bounds(view_state)}"


def _settings(view_state: ViewState) -> str:
    prediction = view_state.prediction
    title = TITLES[prediction.blend]
    vote = "" if title == "Average" else f"by {title if title.isupper() else title.lower()} "
    return f"{vote}at cut-off {threshold_words(prediction.threshold, '.2f')}{_extras(prediction)}"


def _extras(prediction: Prediction) -> str:
    """The settings that are seldom touched, where they are."""
    words = ""
    least, spacing = prediction.cleanup.min_area_px, prediction.image.spacing_mm
    if least:
        square = f" ({least * spacing[0] * spacing[1]:,.1f} mm²)" if spacing else ""
        words += f", without pieces under {least:,} px{square}"
    return words + (f", each model averaged over {prediction.tta}" if prediction.tta else "")


def _bounds(view_state: ViewState) -> str:
    if view_state.bounds is None:
        return ""
    rate = f"{view_state.bounds.alpha:.0%}"
    return (
        f" Dashed lines: “possibly” misses at most {rate} of the truth, and of “surely” at most "
        f"{rate} is false, on average over images like those of the calibration."
    )


def setting(view_state: ViewState) -> str:
    """What images are segmented with, in one line: ensemble, weights, threshold, blend."""
    prediction = view_state.prediction
    names = zip(titles(prediction.member_names), view_state.sliders, strict=True)
    weights = ", ".join(f"{plain(name)} {weight:g}" for name, weight in names)
    ensemble = plain(view_state.ensemble.config.name)
    cut_off = f"cut-off {threshold_words(prediction.threshold, '.2f')}"
    return f"**{ensemble}** with {weights}; vote: {TITLES[prediction.blend]}, {cut_off}{_extras(prediction)}."


def choice(name: str | None, ensemble: Ensemble) -> str:
    """Why the page took `ensemble`, which it calls `name`, for an image."""
    data = ensemble.members[0].config.training_data
    images = of_today(data.pictures or data.name)
    return f"The ensemble {name} was chosen: it was trained on {images}. Others are in the list."


def notes(view_state: ViewState) -> str:
    """What the user should know of image and models, a line each."""
    image, ensemble = view_state.prediction.image, view_state.ensemble
    left_out = [f"{sentence} It was left out, and the others share its weight." for sentence in ensemble.quarantined]
    about = [image.modality] if image.modality else []
    about += [f"frame {image.frame + 1} of {image.frames}"] if image.frames > 1 else []
    about += [f"window {view_state.window[0]:g} / {view_state.window[1]:g}"] if view_state.window else []
    about += [f"spacing {image.spacing_mm[0]:g} × {image.spacing_mm[1]:g} mm"] if image.spacing_mm else []
    lines = [f"- ⚠ {plain(sentence)}" for sentence in left_out]
    chosen = [view_state.choice] if view_state.choice else []
    of_image = [f"Image: {', '.join(about)}."] if about else []
    lines += [f"- {plain(sentence)}" for sentence in [*chosen, *of_image, *image.notes]]
    return "\n".join(lines)


def _number(metric: str, value: object) -> str:
    number = float(str(value))
    if math.isinf(number):
        return "∞"
    return f"{number:.1f}" if metric.startswith("hd95") else f"{number:.3f}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def plain(text: str) -> str:
    """`text` without what Markdown would read as a command; names and notes may come from a stranger's file."""
    return "".join("\\" + c if c in "\\`*_[]<>|#!" else c for c in text.replace("\n", " "))


def verdict(view_state: ViewState) -> str:
    """The predicted Dice and whether to look at the mask oneself; else why there is none."""
    if view_state.domain_warnings:
        return f"{LOOK} {plain(' '.join(view_state.domain_warnings))} So no Dice is predicted."
    calibration = view_state.valid_calibration
    if calibration is None:
        what = "the models that are left have" if view_state.ensemble.quarantined else "this ensemble, as it is, has"
        return f"No predicted Dice: {what} not been calibrated."
    if not judgement.is_calibrated(calibration, view_state.prediction):
        return (
            "No predicted Dice: these settings are not calibrated, only the ensemble's own are: its recommended "
            f"weights, vote by average, cut-off {threshold_words(calibration.threshold, '.2f')}, no flips, no other "
            "least area."
        )
    judged = judgement.judged(calibration, view_state.prediction, view_state.domain_warnings)
    if judged is None:
        return "No predicted Dice: the ensemble was calibrated on too few cases for one."
    expected = f"**Predicted Dice {judged.dice:.2f}**, 90 % interval {judged.low:.2f} to {judged.high:.2f}."
    data = plain(calibration.trust_data or f"{calibration.data} (n = {calibration.n})")
    learnt = f"From how far the models agree, as learnt on {data}; for images like those."
    return f"{expected} {LOOK} {learnt}" if judged.look_yourself else f"{expected} {learnt}"
