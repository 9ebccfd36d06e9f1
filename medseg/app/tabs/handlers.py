"""What happens when a visitor does something: each handler reads its input, asks the library, returns what to show."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from medseg.app.render import examples, images, text
from medseg.app.state import registry
from medseg.app.state.session import Session
from medseg.app.state.uploaded_files import UploadedFile
from medseg.app.tabs.events import warning
from medseg.app.tabs.truth import against_truth
from medseg.errors import MedsegError
from medseg.reading.readers import read_file

PROGRESS = gr.Progress()  # Gradio gives each event its own in this one's place

TABS: dict[str, Callable[[Any], Any]] = {
    "Mask": lambda view_state: gr.update(value=images.overlay(view_state), alt_text=images.described(view_state)),
    "Probability": images.probability,
    "Where models differ": images.disagreement,
    "Uncertainty": images.entropy,
    "Each model": images.members,
    "Compare": images.compare,
}


def views(session: Session) -> list[Any]:
    """One value for each tab: the image of the visible one, nothing for the others, which are drawn when opened."""
    view_state, tab = session.view_state, session.tab
    return [draw(view_state) if name == tab else gr.skip() for name, draw in TABS.items()]


def texts(session: Session) -> list[Any]:
    """Summary and trust, and the open tab of the scores."""
    view_state = session.view_state
    return [text.summary(view_state), text.verdict(view_state), *against_truth(session)]


def displayed(session: Session) -> list[Any]:
    """The values of a page that shows its image otherwise: views, texts, notes."""
    return [*views(session), *texts(session), text.notes(session.view_state)]


def everything(session: Session, name: str | None) -> list[Any]:
    """The values of a page that has another image or ensemble: beside `displayed` the ensemble's name and how many
    files were opened, by which the controls of each are drawn anew."""
    return [*displayed(session), name, session.opened]


@warning
def show_first(session: Session, name: str | None, progress: gr.Progress = PROGRESS) -> list[Any]:
    """Open an example for a visitor who has just come: the first that nothing speaks against."""
    offered = examples.examples()
    suited = (example for example in offered if not registry.ensembles.against(read_file(example.path), name))
    return open_image(session, name, next(suited, offered[0]), progress, chooses=False)


@warning
def pick_example(
    session: Session, name: str | None, event: gr.SelectData, progress: gr.Progress = PROGRESS
) -> list[Any]:
    return open_image(session, name, examples.examples()[int(event.index)], progress)


@warning
def open_file(session: Session, name: str | None, file: UploadedFile, progress: gr.Progress = PROGRESS) -> list[Any]:
    return open_image(session, name, examples.Example(file.path, "", called=file.name), progress)


def open_image(
    session: Session, name: str | None, example: examples.Example, progress: gr.Progress, *, chooses: bool = True
) -> list[Any]:
    """Segment `example` with the ensemble `name` or, where the page `chooses`, with one that suits it better."""
    image = read_file(example.path)
    suiting = registry.ensembles.suiting(image, name) if chooses else name
    ensemble = loaded(session, suiting, progress)
    choice = "" if suiting == name else text.choice(suiting, ensemble)
    session.take(image, example.path, ensemble, choice, example.called)
    if example.truth is not None:
        with contextlib.suppress(MedsegError):  # where its one mask does not fit the labels of the ensemble
            session.add_truth(example.truth, "the mask this synthetic image was drawn from")
    return [suiting, *everything(session, suiting)]


@warning
def pick_ensemble(session: Session, name: str | None, progress: gr.Progress = PROGRESS) -> list[Any]:
    session.change_ensemble(loaded(session, name, progress))
    return everything(session, name)


@warning
def show_again(session: Session, change: str) -> list[Any]:
    """Another tab has opened an image or set the sliders."""
    return everything(session, f"change {change}")  # a name like no ensemble's, so that the sliders are drawn anew


@warning
def load_from_hub(session: Session, repository: str, progress: gr.Progress = PROGRESS) -> list[Any]:
    """Fetch an ensemble or member, then segment the open image with it; `cancel_loading` ends the fetching."""
    session.cancelled.clear()
    progress(0, desc="Asking the Hub")
    name = registry.ensembles.fetch(repository.strip(), _fetching(progress), session.cancelled.is_set)
    session.change_ensemble(registry.ensembles.get(name))
    return [gr.Dropdown([*registry.ensembles.names, name], value=name), *everything(session, name)]


def cancel_loading(session: Session) -> None:
    session.cancelled.set()


@warning
def remix(session: Session, blend: Any, threshold: float, opacity: float, *sliders: float) -> list[Any]:
    """Blend, threshold or opacity changed."""
    return remixed(session, blend, threshold, opacity, session.view_state.moved(sliders))


@warning
def reweigh(session: Session, blend: Any, threshold: float, opacity: float, *sliders: float) -> list[Any]:
    """A weight slider moved."""
    return reweighed(session, blend, threshold, opacity, session.view_state.moved(sliders))


def reweighed(session: Session, chosen: Any, threshold: float, opacity: float, weights: Sequence[Any]) -> list[Any]:
    """As `remixed`, but for stacking, which knows no weights: a visitor who changes one wants to see it at work."""
    blend = "weighted mean" if chosen == "stacking" else chosen
    choice, *drawn = remixed(session, blend, threshold, opacity, weights)
    return [choice if chosen == blend else _choice(blend), *drawn]


def remixed(session: Session, blend: Any, threshold: float, opacity: float, weights: Sequence[Any]) -> list[Any]:
    """The blend, where it is another one (to draw it again slows a slider), and the visible image alone."""
    before = session.view_state.prediction.blend
    session.remix(weights, threshold, opacity, blend)
    return [gr.skip() if blend == before else _choice(blend), *views(session)]


@warning
def choose_label(session: Session, label: int) -> list[float]:
    """Where the sliders stand for another label; -1 for all."""
    session.choose_label(None if label < 0 else label)
    return list(session.view_state.sliders)


@warning
def draw_labels(session: Session, labels: Sequence[str]) -> list[Any]:
    """Other labels are to be seen."""
    view_state = session.view_state
    session.draw(frozenset(view_state.prediction.labels) - frozenset(labels), view_state.rate)
    return views(session)


@warning
def draw_bounds(session: Session, rate: float) -> list[Any]:
    """The inner and outer mask at another rate; 0 for none."""
    session.draw(session.view_state.hidden, rate or None)
    return views(session)


@warning
def drop_pieces(session: Session, min_area_px: float | None) -> list[Any]:
    session.drop_pieces(round(min_area_px or 0))  # an emptied field asks for nothing
    return views(session)


@warning
def average_over(session: Session, flips: bool, progress: gr.Progress = PROGRESS) -> list[Any]:
    """The switch for flips."""
    progress(None, desc="Running the models on the image and its mirror images")
    session.average_over("flips" if flips else False)
    return views(session)


def _choice(blend: str) -> Any:
    return gr.update(value=blend, info=text.BLENDS[blend])


@warning
def show_tab(session: Session, event: gr.SelectData) -> list[Any]:
    if event.value in TABS:
        session.tab = event.value
    return [gr.skip() for _ in TABS] if session.is_empty else views(session)


@warning
def follow(session: Session) -> list[Any]:
    """Summary, trust and scores, after the image."""
    return texts(session)


@warning
def add_truth(session: Session, path: str) -> list[Any]:
    session.add_truth(path, "the uploaded mask")
    return texts(session)


def loaded(session: Session, name: str | None, progress: gr.Progress) -> Any:
    if name is None or not registry.ensembles.is_loaded(name):
        progress(None, desc="Loading the models, a few seconds at their first use")
    session.cancelled.clear()
    ensemble = registry.ensembles.get(name, _fetching(progress), session.cancelled.is_set)
    progress(None, desc="Segmenting")
    return ensemble


def _fetching(progress: gr.Progress) -> Callable[[int, int], None]:
    return lambda done, total: progress(done / max(total, 1), desc="Fetching from the Hub")
