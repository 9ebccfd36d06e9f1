"""The README.md of a member or ensemble folder: a Hub card whose every figure comes from the JSON files beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from medseg.config import EnsembleConfig, MemberConfig, Score

_NOTICE = "**Research use only, not for diagnosis.**"


def member_card(member: MemberConfig, architecture: str, encoder: str) -> str:
    """Markdown with the Hub's YAML front matter for one member; a PlainUNet has no encoder to name."""
    data = member.training_data
    network = architecture if architecture == "PlainUNet" else f"{architecture} on {encoder}"
    side = f"{member.preprocess.height} × {member.preprocess.width}"
    return "\n".join(
        [
            *_front_matter(member.weights_licence, member.task),
            f"# {member.name}",
            "",
            f"{_NOTICE} A {network} that answers with a probability map for "
            f"{', '.join(member.labels)} ({member.task}), input {side}.",
            "",
            "| trained on | data licence | weights licence |",
            "|---|---|---|",
            f"| {_link(data.name, data.url)} | {data.licence} | {member.weights_licence} |",
            "",
            *_citation(data.citation),
            "## Scores",
            "",
            *[f"- {_score(score)}" for score in member.scores],
            "",
            "## Load",
            "",
            "```python",
            *_loading(architecture),
            "```",
            "",
        ]
    )


def _loading(architecture: str) -> tuple[str, str, str]:
    library, opener = "import segmentation_models_pytorch as smp", "smp"
    if architecture == "PlainUNet":
        library, opener = "from medseg.unet import PlainUNet", "PlainUNet"
    comment = "# logits for a normalised picture, see member.json"
    return library, "", f'network = {opener}.from_pretrained("<this folder>").eval()  {comment}'


def ensemble_card(
    settings: EnsembleConfig, members: Sequence[MemberConfig], report: dict[str, Any] | None, tables: Sequence[str]
) -> str:
    """Markdown for an ensemble; `report` and `tables` (one per label) are those of `medseg.evaluate`, where it ran."""
    data = members[0].training_data
    return "\n".join(
        [
            *_front_matter(members[0].weights_licence, settings.task),
            f"# {settings.name}",
            "",
            f"{_NOTICE} An ensemble of {len(members)} networks for {', '.join(settings.labels)} on "
            f"{data.pictures or data.name}.",
            "",
            "| member | weight |",
            "|---|---|",
            *[f"| {m.name} | {reference.weight:g} |" for m, reference in zip(members, settings.members, strict=True)],
            "",
            f"Threshold {settings.threshold:g}. Trained on {_link(data.name, data.url)}, licence {data.licence}.",
            "",
            *_citation(data.citation),
            *_fitted(settings),
            *_tested(report, tables),
            "## Load",
            "",
            "```python",
            "import medseg",
            "",
            'ensemble = medseg.Ensemble.from_pretrained("<this folder>")',
            'prediction = ensemble.predict(medseg.read_image("picture.png"))',
            "```",
            "",
            "## Limits",
            "",
            "Trained and tested on one public data set: other devices, sites and findings give other results. An image",
            "unlike the training pictures is answered all the same; medseg only hints at it.",
            "",
        ]
    )


def _front_matter(licence: str, task: str) -> list[str]:
    return [
        "---",
        f"license: {json.dumps(licence.lower())}",  # quoted: a member's own words must not become other YAML keys
        "library_name: segmentation-models-pytorch",
        "pipeline_tag: image-segmentation",
        f"tags: [medseg, medical-imaging, semantic-segmentation, {task}]",
        "---",
    ]


def _fitted(settings: EnsembleConfig) -> list[str]:
    fitted = settings.fitted
    if fitted is None:
        return []
    return [
        "## How the weights were chosen",
        "",
        f"On {fitted.data}, by {fitted.method}. Every choice has its own best threshold there, so these figures "
        "flatter all three; they are no test scores.",
        "",
        f"- best single, {fitted.best_single_member}: {_score(fitted.best_single)}",
        f"- equal weights: {_score(fitted.equal)}",
        f"- chosen weights: {_score(fitted.fitted)}",
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
        f"Protocol: {report['protocol']}. In brackets 95 % intervals. Command: `python -m medseg evaluate`.",
        "",
    ]


def _score(score: Score) -> str:
    low, high = ("–" if bound is None else f"{bound:.3f}" for bound in (score.low, score.high))
    return f"{score.metric} {score.value:.3f} [{low}, {high}] on {score.split}, n = {score.n} ({score.protocol})"


def _citation(citation: str) -> list[str]:
    return [f"Cite: {citation}.", ""] if citation else []


def _link(name: str, url: str) -> str:
    return f"[{name}]({url})" if url else name
