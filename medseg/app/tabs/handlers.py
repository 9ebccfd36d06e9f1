"""What happens when a visitor does something: each handler reads its input, asks the library, returns what to show."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from medseg.app.render import examples, images, text
from medseg.app.state import registry
from medseg.app.state.session import Session
from medseg.app.tabs.events import told
from medseg.app.tabs.truth import against_truth
from medseg.errors import MedsegError
from medseg.reading.readers import read_image

PROGRESS = gr.Progress()  # Gradio gives each event its own in this one's place

TABS: dict[str, Callable[[Any], Any]] = {
    "Overlay": lambda shown: gr.update(value=images.overlay(shown), alt_text=images.described(shown)),
    "Probability": images.probability,
    "Disagreement": images.disagreement,
    "Entropy": images.entropy,
    "Members": images.members,
    "Before and after": images.before_after,
}


def pictures(session: Session) -> list[Any]:
    """One value for each tab: the picture of the visible one, nothing for the others, which are drawn when opened."""
    shown, tab = session.shown, session.tab
    return [draw(shown) if name == tab else gr.skip() for name, draw in TABS.items()]


def texts(session: Session) -> list[Any]:
    """Summary and trust, and the open tab of the scores."""
    shown = session.shown
    return [text.summary(shown), text.verdict(shown), *against_truth(session)]


def seen(session: Session) -> list[Any]:
    """The values of a page that shows its picture otherwise: pictures, texts, notes."""
    return [*pictures(session), *texts(session), text.notes(session.shown)]


def everything(session: Session, name: str | None) -> list[Any]:
    """The values of a page that has another picture or ensemble: beside `seen` the ensemble's name and how many files
    were opened, by which the controls of each are drawn anew."""
    return [*seen(session), name, session.opened]


@told
def show_first(session: Session, name: str | None, progress: gr.Progress = PROGRESS) -> list[Any]:
    """Open an example for a visitor who has just come: the first that nothing speaks against."""
    offered = examples.examples()
    suited = (example for example in offered if not registry.shelf.against(read_image(example.path), name))
    return open_picture(session, name, next(suited, offered[0]), progress, chooses=False)


@told
def pick_example(
    session: Session, name: str | None, event: gr.SelectData, progress: gr.Progress = PROGRESS
) -> list[Any]:
    return open_picture(session, name, examples.examples()[int(event.index)], progress)


@told
def open_file(session: Session, name: str | None, path: str, progress: gr.Progress = PROGRESS) -> list[Any]:
    return open_picture(session, name, examples.Example(Path(path), ""), progress)


def open_picture(
    session: Session, name: str | None, picture: examples.Example, progress: gr.Progress, *, chooses: bool = True
) -> list[Any]:
    """Segment `picture` with the ensemble `name` or, where the page `chooses`, with one that suits it better."""
    image = read_image(picture.path)
    suiting = registry.shelf.suiting(image, name) if chooses else name
    ensemble = loaded(session, suiting, progress)
    session.take(image, picture.path, ensemble, "" if suiting == name else text.choice(suiting, ensemble))
    if picture.truth is not None:
        with contextlib.suppress(MedsegError):  # where its one mask does not fit the labels of the ensemble
            session.add_truth(picture.truth, "the mask this synthetic picture was drawn from")
    return [suiting, *everything(session, suiting)]


@told
def pick_ensemble(session: Session, name: str | None, progress: gr.Progress = PROGRESS) -> list[Any]:
    session.change_ensemble(loaded(session, name, progress))
    return everything(session, name)


@told
def show_again(session: Session, change: str) -> list[Any]:
    """Another tab has opened a picture or set the sliders."""
    return everything(session, f"change {change}")  # a name like no ensemble's, so that the sliders are drawn anew


@told
def load_from_hub(session: Session, repository: str, progress: gr.Progress = PROGRESS) -> list[Any]:
    """Fetch an ensemble or member, then segment the open picture with it; `cancel_loading` ends the fetching."""
    session.cancelled.clear()
    progress(0, desc="Asking the Hub")
    name = registry.shelf.fetch(repository.strip(), _fetching(progress), session.cancelled.is_set)
    session.change_ensemble(registry.shelf.get(name))
    return [gr.Dropdown([*registry.shelf.names, name], value=name), *everything(session, name)]


def cancel_loading(session: Session) -> None:
    session.cancelled.set()


@told
def remix(session: Session, blend: Any, threshold: float, opacity: float, *sliders: float) -> list[Any]:
    """Blend, threshold or opacity changed."""
    return remixed(session, blend, threshold, opacity, session.shown.moved(sliders))


@told
def reweigh(session: Session, blend: Any, threshold: float, opacity: float, *sliders: float) -> list[Any]:
    """A weight slider moved."""
    return reweighed(session, blend, threshold, opacity, session.shown.moved(sliders))


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


@told
def choose_label(session: Session, label: int) -> list[float]:
    """Where the sliders stand for another label; -1 for all."""
    session.choose_label(None if label < 0 else label)
    return list(session.shown.sliders)


@told
def draw_labels(session: Session, labels: Sequence[str]) -> list[Any]:
    """Other labels are to be seen."""
    shown = session.shown
    session.draw(frozenset(shown.prediction.labels) - frozenset(labels), shown.rate)
    return pictures(session)


@told
def draw_bounds(session: Session, rate: float) -> list[Any]:
    """The inner and outer mask at another rate; 0 for none."""
    session.draw(session.shown.hidden, rate or None)
    return pictures(session)


@told
def drop_pieces(session: Session, min_area_px: float | None) -> list[Any]:
    session.drop_pieces(round(min_area_px or 0))  # an emptied field asks for nothing
    return pictures(session)


@told
def average_over(session: Session, flips: bool, progress: gr.Progress = PROGRESS) -> list[Any]:
    """The switch for flips."""
    progress(None, desc="Running the models on the picture and its mirror images")
    session.average_over("flips" if flips else False)
    return pictures(session)


def _choice(blend: str) -> Any:
    return gr.update(value=blend, info=text.BLENDS[blend])


@told
def show_tab(session: Session, event: gr.SelectData) -> list[Any]:
    if event.value in TABS:
        session.tab = event.value
    return [gr.skip() for _ in TABS] if session.is_empty else pictures(session)


@told
def follow(session: Session) -> list[Any]:
    """Summary, trust and scores, after the picture."""
    return texts(session)


@told
def add_truth(session: Session, path: str) -> list[Any]:
    session.add_truth(path, "the uploaded mask")
    return texts(session)


def loaded(session: Session, name: str | None, progress: gr.Progress) -> Any:
    if name is None or not registry.shelf.is_loaded(name):
        progress(None, desc="Loading the models, a few seconds at their first use")
    session.cancelled.clear()
    ensemble = registry.shelf.get(name, _fetching(progress), session.cancelled.is_set)
    progress(None, desc="Segmenting")
    return ensemble


def _fetching(progress: gr.Progress) -> Callable[[int, int], None]:
    return lambda done, total: progress(done / max(total, 1), desc="Fetching from the Hub")
