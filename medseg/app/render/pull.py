"""Who pulls the result where: the result without each model, and each model's Shapley share of it, on this image."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from medseg.app.render.text import titles
from medseg.correct import to_grid
from medseg.evaluation.contributions import MAX_MEMBERS, coalition_dice, every_nth, shapley
from medseg.inference.blend import blend
from medseg.metrics import dice
from medseg.postprocess import to_masks
from medseg.report.words import signed

if TYPE_CHECKING:
    from medseg.app.state.view_state import ViewState
    from medseg.arrays import Masks, Stack

_LEARNT = ("stacking",)


def pull(view_state: ViewState, label: str) -> str:
    """A table of the members with weight for `label`, as HTML; nothing where there are fewer than two, or a stacker."""
    now = view_state.view
    index = now.labels.index(label)
    weights = np.array([np.broadcast_to(weight, len(now.labels))[index] for weight in now.weights])
    voting = np.flatnonzero(weights)
    if len(voting) < 2 or now.blend in _LEARNT or view_state.withheld:
        return ""
    target = now.masks if view_state.truth is None else _on_grid(view_state.truth, now.image.size)
    stack, goal = every_nth(now.members[voting], target)
    whole, others = _without(view_state, stack, weights[voting], index)
    shares = _shares(view_state, stack, goal, index)
    names = titles(list(now.member_names))
    rows = "".join(
        f"<tr><th>{escape(names[member])}</th><td>{_change(whole, other)}</td>"
        f"<td>{dice(other[np.newaxis], whole[np.newaxis])[0]:.2f}</td>{share}</tr>"
        for member, other, share in zip(voting, others, shares, strict=True)
    )
    head = "<th scope='col'>share</th>" if shares[0] else ""
    return (
        "<h2>Who pulls the result where</h2><table><thead><tr><th scope='col'>Without</th><th scope='col'>area</th>"
        f"<th scope='col'>Dice</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"<p class='small'>{_protocol(view_state, label, bool(head))}</p>"
    )


def _on_grid(truth: Masks, size: tuple[int, int]) -> Masks:
    return np.stack([to_grid(mask, size) for mask in truth])


def _without(
    view_state: ViewState, stack: Stack, weights: np.ndarray, index: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The label's mask of all members, and without each, before clean-up."""
    now = view_state.view

    def mask(present: np.ndarray) -> np.ndarray:
        blended = blend(stack, now.blend, (weights * present).tolist(), now.ensemble.task)
        return np.asarray(to_masks(blended, now.threshold, now.ensemble.task)[index])

    return mask(np.ones(len(stack))), [mask(row) for row in 1 - np.eye(len(stack))]


def _change(whole: np.ndarray, other: np.ndarray) -> str:
    before, after = int(whole.sum()), int(other.sum())
    if not before:
        return "nothing found" if not after else "found"
    change = round(100 * (after - before) / before)
    return f"{signed(change, 0)} %" if change else "0 %"


def _shares(view_state: ViewState, stack: Stack, goal: Masks, index: int) -> list[str]:
    """A cell for each member; empty texts beyond MAX_MEMBERS, whose coalitions are too many."""
    if len(stack) > MAX_MEMBERS:
        return [""] * len(stack)
    worth = coalition_dice(stack, goal, view_state.view.ensemble.task)[:, index]
    worth[0] = 0.0
    return [f"<td>{share:.2f}</td>" for share in shapley(worth[np.newaxis])[0]]


def _protocol(view_state: ViewState, label: str, has_shares: bool) -> str:
    words = f"{escape(label)}: area and Dice without a model, against the result with all; before clean-up. "
    if not has_shares:
        return words
    goal = "the result" if view_state.truth is None else "the truth"
    return f"{words}Shapley shares add up to the Dice of all models, equally weighted at cut-off 0.5, with {goal}."
