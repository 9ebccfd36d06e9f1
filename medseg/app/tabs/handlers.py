"""What happens when a visitor does something: each handler reads its input, asks the library, returns what to show."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from medseg.app.render import examples, planes, text
from medseg.app.render.figures import figures
from medseg.app.render.offer import offer
from medseg.app.render.pull import pull
from medseg.app.state import registry
from medseg.app.state.contents import Content, contents_of
from medseg.app.state.drawing import drawing
from medseg.app.state.refusals import naming
from medseg.app.state.session import Session
from medseg.app.state.uploaded_files import UploadedFile
from medseg.app.tabs.events import warning
from medseg.app.tabs.truth import against_truth
from medseg.errors import MedsegError

PROGRESS = gr.Progress()  # Gradio gives each event its own in this one's place


def view(session: Session, *, whole: bool = False, is_new: bool = True) -> dict[str, Any]:
    """The viewer's value: the library's result of now; with the image and the members' probabilities where the viewer
    does not have them yet, or asks for them as a `whole` again. Every result has a number, unless it is no new one."""
    view_state, opened = session.view_state, session.opened
    sent, session.sent = session.sent, (view_state.prediction.members, opened)
    is_other = sent is None or sent[0] is not view_state.prediction.members or sent[1] != opened
    if is_other:
        session.token = secrets.token_hex(8)
    session.sent_results += is_new
    editing = drawing(session)
    value = {"token": session.token, "number": session.sent_results, "result": planes.result(view_state)}
    value |= {"drawing": editing.token if editing else ""}
    return value | planes.opened(view_state) if is_other or whole else value


def texts(session: Session) -> list[Any]:
    """Figures, summary and trust, and the open tab of the scores."""
    view_state = session.view_state
    return [figures(view_state), text.summary(view_state), text.verdict(view_state), *against_truth(session)]


def result(session: Session) -> list[Any]:
    """The values of a page that shows other masks or scores of its image: viewer and texts."""
    return [view(session), *texts(session)]


def displayed(session: Session) -> list[Any]:
    """The values of a page that shows its image otherwise: also the notes."""
    return [*result(session), text.notes(session.view_state)]


def everything(session: Session) -> list[Any]:
    """The values of a page that has another image or ensemble: beside `displayed` the list of what else was uploaded,
    the sliders', and how many files were opened, by which the controls of each are drawn anew."""
    return [uploaded(session), *displayed(session), offer(session.view_state), session.opened]


def uploaded(session: Session) -> Any:
    """The list of the series and images of the upload, where there are several."""
    contents, source = session.contents, session.view_state.source
    return gr.update(
        choices=[(f"{number}. {content.title}", number) for number, content in enumerate(contents, start=1)],
        value=next((number for number, content in enumerate(contents, start=1) if content.source is source), None),
        label=f"Series or image, of {len(contents)} uploaded",
        visible=len(contents) > 1,
    )


@warning
def show_first(session: Session, name: str | None, wanted: str, progress: gr.Progress = PROGRESS) -> list[Any]:
    """Open an example for a visitor who has just come: the first that nothing speaks against, with the ensemble that a
    link has `wanted`, where it is there."""
    name = wanted if wanted in registry.ensembles.names else name
    offered = examples.examples()
    suited = (example for example in offered if not registry.ensembles.against(examples.read(example), name))
    return open_image(session, name, next(suited, offered[0]), progress, chooses=False)


@warning
def pick_example(
    session: Session, name: str | None, event: gr.EventData, progress: gr.Progress = PROGRESS
) -> list[Any]:
    return open_image(session, name, examples.examples()[int(event._data["index"])], progress)


@warning
def open_files(
    session: Session, name: str | None, files: Sequence[UploadedFile], progress: gr.Progress = PROGRESS
) -> list[Any]:
    """Open a file, or the largest series of a study; its other series and images are offered beside it."""
    with naming(files[0].name if len(files) == 1 else ""):
        contents = contents_of(files)
    return open_content(session, name, contents, max(contents, key=lambda content: content.frames), progress)


@warning
def pick_content(session: Session, name: str | None, number: int, progress: gr.Progress = PROGRESS) -> list[Any]:
    """Another series or image of the upload, counted from 1."""
    contents = session.contents
    return open_content(session, name, contents, contents[number - 1], progress)


def open_content(
    session: Session, name: str | None, contents: tuple[Content, ...], content: Content, progress: gr.Progress
) -> list[Any]:
    """Open one of the `contents` of an upload."""
    example = examples.Example(content.source, "", called=content.called)
    return open_image(session, name, example, progress, contents=contents)


@warning
def insist(session: Session) -> list[Any]:
    """The visitor wants the mask of an image that no ensemble is made for."""
    session.insist()
    return displayed(session)


@warning
def send_again(session: Session) -> Any:
    """The viewer was drawn anew and has nothing."""
    return gr.skip() if session.is_empty else view(session, whole=True)


def settled(session: Session) -> Any:
    """The result alone: what Gradio keeps of a page in memory then holds no planes."""
    return gr.skip() if session.is_empty else view(session, is_new=False)


def open_image(
    session: Session,
    name: str | None,
    example: examples.Example,
    progress: gr.Progress,
    *,
    chooses: bool = True,
    contents: tuple[Content, ...] = (),
) -> list[Any]:
    """Segment `example` with the ensemble `name` or, where the page `chooses`, with one that suits it better."""
    with naming(example.called):
        image = examples.read(example)
    suiting = registry.ensembles.suiting(image, name) if chooses else name
    ensemble = loaded(session, suiting, progress)
    choice = "" if suiting == name else text.choice(suiting, ensemble)
    withheld = chooses and registry.ensembles.against(image, suiting) > 0
    about = {"choice": choice, "called": example.called, "name": example.caption}
    with naming(example.called):
        session.take(image, example.path, ensemble, **about, withheld=withheld, contents=contents)
    if example.truth is not None:
        with contextlib.suppress(MedsegError):  # where its one mask does not fit the labels of the ensemble
            session.add_truth(example.truth, "the mask this synthetic image was drawn from")
    return [suiting, *everything(session)]


@warning
def pick_ensemble(session: Session, name: str | None, progress: gr.Progress = PROGRESS) -> list[Any]:
    ensemble = loaded(session, name, progress)
    insists = registry.ensembles.against(session.view_state.prediction.image, name) > 0
    session.change_ensemble(ensemble, insists=insists)
    return everything(session)


@warning
def show_again(session: Session, change: str) -> list[Any]:
    """Another tab has opened an image or set the sliders."""
    return everything(session)


@warning
def load_from_hub(session: Session, repository: str, progress: gr.Progress = PROGRESS) -> list[Any]:
    """Fetch an ensemble or member, then segment the open image with it; `cancel_loading` ends the fetching."""
    session.cancelled.clear()
    progress(0, desc="Asking the Hub")
    name = registry.ensembles.fetch(repository.strip(), _fetching(progress), session.cancelled.is_set)
    session.change_ensemble(registry.ensembles.get(name))
    return [gr.Dropdown([*registry.ensembles.names, name], value=name), *everything(session)]


def cancel_loading(session: Session) -> None:
    session.cancelled.set()


@warning
def settle(session: Session, event: gr.EventData, progress: gr.Progress = PROGRESS) -> list[Any]:
    """The sliders have come to rest: the library's result at their settings."""
    asked = event._data
    if bool(asked["flips"]) != bool(session.view_state.prediction.tta):
        progress(None, desc="Running the models on the image and its mirror images")
    take_settings(session, asked)
    return result(session)


def take_settings(session: Session, asked: Mapping[str, Any]) -> None:
    """Take over all settings of the mixer. Raises InputError for what cannot be meant."""
    if bool(asked["flips"]) != bool(session.view_state.prediction.tta):
        session.average_over("flips" if asked["flips"] else False)
    session.remix(_shared(asked["weights"]), asked["threshold"], asked["opacity"], asked["blend"])
    session.drop_pieces(round(asked["least"]))
    session.draw(frozenset(map(str, asked["hidden"])), asked["rate"] or None)


def _shared(weights: Any) -> Any:
    """One number for each member, where it has the same for all labels; else as they are."""
    alike = all(isinstance(weight, list) and len(set(weight)) == 1 for weight in weights)
    return [weight[0] for weight in weights] if alike else weights


def draw_pull(session: Session) -> Any:
    """What each model does to the result of now."""
    return gr.skip() if session.is_empty else pull(session.view_state, session.label)


@warning
def add_truth(session: Session, files: Sequence[UploadedFile]) -> list[Any]:
    with naming(files[0].name):
        session.add_truth(files[0].path, "the uploaded mask")
    return result(session)


def loaded(session: Session, name: str | None, progress: gr.Progress) -> Any:
    if name is None or not registry.ensembles.is_loaded(name):
        progress(None, desc="Loading the models, a few seconds at their first use")
    session.cancelled.clear()
    ensemble = registry.ensembles.get(name, _fetching(progress), session.cancelled.is_set)
    progress(None, desc="Segmenting")
    return ensemble


def _fetching(progress: gr.Progress) -> Callable[[int, int], None]:
    return lambda done, total: progress(done / max(total, 1), desc="Fetching from the Hub")
