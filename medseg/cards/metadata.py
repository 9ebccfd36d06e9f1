"""The front matter of a card: the Hub's metadata, with the scores of its model-index."""

from __future__ import annotations

import re
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from medseg.config import MemberConfig, TrainingData
from medseg.report.words import interval_words, of_today, three_digits
from medseg.scores import Score

_HUB_LICENCES = frozenset(
    [
        "apache-2.0",
        "mit",
        "bsd-3-clause",
        "cc0-1.0",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nc-nd-4.0",
    ]
)
"""Those of the Hub's identifiers (huggingface.co/docs/hub/repositories-licenses) that weights of this kind carry."""

_BASELINE = "location prior"  # how the protocol of that score begins
_METRICS = (("per_image_all", "dice"), ("per_image_all", "iou"), ("pooled_all", "dice"), ("pooled_all", "iou"))


def front_matter(member: MemberConfig, results: list[EvalResult], name: str, library: str) -> list[str]:
    """The Hub's metadata; huggingface_hub writes the YAML, so that no word of a stranger becomes a key of it."""
    licence = member.weights_licence.lower()
    known = licence in _HUB_LICENCES
    metadata = ModelCardData(
        license=licence if known else "other",
        license_name=None if known else licence,
        library_name=library,
        pipeline_tag="image-segmentation",
        tags=["medseg", "medical-imaging", "semantic-segmentation", member.task, *member.labels],
        model_name=name,
        eval_results=results or None,
    )
    return ["---", metadata.to_yaml(), "---"]


def member_results(member: MemberConfig) -> list[EvalResult]:
    """The member's own scores, each metric's name with n, interval and protocol; without that of the location prior."""
    own = [score for score in member.scores if not score.protocol.startswith(_BASELINE)]
    return [_result(member.training_data, score.split, score.metric, _words(score), score.value) for score in own]


def tested_results(data: TrainingData, report: dict[str, Any] | None) -> list[EvalResult]:
    """The ensemble's main figures on the evaluated split, each metric's name with protocol, n and interval."""
    if report is None:
        return []
    results = []
    for label, kinds in report["rows"]["ensemble"].items():
        for kind, metric in _METRICS:
            estimate = kinds[kind][metric]
            if estimate["mean"] is None:
                continue
            protocol = "mean per image" if kind.startswith("per_image") else "pooled pixels"
            interval = f"95 % interval {three_digits(estimate['low'])} to {three_digits(estimate['high'])}"
            words = f"{metric} of {label}, {protocol}, n = {report['n']}, {interval}"
            results.append(_result(data, report["split"], metric, words, estimate["mean"]))
    return results


def _result(data: TrainingData, split: str, metric: str, words: str, value: float) -> EvalResult:
    name = of_today(data.name)
    return EvalResult(
        task_type="image-segmentation",
        dataset_type=re.sub(r"\W+", "-", name.lower()).strip("-"),
        dataset_name=name,
        dataset_split=split,
        metric_type=metric,
        metric_name=words,
        metric_value=round(value, 4),
    )


def _words(score: Score) -> str:
    return f"{score.metric}, n = {score.n}, 95 % interval {interval_words(score)}, {of_today(score.protocol)}"
