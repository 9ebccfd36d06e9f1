"""What happens when a visitor does something: each handler reads its input, asks the library, returns what to show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from ui import charts, figures, gallery, views
from ui.refusals import refusing, told
from ui.session import Session
from ui.shelf import Shelf, standard_sources

shelf = Shelf(standard_sources())
PROGRESS = gr.Progress()  # Gradio gives each event its own in this one's place

TABS: dict[str, Callable[[Any], Any]] = {
    "Overlay": views.overlay,
    "Probability": views.probability,
    "Disagreement": views.disagreement,
    "Members": views.members,
}


def pictures(session: Session) -> list[Any]:
    """One value for each tab: the picture of the visible one, nothing for the others, which are drawn when opened."""
    shown, tab = session.shown, session.tab
    return [draw(shown) if name == tab else gr.skip() for name, draw in TABS.items()]


def texts(session: Session) -> list[Any]:
    """The summary, and the open tab of the scores."""
    return [figures.summary(session.shown), *charts.against_truth(session)]


def everything(session: Session, name: str | None) -> list[Any]:
    """The values of a page that has another picture or ensemble: pictures, texts, notes, the ensemble's name."""
    return [*pictures(session), *texts(session), figures.notes(session.shown), name]


@told
def show_first(session: Session, name: str | None, progress: gr.Progress = PROGRESS) -> list[Any]:
    """Open the first example for a visitor who has just come."""
    return open_example(session, name, 0, progress)


def open_example(session: Session, name: str | None, index: int, progress: gr.Progress) -> list[Any]:
    example = gallery.examples()[index]
    ensemble = loaded(session, name, progress)
    session.open(example.path, ensemble, example.truth, "the mask this synthetic picture was drawn from")
    return everything(session, name)


@told
def pick_example(
    session: Session, name: str | None, event: gr.SelectData, progress: gr.Progress = PROGRESS
) -> list[Any]:
    return open_example(session, name, int(event.index), progress)


@told
def open_file(session: Session, name: str | None, path: str, progress: gr.Progress = PROGRESS) -> list[Any]:
    session.open(path, loaded(session, name, progress))
    return everything(session, name)


@told
def pick_ensemble(session: Session, name: str | None, progress: gr.Progress = PROGRESS) -> list[Any]:
    session.change_ensemble(loaded(session, name, progress))
    return everything(session, name)


@told
def load_from_hub(session: Session, repository: str, progress: gr.Progress = PROGRESS) -> list[Any]:
    """Fetch an ensemble or member, then segment the open picture with it; `cancel_loading` ends the fetching."""
    session.cancelled.clear()
    progress(0, desc="Asking the Hub")
    name = shelf.fetch(repository.strip(), _fetching(progress), session.cancelled.is_set)
    session.change_ensemble(shelf.get(name))
    return [gr.Dropdown([*shelf.names, name], value=name), *everything(session, name)]


def cancel_loading(session: Session) -> None:
    session.cancelled.set()


@told
def remix(session: Session, blend: Any, threshold: float, opacity: float, *sliders: float) -> list[Any]:
    """Blend, threshold or opacity changed."""
    shown = session.shown
    weights = shown.weights if sliders == shown.sliders else sliders  # weights per label are more than sliders show
    return remixed(session, blend, threshold, opacity, weights)


@told
def reweigh(session: Session, blend: Any, threshold: float, opacity: float, *sliders: float) -> list[Any]:
    """A weight slider moved."""
    return reweighed(session, blend, threshold, opacity, sliders)


def reweighed(session: Session, chosen: Any, threshold: float, opacity: float, weights: Sequence[Any]) -> list[Any]:
    """As `remixed`, but for stacking, which knows no weights: whoever changes one wants to see it at work."""
    blend = "weighted mean" if chosen == "stacking" else chosen
    choice, *drawn = remixed(session, blend, threshold, opacity, weights)
    return [choice if chosen == blend else _choice(blend), *drawn]


def remixed(session: Session, blend: Any, threshold: float, opacity: float, weights: Sequence[Any]) -> list[Any]:
    """The blend, where it is another one (to draw it again slows a slider), and the visible picture alone."""
    before = session.shown.prediction.blend
    session.remix(weights, threshold, opacity, blend)
    return [gr.skip() if blend == before else _choice(blend), *pictures(session)]


def _choice(blend: str) -> Any:
    return gr.update(value=blend, info=figures.BLENDS[blend])


@told
def show_tab(session: Session, event: gr.SelectData) -> list[Any]:
    if event.value in TABS:
        session.tab = event.value
    return [gr.skip() for _ in TABS] if session.is_empty else pictures(session)


@told
def follow(session: Session) -> list[Any]:
    """Summary and scores, after the picture."""
    return texts(session)


@told
def add_truth(session: Session, path: str) -> list[Any]:
    session.add_truth(path, "the uploaded mask")
    return texts(session)


def loaded(session: Session, name: str | None, progress: gr.Progress) -> Any:
    if name is None or not shelf.is_loaded(name):
        progress(None, desc="Loading the models, a few seconds at their first use")
    session.cancelled.clear()
    ensemble = shelf.get(name, _fetching(progress), session.cancelled.is_set)
    progress(None, desc="Segmenting")
    return ensemble


def _fetching(progress: gr.Progress) -> Callable[[int, int], None]:
    return lambda done, total: progress(done / max(total, 1), desc="Fetching from the Hub")


@refusing
def write_mask(session: Session) -> str:
    return str(session.write_mask())


@refusing
def write_probabilities(session: Session) -> str:
    return str(session.write_probabilities())


@refusing
def write_report(session: Session) -> str:
    return str(session.write_report())
