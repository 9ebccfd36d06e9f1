"""The page's third tab: weights and threshold from the visitor's own labelled pictures."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from medseg.app.render import text
from medseg.app.render.theme import CONTROLS_WIDTH
from medseg.app.state.fit import MAX_PICTURES, Tuning
from medseg.app.state.session import Session
from medseg.app.state.uploaded_files import Given
from medseg.app.tabs.events import PRIVATE, QUIET, named_files, told
from medseg.app.tabs.handlers import PROGRESS
from medseg.app.tabs.image import ONE_PICTURE

if TYPE_CHECKING:
    from medseg.fitting.fit import Choice, Fit
    from medseg.scores import Contender, Score

ABOUT = (
    "Weights and threshold are chosen on pictures that you have true masks of. The more they are like those you will "
    f"segment, the better; up to {MAX_PICTURES} are taken. Of a zip with a splits.json only its val part is used. "
    "What the choice is worth on new pictures is estimated by nested cross-validation: chosen on four fifths of the "
    "cases, scored on the others."
)

NAMED: dict[Contender, str] = {
    "fitted": "the fitted weights",
    "equal": "equal weights",
    "best single": "the best model alone",
    "per label": "weights of their own for each label",
}


def draw_tune(tab: gr.Tab, session: gr.State, tabs: gr.Tabs, changed: gr.State) -> None:
    """Draw the tab; what it finds can be applied to the sliders in the first of `tabs`, which `changed` tells."""
    tuning = gr.State(Tuning())
    with gr.Row():
        with gr.Column(scale=3, min_width=CONTROLS_WIDTH):
            pictures = named_files(
                label="Pictures, or one zip of images/ and masks/", height=180, elem_id="tune-images"
            )
            masks = named_files(label="Their true masks, of the same names", height=180, elem_id="tune-masks")
            ensemble = gr.Markdown(elem_id="tune-ensemble")
            with gr.Row():
                start = gr.Button("Tune", variant="primary", min_width=120, elem_id="tune-start")
                stop = gr.Button("Stop", min_width=80, elem_id="tune-stop")
        with gr.Column(scale=6, min_width=CONTROLS_WIDTH):
            found = gr.Markdown(ABOUT, elem_id="tune-found", min_height=120)
            with gr.Row(visible=False) as use:
                apply = gr.Button("Apply to the sliders", size="sm", elem_id="tune-apply")
                save = gr.DownloadButton("ensemble.json", size="sm", elem_id="get-ensemble")
    tab.select(_ensemble, session, ensemble, **QUIET)
    start.click(
        _tune,
        [session, tuning, pictures, masks],
        [found, use, save],
        concurrency_limit=1,  # of all visitors: it keeps every core busy for minutes
        show_progress_on=found,
        **PRIVATE,
    )
    stop.click(_stop, tuning, **QUIET)
    apply.click(_apply, [session, tuning], [tabs, changed], **QUIET)


@told
def _ensemble(session: Session) -> str:
    return f"The models of **{text.plain(session.shown.ensemble.config.name)}**, as chosen in “One picture”."


@told
def _tune(
    session: Session, tuning: Tuning, pictures: list[Given], masks: list[Given], progress: gr.Progress = PROGRESS
) -> list[Any]:
    def step(done: int, total: int) -> None:
        words = "Comparing weights" if done == total else f"Running the models: {done} of {total} pictures"
        progress((done, total), desc=words)

    progress(None, desc="Reading what you sent")
    ensemble = session.shown.ensemble
    found = tuning.run(ensemble, pictures, masks, step)
    text = f"{recommendation(found)}\n\n{table(found, ensemble.names, ensemble.config.labels)}"
    return [text, gr.update(visible=True), gr.update(value=str(tuning.write()))]


def _stop(tuning: Tuning) -> None:
    tuning.cancelled.set()


@told
def _apply(session: Session, tuning: Tuning) -> list[Any]:
    shown = session.shown
    choice = tuning.choice(shown.ensemble)
    session.remix(choice.weights, choice.threshold, shown.opacity, "weighted mean")
    return [gr.Tabs(selected=ONE_PICTURE), secrets.token_hex(4)]


def recommendation(found: Fit) -> str:
    """Which weights to take, and why, in words."""
    advice = f"**Recommended: {NAMED[found.recommended]}**, with their own threshold."
    nested = found.nested
    if nested is None:
        return f"{advice} These are fewer than three cases, so what the choice is worth on others cannot be estimated."
    compared = [nested.over_equal, nested.over_best_single]
    advice += (
        f" On cases that had no part in choosing them the fitted weights score {_signed(compared[0])} against equal "
        f"weights and {_signed(compared[1])} against the best model alone."
    )
    if nested.over_shared is not None:
        compared.append(nested.over_shared)
        advice += f" Weights for each label score {_signed(nested.over_shared)} against {NAMED[nested.shared]}."
    return advice if all(map(_is_clear, compared)) else f"{advice} A difference whose interval holds 0 may be chance."


def table(found: Fit, names: tuple[str, ...], labels: tuple[str, ...]) -> str:
    """The contenders as a Markdown table: Dice on the pictures, and on cases that had no part in the choice."""
    nested = found.nested
    best = f"Best model: {text.plain(names[found.best_single])}"
    rows = [
        (best, found.choice("best single"), nested.best_single if nested else None),
        ("Equal weights", found.equal, nested.equal if nested else None),
        ("Fitted weights", found.fitted, nested.fitted if nested else None),
    ]
    if found.per_label:
        rows.append(("Weights for each label", found.per_label, nested.per_label if nested else None))
    heads = "| | Dice here | Dice on other cases | Weights | Threshold |\n|---|---:|---:|---|---:|"
    lines = [
        f"| {name} | {choice.mean:.3f} | {_interval(score)} | {_weights(choice, labels)} | {choice.threshold:.2f} |"
        for name, choice, score in rows
    ]
    members = " / ".join(text.plain(name) for name in names)
    notes = f"Weights in the order {members}. In brackets 95 % intervals by case; “here” flatters, as it chose here."
    broken = [f"{text.plain(names[i])} got weight 0: alone it is no better than a blind answer." for i in found.broken]
    return "\n".join([heads, *lines, "", " ".join([notes, *broken])])


def _weights(choice: Choice, labels: tuple[str, ...]) -> str:
    by_label = np.array(choice.weights).T
    words = [" / ".join(f"{weight:.2g}" for weight in weights) for weights in np.atleast_2d(by_label)]
    if by_label.ndim == 1:
        return words[0]
    return "; ".join(f"{text.plain(label)} {own}" for label, own in zip(labels, words, strict=True))


def _interval(score: Score | None) -> str:
    return "–" if score is None else f"{score.value:.3f} {_bounds(score)}"


def _signed(score: Score) -> str:
    return f"{score.value:+.3f} {_bounds(score, '+')}".replace("-", "−")


def _bounds(score: Score, sign: str = "") -> str:
    return "" if score.low is None or score.high is None else f"[{score.low:{sign}.3f}, {score.high:{sign}.3f}]"


def _is_clear(score: Score) -> bool:
    return score.low is not None and score.high is not None and not score.low <= 0 <= score.high
