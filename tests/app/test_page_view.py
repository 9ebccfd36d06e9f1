"""The image side of the page without a browser: frames, windows, views, and the ensemble that suits an image."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import pytest

import medseg
from medseg import schema
from medseg.config import Appearance, EnsembleConfig, MemberConfig, TrainingData
from medseg.errors import InputError
from medseg.image import Image
from medseg.inference.member import file_sha256
from tests.conftest import make_ensemble
from tests.reading.test_readers import write_dicom

pytest.importorskip("gradio")

from medseg.app.render import images
from medseg.app.state import registry
from medseg.app.state.registry import Registry
from medseg.app.state.session import Session
from medseg.app.state.uploaded_files import UploadedFile
from medseg.app.tabs import frames, handlers, window

if TYPE_CHECKING:
    from medseg.inference.ensemble import Ensemble

REDDISH = Appearance(brightness=(0.1, 0.8), red_green=(0.1, 0.4), yellow_blue=(0.1, 0.4))
GREY = Appearance(brightness=(0.4, 0.8), red_green=(0.0, 0.0), yellow_blue=(0.0, 0.0))
COLON = TrainingData("kvasir", "CC0-1.0", modalities=("ES",), pictures="colonoscopy", appearance=REDDISH)
FILMS = TrainingData("films", "CC0-1.0", modalities=("CR", "DX"), pictures="chest films", appearance=GREY)
HEADS = TrainingData("heads", "CC0-1.0", modalities=("MR",), pictures="heads", appearance=GREY)
SKIN = TrainingData("skin", "CC0-1.0", pictures="skin", appearance=REDDISH)


@pytest.fixture
def ensemble(plain_ensemble: Path, monkeypatch: pytest.MonkeyPatch) -> Ensemble:
    """A quick ensemble, the only one on the page's registry."""
    monkeypatch.setattr(registry, "ensembles", Registry([plain_ensemble]))
    return registry.ensembles.get(None)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A CT of three frames of 32 × 32 pixels from -1000 upwards, each brighter, in steps of 1 mm; two windows."""
    rising = np.arange(32 * 32, dtype=np.int16).reshape(32, 32) - 1000
    stack = np.stack([rising, rising + 300, rising + 600])
    settings: dict[str, Any] = {"WindowCenter": [40, -500], "WindowWidth": [400, 600], "PixelSpacing": [1, 1]}
    return write_dicom(tmp_path / "scan.dcm", stack, **settings)


@pytest.fixture
def session(scan: Path, ensemble: Ensemble) -> Session:
    """A visitor who has the CT open."""
    opened = Session()
    opened.open(scan, ensemble)
    return opened


def test_another_frame_is_the_librarys_at_the_same_settings(session: Session, ensemble: Ensemble, scan: Path) -> None:
    session.remix((0.2, 0.8), 0.4, 0.3)
    frames.show_frame(session, 3)
    expected = ensemble.predict(medseg.read_image(scan, frame=2), weights=(0.2, 0.8), threshold=0.4)
    assert session.view_state.prediction.image.frame == 2
    assert np.array_equal(session.view_state.prediction.probabilities, expected.probabilities)


def test_another_frame_has_another_truth_and_another_window_the_same(session: Session, tmp_path: Path) -> None:
    PIL.Image.new("L", (32, 32), 255).save(tmp_path / "truth.png")
    session.add_truth(tmp_path / "truth.png", "test")
    window.choose(session, "Lung")
    assert session.view_state.truth is not None
    frames.show_frame(session, 2)
    assert session.view_state.truth is None


def test_the_window_stays_while_frames_change(session: Session, scan: Path) -> None:
    window.choose(session, "Bone")
    frames.show_frame(session, 2)
    assert session.view_state.prediction.image.window == (400, 1800)
    expected = medseg.read_image(scan, frame=1, window=(400, 1800))
    assert np.array_equal(session.view_state.prediction.image.pixels, expected.pixels)


def test_a_ct_offers_its_own_windows_those_in_use_and_the_full_range(session: Session) -> None:
    offered = window.windows_of(session.view_state.prediction.image)
    names = [window.AS_FILE, "The file's -500 / 600", "Lung", "Soft tissue", "Bone", "Brain", window.FULL]
    assert list(offered) == names


def test_the_full_range_spreads_the_darkest_to_black_and_the_brightest_to_white(session: Session) -> None:
    window.choose(session, window.FULL)
    pixels = session.view_state.prediction.image.pixels[..., 0]
    assert pixels.ravel() == pytest.approx(np.arange(1024) / 1023, abs=1e-6)


def test_moving_a_slider_is_a_window_of_ones_own(session: Session) -> None:
    name, *_ = window.move(session, 100, 250)
    assert name == window.OWN
    assert session.view_state.prediction.image.window == (100, 250)


def test_every_window_that_is_offered_has_its_place_on_the_sliders(session: Session) -> None:
    for name in window.windows_of(session.view_state.prediction.image):
        centre, width, *_ = window.choose(session, name)
        assert centre["minimum"] <= centre["value"] <= centre["maximum"]
        assert width["minimum"] <= width["value"] <= width["maximum"]


@pytest.mark.parametrize(
    ("modality", "extent", "offers_ct"),
    [("CT", (0, 90), True), ("MR", (-900, 90), False), (None, (-900, 90), True), (None, (0, 90), False)],
)
def test_windows_of_ct_are_offered_for_ct_and_for_nifti_that_holds_air(
    modality: str | None, extent: tuple[float, float], offers_ct: bool
) -> None:
    image = Image(np.zeros((4, 4, 1), np.float32), modality=modality, extent=extent)
    assert ("Lung" in window.windows_of(image)) == offers_ct


def test_a_photograph_takes_no_window() -> None:
    assert window.windows_of(Image(np.zeros((4, 4, 3), np.float32))) == {}


def test_all_frames_are_a_table_in_square_millimetres_and_a_zip(session: Session, ensemble: Ensemble) -> None:
    said, table, masks = frames.segment_all(session)
    assert "3 frames by the weighted mean at cut-off 0.50" in said
    alone = ensemble.predict(medseg.read_image(session.view_state.path, frame=1))
    assert table["value"][1] == [2, int(alone.masks.sum())]  # pixels of 1 mm²
    with zipfile.ZipFile(masks["value"]) as archive:
        assert "frame-003.png" in archive.namelist()


def test_a_run_over_all_frames_ends_when_it_is_stopped(session: Session) -> None:
    def stopping(*_: Any, **__: Any) -> None:
        frames.stop_run(session)

    said, *_ = frames.segment_all(session, stopping)
    assert said == "Cancelled; nothing was kept."
    assert not list(Path(os.environ["GRADIO_TEMP_DIR"]).rglob("medseg-frames.zip"))


def test_a_file_that_is_no_longer_kept_is_asked_for_again(session: Session) -> None:
    session.view_state.path.unlink()
    with pytest.raises(InputError, match="drop it again"):
        session.look_again(1, None)


def test_the_overlay_is_described_in_words(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros((1, 32, 32), np.bool_)
    mask[0, 20:28, 0:8] = True
    described = images.described(dataclasses.replace(session.view_state, view=Painted(("blob",), mask)))  # type: ignore[arg-type]
    assert described.endswith("blob: lower left, 6.2% of the image.")
    described = images.described(dataclasses.replace(session.view_state, view=Painted(("blob",), mask & False)))  # type: ignore[arg-type]
    assert described.endswith("blob: nothing found.")


@dataclasses.dataclass
class Painted:
    """Stands in for a Prediction."""

    labels: tuple[str, ...]
    masks: np.ndarray


# Which ensemble suits an image


def trained_on(folder: Path, data: TrainingData) -> Path:
    """An ensemble folder of one tiny member, called after its data."""
    make_ensemble(folder, (1.0,), plain=True)
    path = folder / "m0" / "member.json"
    schema.dump(dataclasses.replace(schema.load(MemberConfig, path), training_data=data), path)
    settings = schema.load(EnsembleConfig, folder / "ensemble.json")
    reference = dataclasses.replace(settings.members[0], sha256=file_sha256(path))
    schema.dump(dataclasses.replace(settings, name=data.name, members=(reference,)), folder / "ensemble.json")
    return folder


@pytest.fixture
def ensembles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Four ensembles: kvasir and skin for coloured images, films and heads for grey ones."""
    filled = Registry([trained_on(tmp_path / data.name, data) for data in (COLON, FILMS, HEADS, SKIN)])
    monkeypatch.setattr(registry, "ensembles", filled)
    return filled


def coloured(*colour: float, modality: str | None = None) -> Image:
    return Image(np.full((4, 4, len(colour)), colour, np.float32), modality=modality)


RED, PALE = coloured(0.6, 0.3, 0.2), coloured(0.5)


@pytest.mark.parametrize(
    ("image", "present", "suiting"),
    [
        (RED, "films", "kvasir"),  # the first on the shelf of those with nothing against them
        (RED, "kvasir", "kvasir"),
        (RED, "skin", "skin"),  # chosen by hand, and as good
        (PALE, "kvasir", "films"),
        (PALE, "heads", "heads"),
        (coloured(0.5, modality="MR"), "films", "heads"),
        (coloured(0.5, modality="CR"), "heads", "films"),
        (coloured(0.5, modality="US"), "films", "films"),  # all have something against it, the present one no more
        (RED, None, "kvasir"),
    ],
)
def test_the_ensemble_with_the_fewest_doubts_is_taken_the_present_one_among_equals(
    ensembles: Registry, image: Image, present: str | None, suiting: str
) -> None:
    assert ensembles.suiting(image, present) == suiting


def test_an_ensemble_of_which_nothing_is_known_yet_stays(ensembles: Registry) -> None:
    assert ensembles.suiting(PALE, "owner/unused") == "owner/unused"


def test_no_weights_are_read_to_choose_an_ensemble(ensembles: Registry, tmp_path: Path) -> None:
    for weights in tmp_path.rglob("*.safetensors"):
        weights.unlink()
    assert ensembles.suiting(PALE, "kvasir") == "films"


def write_grey(path: Path) -> UploadedFile:
    PIL.Image.new("L", (32, 32), 128).save(path)
    return UploadedFile(path, path.name)


def test_a_grey_image_takes_the_ensemble_for_grey_ones_and_says_why(ensembles: Registry, tmp_path: Path) -> None:
    session = Session()
    name, *_, notes, mixed, number = handlers.open_files(session, "kvasir", [write_grey(tmp_path / "grey.png")])
    assert (name, mixed["name"], number) == ("films", "films", 1)
    assert "The ensemble films was chosen: it was trained on chest films. Others are in the list." in notes
    assert session.view_state.ensemble is ensembles.get("films")


def test_a_choice_by_hand_lasts_until_another_suits_the_next_image_better(ensembles: Registry, tmp_path: Path) -> None:
    session = Session()
    grey = write_grey(tmp_path / "grey.png")
    handlers.open_files(session, "films", [grey])
    handlers.pick_ensemble(session, "heads")
    name, *_ = handlers.open_files(session, "heads", [grey])
    assert name == "heads"
    handlers.pick_ensemble(session, "skin")
    name, *_ = handlers.open_files(session, "skin", [grey])
    assert name == "films"


def test_the_page_opens_on_the_first_ensemble_with_an_example_that_it_suits(ensembles: Registry) -> None:
    session = Session()
    name, *_ = handlers.show_first(session, "films", "")
    assert name == "films"
    assert session.view_state.path.name == "chest-1.png"
