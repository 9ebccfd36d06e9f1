"""How unsure a prediction is, pixel by pixel, and how a temperature makes it more or less so.

Maps lie on the grid of what they are given, one for each label; multiclass labels share one, since a pixel belongs to
one of them.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from medseg.arrays import Probabilities
from medseg.config import Task
from medseg.errors import InputError


def distributions(probabilities: Probabilities, task: Task) -> Float32[np.ndarray, "G C h w"]:
    """The chances of all C outcomes of a pixel, which sum to 1, for each of G questions.

    binary, multilabel: each label is a question of two outcomes, outside and inside. multiclass: one question, whose
    outcomes are the background (what the labels lack to 1) and the labels.
    """
    if task != "multiclass":
        return np.stack([1 - probabilities, probabilities], axis=1)
    background = (1 - probabilities.sum(axis=0, keepdims=True)).clip(0, 1)
    return np.concatenate([background, probabilities])[np.newaxis]


def entropy(probabilities: Probabilities, task: Task) -> Float32[np.ndarray, "G h w"]:
    """Entropy of `distributions` over its largest value log2(C): 0 where sure, 1 where every outcome is as likely.

    Bits for binary and multilabel, one map a label; one map for multiclass.
    """
    chances = distributions(probabilities, task)
    bits = -(chances * np.log2(np.maximum(chances, np.finfo(np.float32).tiny))).sum(axis=1)
    return np.asarray(bits / np.float32(np.log2(chances.shape[1])), dtype=np.float32).clip(0, 1)


def tempered(probabilities: Probabilities, temperature: float, task: Task) -> Probabilities:
    """The probabilities whose logits are divided by `temperature` > 0: above 1 less sure, below 1 surer, 1 unchanged.

    The order of pixels and of a pixel's outcomes stays, so 0.5 stays 0.5 (binary, multilabel) and masks cut there do
    not move. A mask cut at another threshold does: cut at `tempered_threshold`. Raises InputError for a temperature
    that is no finite number above 0.

    Source: Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    _check(temperature)
    raised = distributions(probabilities, task).astype(np.float64) ** (1 / temperature)
    chances = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
    return np.asarray(chances[0, 1:] if task == "multiclass" else chances[:, 1])


def tempered_threshold(threshold: float, temperature: float) -> float:
    """The threshold that cuts tempered probabilities where `threshold`, in (0, 1), cut them before.

    binary, multilabel only: under multiclass the order of the sums over labels, which the threshold cuts, may change.
    """
    _check(temperature)
    inside, outside = threshold ** (1 / temperature), (1 - threshold) ** (1 / temperature)
    return float(inside / (inside + outside))


def _check(temperature: float) -> None:
    if not 0 < temperature < np.inf:
        raise InputError(f"The temperature must be a finite number above 0, got {temperature:g}.")
