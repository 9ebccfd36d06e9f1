"""The README.md of a member or ensemble folder: a Hub card whose every figure comes from the JSON files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medseg.cards.metadata import front_matter, member_results, tested_results
from medseg.config import EnsembleConfig, MemberConfig, Preprocess, StartedFrom, TrainingData
from medseg.hub.folders import GRAPH
from medseg.report.words import gain_words, of_today, score_words, three_digits, threshold_words, weight_words
from medseg.scores import Fitted

_NOTICE = "**Research use only, not for diagnosis.**"


def member_card(member: MemberConfig, architecture: str, encoder: str) -> str:
    """Markdown with the Hub's YAML front matter for one member; a PlainUNet has no encoder to name."""
    data = member.training_data
    network, library = f"{architecture} on {encoder}", "segmentation-models-pytorch"
    if architecture == "PlainUNet":
        network, library = architecture, "medseg"
    return "\n".join(
        [
            *front_matter(member, member_results(member), member.name, library),
            f"# {member.name}",
            "",
            f"{_NOTICE} A {network} that predicts a probability map for {', '.join(member.labels)} ({member.task}).",
            "",
            "| trained on | data licence | weights licence |",
            "|---|---|---|",
            f"| {_link(data)} | {data.licence} | {member.weights_licence} |",
            "",
            *_citation(data.citation),
            *_start(member.started_from),
            "## Preprocessing",
            "",
            _preprocessing(member.preprocess, member.upright),
            "",
            "## Scores",
            "",
            *[f"- {score_words(score)}" for score in member.scores],
            "",
            "Figures of the validation split, on which the epoch was chosen, flatter; they are no test scores. The "
            "location prior never looks at the image: what does not exceed it has learned nothing. Command: "
            "`medseg train` with its recipe; of a stacker `medseg stack`, of a student `medseg distill`, of a member "
            "with corrections `medseg continue`.",
            "",
            *_loading(member, architecture),
            *_limits(data),
        ]
    )


def _start(start: StartedFrom | None) -> list[str]:
    if start is None:
        return []
    taken = f"{start.taken} of its {start.tensors} tensors were taken over"
    data = f", trained on {of_today(start.trained_on)}" if start.trained_on else ""
    return [
        f"The training began with the weights of {start.name} (member.json {start.sha256[:12]}…){data}: {taken}.",
        "",
    ]


def distilled_section(compared: dict[str, Any]) -> str:
    """What a student keeps of its ensemble, as `medseg.training.distilling.compare` measured it."""
    taught = f"Taught by the ensemble {compared['teacher']}." if "teacher" in compared else "Taught by an ensemble."
    where = f"On {compared['n']} validation images, seconds on one machine:"
    lines = ["## What the student keeps", "", f"{taught} {where}", ""]
    lines += ["| | Dice (95 % interval) | ECE | s an image | MB |", "|---|---|---|---|---|"]
    for name in ("ensemble", "student"):
        row = compared[name]
        overlap = f"{row['dice']:.3f} [{three_digits(row['low'])}, {three_digits(row['high'])}]"
        lines.append(f"| {name} | {overlap} | {row['ece']:.4f} | {row['seconds']:.2f} | {row['megabytes']:.1f} |")
    return "\n".join([*lines, ""])


def ensemble_card(
    settings: EnsembleConfig,
    members: Sequence[MemberConfig],
    report: dict[str, Any] | None,
    tables: Sequence[str],
    folds: Sequence[str] = (),
) -> str:
    """Markdown for an ensemble; `report` and `tables` (one per label) are those of `medseg.evaluation.evaluate`, where
    it ran, and `folds` the tables of a cross-validation of its recipes, each with what it counts."""
    first = members[0]
    data = first.training_data
    return "\n".join(
        [
            *front_matter(first, tested_results(data, report), settings.name, "medseg"),
            f"# {settings.name}",
            "",
            f"{_NOTICE} An ensemble of {len(members)} networks for {', '.join(settings.labels)} on "
            f"{of_today(data.pictures or data.name)}.",
            "",
            "| member | weight |",
            "|---|---|",
            *[
                f"| {m.name} | {weight_words(reference)} |"
                for m, reference in zip(members, settings.members, strict=True)
            ],
            "",
            f"Blend: {settings.blend}. Threshold {threshold_words(settings.threshold)}. Trained on {_link(data)}, "
            f"licence {data.licence}.",
            "",
            *_stacker(settings),
            *_citation(data.citation),
            *_fitted(settings),
            *_tested(report, tables),
            *_cross_validated(folds),
            "## Load",
            "",
            *_medseg_loading(),
            *_limits(data),
        ]
    )


def _preprocessing(preprocess: Preprocess, upright: bool) -> str:
    shape = "the aspect ratio ignored" if preprocess.resize == "stretch" else "the aspect ratio kept, padded with black"
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (preprocess.mean, preprocess.std))
    evened = "each channel scaled to a common median (`intensity`), " if preprocess.intensity == "evened" else ""
    turned = " It learnt from images that all lie one way: turn others so, and do not flip them." if upright else ""
    return (
        f"The image as {preprocess.channels} channels in [0, 1], resized to {preprocess.height} × {preprocess.width} "
        f"({shape}), {evened}then (value − mean) / std per channel: mean {mean}; std {std}.{turned}"
    )


def _loading(member: MemberConfig, architecture: str) -> list[str]:
    """With medseg, which checks and preprocesses; and the bare network."""
    library, opener = "import segmentation_models_pytorch as smp", "smp"
    if architecture == "PlainUNet":
        library, opener = "from medseg.inference.unet import PlainUNet", "PlainUNet"
    activation = "softmax, channel 0 the background" if member.task == "multiclass" else "sigmoid"
    return [
        "## Load",
        "",
        *_medseg_loading(),
        *_graph(member),
        f"Or the network alone: an image as above, (N, {member.preprocess.channels}, {member.preprocess.height}, "
        f"{member.preprocess.width}), goes in, logits come out ({activation}).",
        "",
        "```python",
        library,
        "",
        f'network = {opener}.from_pretrained("<this repository or folder>").eval()',
        "```",
        "",
    ]


def _graph(member: MemberConfig) -> list[str]:
    if GRAPH not in member.files:
        return []
    return [f"On a CPU ONNX Runtime runs `{GRAPH}`, the same network over the same weights: torch is not needed.", ""]


def _medseg_loading() -> list[str]:
    return [
        "```python",
        "import medseg",
        "",
        'ensemble = medseg.Ensemble.from_pretrained("<this repository or folder>")',
        'prediction = ensemble.predict(medseg.read_image("image.png"))',
        "```",
        "",
    ]


def _limits(data: TrainingData) -> list[str]:
    images = of_today(data.pictures) or f"images like those of {of_today(data.name)}"
    return [
        "## Intended use and limits",
        "",
        f"For research on {images}. Not a medical device; no decision about a patient may rest on it.",
        "",
        "Other devices, sites, populations and findings than those of the training images give other results. An image",
        "unlike them gets a prediction all the same; medseg only hints at it.",
        "",
    ]


def _stacker(settings: EnsembleConfig) -> list[str]:
    if settings.stacker is None:
        return []
    channels = (
        "the members' probabilities and the image" if settings.stacker.with_image else "the members' probabilities"
    )
    return [
        f"A further network, in `{settings.stacker.source}/`, was trained to predict from {channels} (stacking).",
        "",
    ]


def _fitted(settings: EnsembleConfig) -> list[str]:
    fitted = settings.fitted
    if fitted is None:
        return []
    return [
        "## How the weights were chosen",
        "",
        f"On {of_today(fitted.data)}, by {fitted.method}. Every choice has its own threshold, so these figures flatter "
        f"all {'four' if fitted.per_label else 'three'}; they are no test scores. Command: `medseg fit`.",
        "",
        f"- best single, {fitted.best_single_member}: {score_words(fitted.best_single)}",
        f"- equal weights: {score_words(fitted.equal)}",
        f"- fitted weights: {score_words(fitted.fitted)}",
        *([f"- weights per label: {score_words(fitted.per_label)}"] if fitted.per_label else []),
        "",
        *_nested(fitted),
    ]


def _nested(fitted: Fitted) -> list[str]:
    chosen = f"The ensemble has the {fitted.chosen} weights and their threshold"
    if fitted.recommended not in (None, fitted.chosen):
        chosen += f"; recommended were the {fitted.recommended} ones"
    nested = fitted.nested
    if nested is None:
        return [f"{chosen}.", ""]
    means, ahead = [], []
    if nested.single_over_equal:
        ahead.append(f"- best single − equal weights: {gain_words(nested.single_over_equal)}")
    if nested.per_label and nested.over_shared:
        means = [f"- weights per label: {score_words(nested.per_label)}"]
        ahead += [f"- per label − {nested.shared}: {gain_words(nested.over_shared)}"]
    return [
        "Chosen on some of the cases and scored on others, which does not flatter:",
        "",
        f"- best single: {score_words(nested.best_single)}",
        f"- equal weights: {score_words(nested.equal)}",
        f"- fitted weights: {score_words(nested.fitted)}",
        *means,
        f"- fitted − best single: {gain_words(nested.over_best_single)}",
        f"- fitted − equal weights: {gain_words(nested.over_equal)}",
        *ahead,
        "",
        f"{chosen}.",
        "",
    ]


def _tested(report: dict[str, Any] | None, tables: Sequence[str]) -> list[str]:
    if report is None:
        return []
    return [
        f"## Scores on the {report['split']} split, n = {report['n']}",
        "",
        *tables,
        "",
        f"Protocol: {report['protocol']}. In brackets 95 % intervals. Empty mask and location prior never look at the "
        "image: what does not exceed them has learned nothing. Command: `medseg evaluate`.",
        "",
    ]


def _cross_validated(folds: Sequence[str]) -> list[str]:
    if not folds:
        return []
    return [
        "## Cross-validated",
        "",
        "The data set is small, so the same recipes were trained, fitted and scored in each fold; the members here are "
        "those of the first. Command: `medseg folds`.",
        "",
        *folds,
        "",
    ]


def _citation(citation: str) -> list[str]:
    return [f"Cite: {citation}.", ""] if citation else []


def _link(data: TrainingData) -> str:
    name = of_today(data.name)
    return f"[{name}]({data.url})" if data.url else name
