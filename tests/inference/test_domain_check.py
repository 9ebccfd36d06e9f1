"""Hints that an image is unlike the training images."""

import numpy as np
import pytest

from medseg.config import Appearance, TrainingData
from medseg.image import Image
from medseg.inference.domain_check import appearance_of, look, warnings_of

REDDISH = Appearance(brightness=(0.2, 0.5), red_green=(0.1, 0.4), yellow_blue=(0.1, 0.4))
COLON = TrainingData(
    "kvasir", "CC-BY-4.0", modalities=("ES",), pictures="colour images of colonoscopy", appearance=REDDISH
)
FILMS = TrainingData(
    "films", "CC-BY-4.0", modalities=("CR", "DX"), appearance=Appearance((0.3, 0.7), (0.0, 0.0), (0.0, 0.0))
)


def coloured(*colour: float, modality: str | None = None) -> Image:
    return Image(np.full((4, 4, len(colour)), colour, np.float32), modality=modality)


TYPICAL = coloured(0.6, 0.3, 0.2)  # brightness 0.37, red − green 0.3, yellow − blue 0.25


def test_the_three_means_by_hand() -> None:
    assert look(coloured(0.5, 0.25, 0.0)) == {"brightness": 0.25, "red_green": 0.25, "yellow_blue": 0.375}


def test_grey_has_no_colour() -> None:
    assert look(coloured(0.5)) == {"brightness": 0.5, "red_green": 0, "yellow_blue": 0}


def test_channels_that_are_no_colours_have_none() -> None:
    assert look(coloured(0.25, 0.5, 0.5, 0.75)) == {"brightness": 0.5, "red_green": 0, "yellow_blue": 0}


def test_a_typical_image_raises_no_doubt() -> None:
    assert warnings_of(TYPICAL, COLON) == []


def test_a_grey_image_among_coloured_ones_has_no_colour() -> None:
    assert warnings_of(coloured(0.4), COLON) == [
        "This image is unlike what the ensemble was trained on (colour images of colonoscopy): it has no colour."
    ]


def test_another_modality_is_named_with_those_known() -> None:
    [sentence] = warnings_of(coloured(0.5, modality="MR"), FILMS)
    assert sentence.endswith("(films): its DICOM modality is MR, not CR or DX.")


def test_a_file_without_modality_is_not_doubted_for_it() -> None:
    assert warnings_of(coloured(0.5), FILMS) == []


def test_an_unusual_brightness_is_given_with_the_usual_range() -> None:
    [sentence] = warnings_of(coloured(0.95), FILMS)
    assert sentence.endswith("its brightness (0.95) lies outside 0.30 to 0.70.")


def test_a_coloured_image_among_grey_ones_is_doubted() -> None:
    [sentence] = warnings_of(coloured(0.8, 0.4, 0.3), FILMS)
    assert (
        "its balance of red and green (0.40) lies outside 0.00 to 0.00, and its balance of yellow and blue" in sentence
    )


@pytest.mark.parametrize(("brightness", "doubted"), [(0.71, 0), (0.73, 1), (0.29, 0), (0.27, 1)])
def test_a_small_step_over_the_range_is_forgiven(brightness: float, doubted: int) -> None:
    assert len(warnings_of(coloured(brightness), FILMS)) == doubted


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_what_has_no_three_channels_has_no_colour(channels: int) -> None:
    pixels = np.broadcast_to(np.arange(channels, dtype=np.float32) / 10, (4, 4, channels))
    assert look(Image(pixels)) == pytest.approx(
        {"brightness": (channels - 1) / 20, "red_green": 0, "yellow_blue": 0}, abs=1e-7
    )


def test_nothing_known_nothing_doubted() -> None:
    assert warnings_of(TYPICAL, TrainingData("x", "MIT")) == []


def test_the_range_leaves_out_the_outermost_half_percent() -> None:
    looks = [{"brightness": i / 1000, "red_green": 0.0, "yellow_blue": 0.0} for i in range(1001)]
    found = appearance_of(looks)
    assert found == Appearance((0.005, 0.995), (0.0, 0.0), (0.0, 0.0))
