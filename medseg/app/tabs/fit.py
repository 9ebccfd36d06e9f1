"""The page's third tab: weights and threshold from the visitor's own labelled images."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from medseg.app.render import text
from medseg.app.render.gain import Gain
from medseg.app.render.theme import CONTROLS_WIDTH
from medseg.app.render.work import bar
from medseg.app.state.fit import MAX_IMAGES, DataFit, Outcome
from medseg.app.state.session import Session
from medseg.app.state.uploaded_files import UploadedFile
from medseg.app.tabs.events import PRIVATE, QUIET, named_files, say, stoppable, warning
from medseg.app.tabs.image import IMAGE_TAB
from medseg.places import shipped
from medseg.report.words import gain_words, interval_words, signed, threshold_words

if TYPE_CHECKING:
    from medseg.fitting.fit import Choice, Fit
    from medseg.scores import Contender, Score

STEPS = (
    (
        "Your images and their true masks",
        f"Of the same names, or in one zip; up to {MAX_IMAGES}. The more they are like those to come, the better. "
        "Their names come along, as masks are found by them.",
    ),
    ("Check", "Every file is read. What is left out or doubtful is listed here; a fault stops the fit, by name."),
    (
        "Models and weights",
        "Each model runs once on each image. Weights and cut-off are chosen, scored on cases that had no part in the "
        "choice, and calibrated, so that a Dice can be predicted at them.",
    ),
    ("Result", "What to take, what it is worth, and the image that gains most."),
)

GOOD_FOR = (
    "What ensemble.json is good for: in the ensemble's folder in place of its own, with calibration.json beside it, it "
    "makes medseg predict, Python and this page use these weights and know how far to believe them."
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
            steps = gr.HTML(steps_html(0), elem_id="fit-steps", apply_default_css=False)
            with gr.Row(visible=False) as use:
                apply = gr.Button("Apply to the sliders", variant="primary", size="sm", elem_id="fit-apply")
                save = gr.DownloadButton("Settings as files (zip)", size="sm", elem_id="get-ensemble")
            with gr.Accordion("All numbers, and training on", open=False, visible=False) as more:
                numbers = gr.Markdown(elem_id="fit-result")
    tab.select(_ensemble, session, ensemble, **QUIET)
    stoppable(
        start,
        stop,
        _fit,
        [session, data_fit, images, masks],
        [steps, use, more, numbers, save],
        concurrency_limit=1,  # of all visitors: it keeps every core busy for minutes
        show_progress="hidden",
        **PRIVATE,
    )
    stop.click(_stop, data_fit, **QUIET)
    apply.click(_apply, [session, data_fit], [tabs, changed], **QUIET)


@warning
def _ensemble(session: Session) -> str:
    return f"The models of **{text.plain(session.view_state.ensemble.config.name)}**, as chosen in “Image”."


def _fit(
    session: Session, data_fit: DataFit, images: list[UploadedFile], masks: list[UploadedFile]
) -> Iterator[list[Any]]:
    begun, hidden = time.monotonic(), gr.update(visible=False)
    yield [steps_html(1, {1: "<p>Reading and checking the files …</p>"}), hidden, hidden, gr.skip(), gr.skip()]
    try:
        ensemble = session.view_state.ensemble
        for step in data_fit.run(ensemble, images, masks):
            begun = begun if step[1] else time.monotonic()  # the files are checked now
            words = {1: checked(data_fit), 2: _bar(*step, time.monotonic() - begun)}
            yield [steps_html(2, words), *[gr.skip()] * 4]
        outcome = data_fit.newest(ensemble)
        words = {1: checked(data_fit), 3: result_html(outcome)}
        shown = gr.update(visible=True)
        yield [steps_html(4, words), shown, shown, _numbers(outcome), str(data_fit.write())]
    except Exception as error:
        say(error)
        yield [steps_html(0), *[gr.skip()] * 4]


def _bar(step: str, done: int, total: int, seconds: float) -> str:
    if step == "models":
        return bar("Images that the models have run on", done, total, seconds)
    return f"<p>{'Comparing weights' if step == 'weights' else 'Calibrating the choice'} …</p>"


def steps_html(now: int, words: Mapping[int, str] | None = None) -> str:
    """The steps of a fit, those before `now` done; `words` (HTML) stand in place of what a step is for."""
    items = []
    for number, (title, purpose) in enumerate(STEPS):
        state = "done" if number < now else "now" if number == now else "next"
        current = " aria-current='step'" if state == "now" else ""
        said = (words or {}).get(number) or f"<p>{escape(purpose)}</p>"
        items.append(f"<li class='{state}'{current}><h2>{escape(title)}</h2>{said}</li>")
    return f"<ol class='steps'>{''.join(items)}</ol>"


def checked(data_fit: DataFit) -> str:
    """Which images are used, and what was left out or is doubtful; names are a stranger's."""
    doubts = "".join(f"<li>⚠ {escape(sentence)}</li>" for sentence in data_fit.doubts)
    return f"<p>{escape(data_fit.division)}</p>" + (f"<ul>{doubts}</ul>" if doubts else "<p>Nothing is left out.</p>")


def result_html(outcome: Outcome) -> str:
    """The result in two sentences, the image that gains most, and what to do with it."""
    return (
        f"<p role='status'><b>{escape(_take(outcome))}</b> {escape(_worth(outcome.fit))}</p>{_gain(outcome.gained)}"
        f"<p class='small'>{escape(f'{_trust(outcome)} {GOOD_FOR}')}</p>"
    )


def _trust(outcome: Outcome) -> str:
    if outcome.calibration is not None and outcome.calibration.trust is not None:
        return f"Applied, the page predicts a Dice at them, learnt on these {outcome.images} images."
    if np.count_nonzero(np.array(outcome.choice.weights).reshape(len(outcome.ensemble.names), -1).any(axis=1)) < 2:
        return "Applied, no Dice is predicted: one model alone has nobody to agree with."
    return "Applied, no Dice is predicted: these are too few cases to learn it on."


def _take(outcome: Outcome) -> str:
    choice, own = outcome.choice, outcome.before
    before = "" if own is None else f", {own:.3f} at the ensemble's own settings"
    return (
        f"Take {NAMED[outcome.fit.recommended]} at cut-off {threshold_words(choice.threshold, '.2f')}: mean Dice "
        f"{choice.mean:.3f} on these {outcome.images} images{before}."
    )


def _worth(fitted: Fit) -> str:
    nested = fitted.nested
    if nested is None:
        return "Of fewer than three cases nothing can be said about other images."
    name = fitted.recommended
    scores = {"fitted": nested.fitted, "equal": nested.equal, "best single": nested.best_single}
    worth = f"On cases that had no part in the choice it scores {_interval(scores.get(name, nested.per_label))}"
    if name == "equal":
        return f"{worth}; fitted weights differ from it by {_signed(nested.over_equal)}{_chance(nested.over_equal)}."
    over = {"fitted": nested.over_equal, "best single": nested.single_over_equal}.get(name, nested.over_shared)
    against = "equal weights" if name != "per label" else NAMED[nested.shared]
    return f"{worth}; against {against}: {_signed(over)}{_chance(over)}." if over else f"{worth}."


def _chance(score: Score) -> str:
    return "" if _is_clear(score) else ", which may be chance"


def _gain(gained: Gain | None) -> str:
    if gained is None:
        return "<p>No image gains against the ensemble's own settings.</p>"
    drawn = zip(("Before", "After"), (gained.before, gained.after), gained.drawn, strict=True)
    figures = "".join(
        f"<figure><img src='{src}' alt='{name}: mask and truth as outlines'><figcaption>{name}: Dice {value:.2f}"
        "</figcaption></figure>"
        for name, value, src in drawn
    )
    return (
        f"<p>{escape(gained.file)} gains most: <i class='key mask'></i>mask, <i class='key truth'></i>truth.</p>"
        f"<div class='gain'>{figures}</div>"
    )


def _numbers(outcome: Outcome) -> str:
    ensemble, fitted = outcome.ensemble, outcome.fit
    shown = table(fitted, ensemble.names, ensemble.config.labels)
    return "\n\n".join([recommendation(fitted), shown, continuing(ensemble.names[fitted.best_single])])


def _stop(data_fit: DataFit) -> None:
    data_fit.cancelled.set()


@warning
def _apply(session: Session, data_fit: DataFit) -> list[Any]:
    outcome = data_fit.newest(session.view_state.ensemble)
    session.take_fit(outcome.settings, outcome.calibration)
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
    heads = "| Choice | Dice here | Dice on other cases | Weights | Cut-off |\n|---|---:|---:|---|---:|"
    lines = [
        f"| {name} | {choice.mean:.3f} | {_interval(score)} | {_weights(choice, labels)} | "
        f"{threshold_words(choice.threshold, '.2f')} |"
        for name, choice, score in rows
    ]
    members = " / ".join(text.plain(name) for name in names)
    notes = (
        f"Weights in the order {members}. In brackets 95 % intervals by case, from 10 cases on; “here” flatters, as it "
        "chose here."
    )
    broken = [
        f"{text.plain(names[i])} has fitted weight 0: alone it is no better than the baseline." for i in fitted.broken
    ]
    broken += [f"{text.plain(names[i])} has fitted weight 0: alone it is far behind the best." for i in fitted.behind]
    return "\n".join([heads, *lines, "", " ".join([notes, *broken])])


def continuing(member: str) -> str:
    """The command that trains the best model on with the visitor's images, to copy."""
    known = {path.parent.name for path in shipped("assets/ensembles").glob("*/*/member.json")}
    name = member if member in known else "FOLDER-OF-THE-MODEL"
    return (
        "Where every model fails alike no weights help; training may. On the command line, with the folder or zip "
        "of these images and any training pairs of “Correct”:\n\n"
        f"```bash\nmedseg continue {name} my-pairs.zip --output runs/continued\n```\n\n"
        "It holds some out, and says how the new model does there. Whether it is worse on older images it says with "
        "`--data` and their folder; then keep the old one."
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
