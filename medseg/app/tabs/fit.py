"""The page's third tab: weights and threshold from the visitor's own labelled images."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from medseg.app.render import text
from medseg.app.render.theme import CONTROLS_WIDTH
from medseg.app.state.fit import MAX_IMAGES, DataFit
from medseg.app.state.session import Session
from medseg.app.state.uploaded_files import UploadedFile
from medseg.app.tabs.events import PRIVATE, QUIET, named_files, stoppable, warning
from medseg.app.tabs.handlers import PROGRESS
from medseg.app.tabs.image import IMAGE_TAB
from medseg.places import shipped
from medseg.report.words import gain_words, interval_words, signed

if TYPE_CHECKING:
    from medseg.fitting.fit import Choice, Fit
    from medseg.scores import Contender, Score

ABOUT = (
    "Weights and cut-off are chosen on images that you have true masks of. The more they are like those you will "
    f"segment, the better; up to {MAX_IMAGES} are taken. Of a zip with a splits.json only its val part is used. "
    "What the choice is worth on new images is estimated by nested cross-validation: chosen on four fifths of the "
    "cases, scored on the others."
)

NAMED: dict[Contender, str] = {
    "fitted": "the fitted weights",
    "equal": "equal weights",
    "best single": "the best model alone",
    "per label": "weights of their own for each label",
}


def draw_fit_tab(tab: gr.Tab, session: gr.State, tabs: gr.Tabs, changed: gr.State) -> None:
    """Draw the tab; what it finds can be applied to the sliders in the first of `tabs`, which `changed` tells."""
    data_fit = gr.State(DataFit())
    with gr.Row():
        with gr.Column(scale=3, min_width=CONTROLS_WIDTH):
            images = named_files(label="Images, or one zip of images/ and masks/", height=180, elem_id="fit-images")
            masks = named_files(label="Their true masks, of the same names", height=180, elem_id="fit-masks")
            ensemble = gr.Markdown(elem_id="fit-ensemble")
            with gr.Row():
                start = gr.Button("Fit", variant="primary", min_width=120, elem_id="fit-start")
                stop = gr.Button("Stop", min_width=80, interactive=False, elem_id="fit-stop")
        with gr.Column(scale=6, min_width=CONTROLS_WIDTH):
            fitted = gr.Markdown(ABOUT, elem_id="fit-result", min_height=120)
            with gr.Row(visible=False) as use:
                apply = gr.Button("Apply to the sliders", size="sm", elem_id="fit-apply")
                save = gr.DownloadButton("ensemble.json", size="sm", elem_id="get-ensemble")
    tab.select(_ensemble, session, ensemble, **QUIET)
    stoppable(
        start,
        stop,
        _fit,
        [session, data_fit, images, masks],
        [fitted, use, save],
        concurrency_limit=1,  # of all visitors: it keeps every core busy for minutes
        show_progress_on=fitted,
        **PRIVATE,
    )
    stop.click(_stop, data_fit, **QUIET)
    apply.click(_apply, [session, data_fit], [tabs, changed], **QUIET)


@warning
def _ensemble(session: Session) -> str:
    return f"The models of **{text.plain(session.view_state.ensemble.config.name)}**, as chosen in “Image”."


@warning
def _fit(
    session: Session,
    data_fit: DataFit,
    images: list[UploadedFile],
    masks: list[UploadedFile],
    progress: gr.Progress = PROGRESS,
) -> list[Any]:
    def step(done: int, total: int) -> None:
        words = "Comparing weights" if done == total else f"Running the models: {done} of {total} images"
        progress((done, total), desc=words)

    progress(None, desc="Reading what you sent")
    ensemble = session.view_state.ensemble
    fitted = data_fit.run(ensemble, images, masks, step)
    parts = [recommendation(fitted), table(fitted, ensemble.names, ensemble.config.labels), doubts(data_fit.doubts)]
    report = "\n\n".join([*parts, continuing(ensemble.names[fitted.best_single])])
    return [report, gr.update(visible=True), gr.update(value=str(data_fit.write()))]


def doubts(sentences: Sequence[str]) -> str:
    """What was left out or is doubtful, as a list; its names are a stranger's."""
    return "\n".join(f"- ⚠ {text.plain(sentence)}" for sentence in sentences)


def _stop(data_fit: DataFit) -> None:
    data_fit.cancelled.set()


@warning
def _apply(session: Session, data_fit: DataFit) -> list[Any]:
    view_state = session.view_state
    choice = data_fit.choice(view_state.ensemble)
    session.remix(choice.weights, choice.threshold, view_state.opacity, "weighted mean")
    return [gr.Tabs(selected=IMAGE_TAB), secrets.token_hex(4)]


def recommendation(fitted: Fit) -> str:
    """Which weights to take, and why, in words."""
    advice = f"**Recommended: {NAMED[fitted.recommended]}**, with their own cut-off."
    nested = fitted.nested
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


def table(fitted: Fit, names: tuple[str, ...], labels: tuple[str, ...]) -> str:
    """The contenders as a Markdown table: Dice on the images, and on cases that had no part in the choice."""
    nested = fitted.nested
    best = f"Best model: {text.plain(names[fitted.best_single])}"
    rows = [
        (best, fitted.choice("best single"), nested.best_single if nested else None),
        ("Equal weights", fitted.equal, nested.equal if nested else None),
        ("Fitted weights", fitted.fitted, nested.fitted if nested else None),
    ]
    if fitted.per_label:
        rows.append(("Weights for each label", fitted.per_label, nested.per_label if nested else None))
    heads = "| | Dice here | Dice on other cases | Weights | Cut-off |\n|---|---:|---:|---|---:|"
    lines = [
        f"| {name} | {choice.mean:.3f} | {_interval(score)} | {_weights(choice, labels)} | {choice.threshold:.2f} |"
        for name, choice, score in rows
    ]
    members = " / ".join(text.plain(name) for name in names)
    notes = (
        f"Weights in the order {members}. In brackets 95 % intervals by case, from 10 cases on; “here” flatters, as it "
        "chose here."
    )
    broken = [f"{text.plain(names[i])} got weight 0: alone it is no better than the baseline." for i in fitted.broken]
    return "\n".join([heads, *lines, "", " ".join([notes, *broken])])


def continuing(member: str) -> str:
    """The command that trains the best model on with the visitor's images, to copy."""
    known = {path.parent.name for path in shipped("assets/ensembles").glob("*/*/member.json")}
    name = member if member in known else "FOLDER-OF-THE-MODEL"
    return (
        "Where every model fails alike no weights help, but training does. On the command line, with the folder or zip "
        "of these images and any training pairs of “Correct”:\n\n"
        f"```bash\nmedseg continue {name} my-pairs.zip --output runs/continued\n```\n\n"
        "It says by images that it holds out whether the new model is better."
    )


def _weights(choice: Choice, labels: tuple[str, ...]) -> str:
    by_label = np.array(choice.weights).T
    words = [" / ".join(f"{weight:.2g}" for weight in weights) for weights in np.atleast_2d(by_label)]
    if by_label.ndim == 1:
        return words[0]
    return "; ".join(f"{text.plain(label)} {own}" for label, own in zip(labels, words, strict=True))


def _interval(score: Score | None) -> str:
    if score is None:
        return "–"
    return f"{score.value:.3f}" if score.low is None else f"{score.value:.3f} {interval_words(score)}"


def _signed(score: Score) -> str:
    return gain_words(score) if score.low is not None else signed(score.value)


def _is_clear(score: Score) -> bool:
    return score.low is not None and score.high is not None and not score.low <= 0 <= score.high
