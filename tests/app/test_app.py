"""The page without a browser: what its handlers and endpoints answer, and what they leave alone."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

import medseg
from medseg.errors import MedsegWarning
from medseg.export.png import write_mask
from medseg.inference import image_features, runtime
from medseg.inference.record import NOTICE, masks_sha256
from tests.app.test_mixer import settle
from tests.conftest import make_ensemble, with_stacker, write_disc_pair

pytest.importorskip("gradio")

import gradio as gr

from medseg.app.render import examples, planes, text
from medseg.app.render.figures import figures
from medseg.app.server import endpoints
from medseg.app.state import registry
from medseg.app.state.registry import Registry, standard_sources
from medseg.app.state.scores import solo
from medseg.app.state.session import Session
from medseg.app.state.uploaded_files import UploadedFile
from medseg.app.tabs import downloads, handlers

if TYPE_CHECKING:
    from medseg.inference.ensemble import Ensemble
    from tests.hub_server import Hub


NOT_DICOM = [name for name, one in downloads.FORMATS.items() if not one.file.endswith(".dcm")]


@pytest.fixture
def ensemble(tiny_ensemble: Path, monkeypatch: pytest.MonkeyPatch) -> Ensemble:
    """The tiny ensemble, the only one on the page's registry."""
    monkeypatch.setattr(registry, "ensembles", Registry([tiny_ensemble]))
    return registry.ensembles.get(None)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A PNG of 64 × 48 pixels; its true mask lies in masks/disc.png."""
    write_disc_pair(tmp_path, "disc", 5)
    return tmp_path / "images" / "disc.png"


@pytest.fixture
def truth(photo: Path, tmp_path: Path) -> Path:
    return tmp_path / "masks" / "disc.png"


@pytest.fixture
def session(ensemble: Ensemble, photo: Path) -> Session:
    """A visitor who has the image open."""
    opened = Session()
    opened.open(photo, ensemble)
    return opened


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one with each run of a network."""
    counted: list[None] = []
    run = runtime.run

    def counting(*args: Any) -> Any:
        counted.append(None)
        return run(*args)

    monkeypatch.setattr(runtime, "run", counting)
    return counted


def test_opening_an_image_shows_the_ensembles_own_mask(session: Session, ensemble: Ensemble, photo: Path) -> None:
    expected = ensemble.predict(medseg.read_image(photo))
    assert np.array_equal(session.view_state.prediction.masks, expected.masks)
    assert session.view_state.weights == ensemble.weights == (0.75, 0.25)


def test_each_member_runs_once_for_an_image_and_no_slider_runs_one(
    ensemble: Ensemble, tmp_path: Path, runs: list[None]
) -> None:
    write_disc_pair(tmp_path, "unseen", 77)
    session = Session()
    session.open(tmp_path / "images" / "unseen.png", ensemble)
    assert len(runs) == 2
    for weights, threshold, opacity in (((1, 0), 0.5, 0.3), ((0.2, 0.9), 0.31, 0.3), ((0.2, 0.9), 0.31, 1.0)):
        settle(session, weights=weights, threshold=threshold, opacity=opacity)
    assert len(runs) == 2


def test_opening_predicts_once_even_with_a_cache_that_keeps_nothing(
    tmp_path: Path, runs: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from medseg.inference import ensemble as module

    monkeypatch.setattr(module, "_cache", module.ArrayCache(0))
    three = medseg.Ensemble.from_pretrained(make_ensemble(tmp_path / "three", (1.0, 1.0, 1.0)))
    for name in ("first", "second"):
        write_disc_pair(tmp_path, name, len(name))
    session = Session()
    session.open(tmp_path / "images" / "first.png", three)
    assert len(runs) == 3
    session.open(tmp_path / "images" / "second.png", three)
    assert len(runs) == 6
    session.change_ensemble(medseg.Ensemble.from_pretrained(tmp_path / "three"))
    assert len(runs) == 9
    session.look_again(0, None)
    assert len(runs) == 12


def test_the_domain_check_looks_at_the_pixels_of_an_image_once(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = Registry(standard_sources())  # three embedded ensembles, each with a domain.json
    asked: list[np.ndarray] = []
    reckon = image_features._features
    monkeypatch.setattr(image_features, "_features", lambda pixels: asked.append(pixels) or reckon(pixels))
    image = medseg.read_image(photo)
    ensemble = every.get(every.suiting(image, every.names[0]))
    Session().take(image, photo, ensemble)
    assert len(asked) == 1


def test_the_probabilities_go_to_the_viewer_once_and_results_follow_alone(session: Session, photo: Path) -> None:
    first = handlers.view(session)
    assert len(first["planes"]) == 1
    session.remix((0.2, 0.8), 0.4, 0.3)
    later = handlers.view(session)
    assert "planes" not in later
    assert (later["token"], later["number"]) == (first["token"], 2)
    assert "planes" in handlers.send_again(session)
    session.open(photo, session.view_state.ensemble, "again")
    assert handlers.view(session)["token"] != first["token"]


def test_sliders_stay_where_they_are_for_the_next_image(session: Session, ensemble: Ensemble, tmp_path: Path) -> None:
    session.remix((0, 0.6), 0.4, 0.8)
    write_disc_pair(tmp_path, "next", 6)
    session.open(tmp_path / "images" / "next.png", ensemble)
    assert session.view_state.weights == (0, 0.6)
    assert session.view_state.prediction.weights == (0, 1)
    assert (session.view_state.prediction.threshold, session.view_state.opacity) == (0.4, 0.8)


def test_all_weights_zero_is_refused_in_words_and_changes_nothing(session: Session) -> None:
    before = session.view_state
    with pytest.warns(UserWarning, match="raise at least one slider"):
        settle(session, weights=[0, 0])
    assert session.view_state is before


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("text.png", b"this is no image", "none of PNG, JPEG"), ("empty.dcm", b"", "empty|PNG, JPEG")],
)
def test_a_bad_file_gives_its_sentence_and_leaves_the_page_alone(
    session: Session, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    before = session.view_state
    with pytest.warns(UserWarning, match=f"{name}: .*({words})"):
        handlers.open_files(session, None, [UploadedFile(tmp_path / name, name)])
    assert session.view_state is before


def test_an_image_too_small_to_segment_leaves_the_page_alone(session: Session, tmp_path: Path) -> None:
    PIL.Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    before = session.view_state
    with pytest.warns(UserWarning, match="dot.png: .*1 × 1 pixels"):
        handlers.open_files(session, None, [UploadedFile(tmp_path / "dot.png", "dot.png")])
    assert session.view_state is before


def test_an_unexpected_error_is_told_plainly_and_logged_without_its_message(
    session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("No space left on device: /tmp/DOE^JOHN.dcm")

    monkeypatch.setattr(examples, "read_file", fail)
    with pytest.warns(UserWarning, match="Something went wrong"):
        handlers.open_files(session, None, [UploadedFile(Path("image.png"), "image.png")])
    assert "OSError" in caplog.text
    assert "DOE" not in caplog.text


def test_scores_are_the_librarys_for_the_ensemble_and_every_member(session: Session, truth: Path) -> None:
    _, figured, _, _, table, *_ = handlers.add_truth(session, [UploadedFile(truth, "truth.png")])
    rows = session.scores.rows(session.view_state)
    masks = medseg.read_masks(truth, ["blob"])
    view_state = session.view_state
    alone = solo(view_state, view_state.prediction, 1)
    assert [row["mask"] for row in rows] == ["Ensemble", "random-0", "random-1"]
    assert rows[0]["dice"] == dice(view_state.prediction.masks, masks)
    assert rows[2]["dice"] == dice(alone.masks, masks)
    assert "HD95 (px)" in table
    assert "foreground only" in table
    assert "blob" in figured


def dice(ours: np.ndarray, true: np.ndarray) -> float:
    return 2 * int((ours & true).sum()) / int(ours.sum() + true.sum())


def test_member_scores_follow_the_threshold(session: Session, truth: Path) -> None:
    session.add_truth(truth, "test")
    scored = [session.scores.rows(session.view_state)]
    session.remix((0.75, 0.25), 0.01, 0.3)
    scored.append(session.scores.rows(session.view_state))
    assert scored[0][1]["recall"] != scored[1][1]["recall"]
    assert scored[1][1]["recall"] == 1.0


def test_a_truth_of_another_size_is_refused_with_both_sizes(session: Session, tmp_path: Path) -> None:
    PIL.Image.new("L", (30, 20)).save(tmp_path / "other.png")
    before = session.view_state
    with pytest.warns(UserWarning, match="other.png: .*30 × 20.*64 ×.*48"):
        handlers.add_truth(session, [UploadedFile(tmp_path / "other.png", "other.png")])
    assert session.view_state is before


def test_a_new_image_forgets_the_old_truth(session: Session, ensemble: Ensemble, truth: Path, photo: Path) -> None:
    session.add_truth(truth, "test")
    session.open(photo, ensemble)
    assert session.view_state.truth is None
    assert "Add the true mask" in text.score_table(session.view_state, [])


def test_downloads_are_the_librarys_files_bit_for_bit(session: Session, tmp_path: Path) -> None:
    session.remix((0.1, 0.9), 0.42, 0.3)
    view_state = session.view_state.prediction
    write_mask(view_state.masks, view_state.image, tmp_path / "ours.png")
    assert Path(downloads.save(session, "mask")[0]).read_bytes() == (tmp_path / "ours.png").read_bytes()
    with np.load(downloads.save(session, "probabilities")[0]) as stored:
        assert np.array_equal(stored["probabilities"], view_state.probabilities.astype(np.float16))
    assert masks_sha256(view_state.masks) in Path(downloads.save(session, "report")[0]).read_text()


@pytest.mark.parametrize("name", NOT_DICOM)
def test_every_format_is_a_file_of_its_own_that_says_it_is_for_research(session: Session, name: str) -> None:
    path = Path(downloads.save(session, name)[0])
    assert path.name == downloads.FORMATS[name].file
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if path.suffix == ".npz":
        content = zipfile.ZipFile(path).read("notice.npy")[-4 * len(NOTICE) :].decode("utf-32-le").encode()
    assert NOTICE.encode() in content
    assert len({one.file for one in downloads.FORMATS.values()}) == len(downloads.FORMATS)


def test_the_name_of_the_visitors_file_is_in_no_download(ensemble: Ensemble, photo: Path, tmp_path: Path) -> None:
    session = Session()
    session.open(photo.rename(tmp_path / "canary.png"), ensemble)
    for name in NOT_DICOM:
        path = downloads.write(session, name)
        assert "canary" not in str(path)
        assert b"canary" not in path.read_bytes()


def test_dicom_results_are_had_for_a_dicom_that_is_still_here(ensemble: Ensemble, tmp_path: Path) -> None:
    film = tmp_path / "film.dcm"
    film.write_bytes(Path(get_testdata_file("CT_small.dcm", download=False)).read_bytes())
    session = Session()
    session.open(film, ensemble)
    for name in set(downloads.FORMATS) - set(NOT_DICOM):
        result = dcmread(downloads.save(session, name)[0])
        assert result.ReferencedSeriesSequence[0].SeriesInstanceUID == dcmread(film).SeriesInstanceUID
    film.unlink()
    with pytest.raises(gr.Error, match="has been deleted here after a while: open it again"):
        downloads.save(session, "probabilities-seg")


def test_a_dicom_seg_of_another_kind_of_image_is_refused_with_the_reason(session: Session) -> None:
    with pytest.raises(gr.Error, match="file is a PNG"):
        downloads.save(session, "mask-seg")


def test_a_large_image_is_drawn_small_and_exported_whole(ensemble: Ensemble, tmp_path: Path) -> None:
    write_disc_pair(tmp_path, "large", 3, size=(600, 1300))
    session = Session()
    session.open(tmp_path / "images" / "large.png", ensemble)
    assert planes.opened(session.view_state)["size"] == [473, 1024]
    with PIL.Image.open(downloads.write(session, "mask")) as mask:
        assert mask.size == (1300, 600)


def test_several_labels_are_scored_and_named_one_by_one(tmp_path: Path, photo: Path) -> None:
    folder = make_ensemble(tmp_path / "two", (1.0, 1.0), labels=("lung", "heart"), task="multilabel")
    session = Session()
    session.open(photo, medseg.Ensemble.from_pretrained(folder))
    label_map = np.zeros((48, 64), np.uint8)
    label_map[:20], label_map[30:] = 1, 2
    PIL.Image.fromarray(label_map).save(tmp_path / "labels.png")
    session.add_truth(tmp_path / "labels.png", "test")
    rows = session.scores.rows(session.view_state)
    assert [row["label"] for row in rows] == ["lung", "heart"] * 3
    parts = text.score_table(session.view_state, rows).split("\n\n")
    assert [part for part in parts if part.startswith("**")] == ["**lung**", "**heart**"]
    assert [part.splitlines()[0].count("|") for part in parts if part.startswith("|")] == [5, 5] * 2
    assert "lung" in figures(session.view_state)


def test_a_damaged_member_is_named_and_the_page_goes_on_with_the_rest(tmp_path: Path, photo: Path) -> None:
    folder = make_ensemble(tmp_path / "hurt", (0.5, 0.5))
    with (folder / "m1" / "model.safetensors").open("r+b") as weights:
        weights.truncate(1000)
    with pytest.warns(MedsegWarning, match="goes on without it"):
        rest = medseg.Ensemble.from_pretrained(folder)
    session = Session()
    session.open(photo, rest)
    assert "The member m1 is damaged" in text.notes(session.view_state)
    assert session.view_state.weights == (1.0,)


def test_two_visitors_share_nothing(session: Session) -> None:
    import copy

    other = copy.deepcopy(session)  # what Gradio does for each visitor
    assert other.is_empty
    with pytest.raises(medseg.MedsegError, match="choose an example"):
        _ = other.view_state


def test_every_synthetic_example_has_its_mask_and_says_what_it_is() -> None:
    synthetic = [example for example in examples.examples() if example.truth]
    assert len(synthetic) >= 4
    assert len({example.caption for example in synthetic}) == len(synthetic)
    assert all(example.caption.startswith("Synthetic") for example in synthetic)
    assert [example.caption for example in examples.examples() if not example.truth] in (
        [],
        ["Real chest film"],
    )


def test_ensembles_come_from_the_environment_and_the_assets_and_from_no_visitor(
    tiny_ensemble: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ensemble: Ensemble
) -> None:
    (tmp_path / "ensemble.json").write_text("{}")
    monkeypatch.setenv("MEDSEG_ENSEMBLES", f"{tiny_ensemble}:{tmp_path}")
    assert Registry(standard_sources()).names[0] == "tiny-binary"
    with pytest.raises(medseg.MedsegError, match="choose one of"):
        registry.ensembles.get(str(tiny_ensemble))


def test_an_embedded_ensemble_that_the_environment_names_is_first_and_comes_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDSEG_ENSEMBLES", "chest")
    assert [source.name for source in standard_sources() if isinstance(source, Path)] == ["chest", "polyp", "brain"]


REPO = "tester/net"


@pytest.fixture
def published(hub: Hub, tiny_ensemble: Path) -> str:
    """The tiny ensemble as a repository on the Hub."""
    files = {str(path.relative_to(tiny_ensemble)): path.read_bytes() for path in tiny_ensemble.rglob("*.*")}
    hub.commit(REPO, files)
    return REPO


def quiet(*args: Any, **kwargs: Any) -> None:
    """Stands for Gradio's progress bar."""


def test_the_owner_may_name_hub_repositories_which_are_asked_at_their_first_use(
    published: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSEG_ENSEMBLES", f"{published}:{published}@main")
    ensembles = Registry(standard_sources())
    assert ensembles.names[:2] == [published, f"{published}@main"]
    assert ensembles.describe()[0] == {"name": published}
    assert hub.log == []
    assert ensembles.get(published).config.name == "tiny-binary"
    assert ensembles.describe()[0]["members"] == ["m0", "m1"]


def test_a_visitor_loads_a_repository_and_the_image_is_segmented_with_it(
    published: str, hub: Hub, session: Session
) -> None:
    dropdown, *_ = handlers.load_from_hub(session, f" {published} ", quiet)
    assert dropdown.value == published
    assert [name for name, _ in dropdown.choices] == ["tiny-binary", published]
    assert session.view_state.ensemble is registry.ensembles.get(published)
    assert registry.ensembles.names == ["tiny-binary"]  # it is offered to no other visitor


def test_loading_can_be_cancelled_and_leaves_the_page_as_it_was(
    published: str, hub: Hub, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    warning: list[str] = []
    monkeypatch.setattr("gradio.Warning", lambda sentence, title: warning.append(sentence))
    before = session.view_state

    def cancelling(*args: Any, **kwargs: Any) -> None:
        handlers.cancel_loading(session)

    handlers.load_from_hub(session, published, cancelling)
    assert "cancelled" in warning[0]
    assert session.view_state is before


@pytest.mark.parametrize("name", ["", "net", "../net", "/etc/passwd", "a/b/c", "http://127.0.0.1/net"])
def test_what_is_no_id_is_refused_without_asking_anybody(name: str, hub: Hub, ensemble: Ensemble) -> None:
    with pytest.raises(medseg.MedsegError, match="Wanted the id of a Hub repository"):
        registry.ensembles.fetch(name, quiet, lambda: False)
    assert hub.log == []


def test_a_visitor_names_no_folder(tiny_ensemble: Path, ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_ensemble.parent.parent)
    with pytest.raises(medseg.MedsegError, match="is a folder, or no Hub repository"):
        registry.ensembles.fetch(f"{tiny_ensemble.parent.name}/{tiny_ensemble.name}", quiet, lambda: False)


@pytest.fixture
def stacked(tiny_ensemble: Path, tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A visitor who has the image open in an ensemble that blends by a stacker."""
    folder = with_stacker(Path(shutil.copytree(tiny_ensemble, tmp_path / "stacked")))
    monkeypatch.setattr(registry, "ensembles", Registry([folder]))
    opened = Session()
    opened.open(photo, registry.ensembles.get(None))
    return opened


def test_a_stacked_ensemble_opens_stacked_and_can_be_blended_by_weights(stacked: Session, runs: list[None]) -> None:
    assert stacked.view_state.prediction.blend == "stacking"
    assert "by stacking at cut-off 0.50" in text.summary(stacked.view_state)
    settle(stacked, blend="weighted mean", weights=[1, 0])
    assert stacked.view_state.prediction.blend == "weighted mean"
    assert np.array_equal(stacked.view_state.prediction.probabilities[0], solo_probabilities(stacked))
    assert runs == []


def solo_probabilities(session: Session) -> np.ndarray:
    prediction = session.view_state.prediction
    return prediction.members[0, 0].astype(np.float32)


def test_what_stacking_answers_travels_beside_the_mask(stacked: Session) -> None:
    assert len(planes.result(stacked.view_state)["field"]) == 1
    settle(stacked, blend="median")
    assert planes.result(stacked.view_state)["field"] == []


@pytest.mark.parametrize("how", ["weighted mean", "geometric", "median", "majority vote", "STAPLE"])
def test_weights_and_blend_together_are_the_librarys(session: Session, ensemble: Ensemble, how: str) -> None:
    settle(session, blend=how, weights=[0.1, 0.9])
    prediction = session.view_state.prediction
    assert prediction.blend == how
    wanted = ensemble.predict(prediction.image, weights=(0.1, 0.9), blend=how)
    assert np.array_equal(prediction.masks, wanted.masks)


def test_every_blend_is_said_in_a_line(session: Session) -> None:
    from typing import get_args

    from medseg.config import Blend

    settle(session, blend="median")
    assert "by median at" in text.summary(session.view_state)
    assert tuple(text.BLENDS) == tuple(text.TITLES) == get_args(Blend)


@pytest.fixture
def per_label(tmp_path: Path, photo: Path) -> Session:
    """A visitor of an ensemble with the weights 3 and 1 for one label, 1 and 1 for the other."""
    folder = make_ensemble(tmp_path / "each", (1, 1), labels=("lung", "heart"), task="multilabel", plain=True)
    content = json.loads((folder / "ensemble.json").read_text())
    for member, weight in zip(content["members"], ([3, 1], [1, 1]), strict=True):
        member["weight"] = weight
    (folder / "ensemble.json").write_text(json.dumps(content))
    opened = Session()
    opened.open(photo, medseg.Ensemble.from_pretrained(folder))
    return opened


def test_weights_per_label_stay_as_they_are_until_one_is_moved(per_label: Session) -> None:
    assert per_label.view_state.sliders == (0.62, 0.38)
    settle(per_label, threshold=0.4)
    assert per_label.view_state.prediction.weights == ((0.75, 0.5), (0.25, 0.5))


def test_a_cut_off_for_each_label_comes_from_the_mixer_and_goes_to_the_viewer(per_label: Session) -> None:
    settle(per_label, threshold=[0.3, 0.7])
    now = per_label.view_state.prediction
    assert now.threshold == (0.3, 0.7)
    assert np.array_equal(now.masks, now.probabilities >= np.array([0.3, 0.7], np.float32)[:, None, None])
    assert planes.result(per_label.view_state)["threshold"] == (0.3, 0.7)
    assert "cut-off 0.30 / 0.70" in text.setting(per_label.view_state)


def test_programs_may_weigh_each_label_by_itself(per_label: Session) -> None:
    *_, report = endpoints.remix(endpoints.results.keep(per_label), [[1, 1], [0, 1]], 0.5, "median")
    assert [member["weight"] for member in report["members"]] == [(1, 0.5), (0, 0.5)]
    assert report["blend"] == "median"


def test_each_members_own_view_is_its_own_also_under_a_stacker(stacked: Session) -> None:
    alone = solo(stacked.view_state, stacked.view_state.view, 0)
    assert np.array_equal(alone.probabilities[0], solo_probabilities(stacked))


def test_programs_choose_the_blend_by_name(stacked: Session) -> None:
    import gradio as gr

    result = endpoints.results.keep(stacked)
    *_, report = endpoints.remix(result, [1, 1], 0.5, "stacking")
    assert report["blend"] == "stacking"
    with pytest.raises(gr.Error, match=r"can blend by weighted mean, .*, stacking, not by 'mode'"):
        endpoints.remix(result, [1, 1], 0.5, "mode")


@pytest.mark.parametrize(
    ("environment", "allowed"),
    [
        ({}, True),
        ({"GRADIO_SERVER_NAME": "localhost"}, True),
        ({"GRADIO_SERVER_NAME": "0.0.0.0"}, False),  # noqa: S104
        ({"GRADIO_SHARE": "True"}, False),
        ({"SPACE_ID": "owner/space"}, False),
        ({"SPACE_ID": "owner/space", "MEDSEG_ALLOW_HUB": "1"}, True),
    ],
)
def test_visitors_name_repositories_on_loopback_or_where_the_owner_allows_it(
    environment: dict[str, str], allowed: bool, hub: Hub, ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GRADIO_SERVER_NAME", "GRADIO_SHARE", "SPACE_ID", "MEDSEG_ALLOW_HUB"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        medseg.MedsegError, match="no such repository|wants a token" if allowed else "its owner can allow"
    ):
        registry.ensembles.fetch("tester/other", quiet, lambda: False)
    assert bool(hub.log) == allowed


def test_visitors_of_a_public_page_never_use_its_owners_token(
    hub: Hub, ensemble: Ensemble, tiny_ensemble: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(REPO, {"member.json": b"{}"}, private=True)
    monkeypatch.setenv("SPACE_ID", "owner/space")
    monkeypatch.setenv("MEDSEG_ALLOW_HUB", "1")
    with pytest.raises(medseg.MedsegError, match="401"):
        registry.ensembles.fetch(REPO, quiet, lambda: False)
    assert not any(token for *_, token in hub.log)


def test_only_the_last_few_fetched_ensembles_stay_in_memory(
    published: str, hub: Hub, ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.app.state.registry.MAX_FETCHED", 1)
    registry.ensembles.fetch(published, quiet, lambda: False)
    registry.ensembles.fetch(f"{published}@main", quiet, lambda: False)
    assert not registry.ensembles.is_loaded(published)
    assert registry.ensembles.is_loaded(f"{published}@main")


def test_the_first_folder_is_loaded_ahead_and_the_hub_is_not_asked(plain_ensemble: Path) -> None:
    ahead = Registry([plain_ensemble])
    ahead.prepare()
    assert ahead.is_loaded(ahead.names[0])
    hub = Registry(["owner/name@main"])
    hub.prepare()
    assert not hub.is_loaded(hub.names[0])
    Registry([]).prepare()  # nothing to load is no error either


# --- names of downloads


@pytest.mark.parametrize(
    ("called", "file", "name"),
    [
        ("Scan 1.nii.gz", "medseg-mask.nii.gz", "Scan 1-mask.nii.gz"),
        ("IMG_2.PNG", "medseg-coco.json", "IMG_2-coco.json"),
        ("../../etc/Müller.dcm", "medseg-mask.dcm", "Müller-mask.dcm"),
        ("1.2.840.113619.2", "medseg-mask.png", "1.2.840.113619.2-mask.png"),
        ("", "medseg-mask.png", "medseg-mask.png"),
    ],
)
def test_a_download_is_called_as_the_visitors_file(
    session: Session, photo: Path, called: str, file: str, name: str
) -> None:
    session.open(photo, session.view_state.ensemble, called)
    assert downloads.file_name(session.view_state, file) == name
    path, suggested = downloads.save(session, "mask")
    assert Path(path).name == "medseg-mask.png"  # on disk it has no name of the visitor's
    assert suggested == downloads.file_name(session.view_state, "medseg-mask.png")


def test_the_name_stays_with_another_ensemble_and_goes_with_another_file(
    session: Session, photo: Path, tiny_ensemble: Path
) -> None:
    session.open(photo, medseg.Ensemble.from_pretrained(tiny_ensemble), "mine.png")
    session.change_ensemble(medseg.Ensemble.from_pretrained(tiny_ensemble))
    assert session.view_state.called == "mine.png"
    session.open(photo, session.view_state.ensemble)
    assert session.view_state.called == ""
