"""Hints that an image is unlike the training images."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg import schema
from medseg.__main__ import main
from medseg.config import Appearance, TrainingData
from medseg.errors import ConfigError, InputError, MedsegWarning
from medseg.hub.folders import DOMAIN
from medseg.image import Image
from medseg.inference.domain_check import Domain, appearance_of, fit_domain, judge, load_domain, look, sentences
from medseg.inference.ensemble import Ensemble
from medseg.inference.image_features import NUMBER, features
from tests.conftest import disc


def warnings_of(image: Image, training: TrainingData, domain: Domain | None = None) -> list[str]:
    return sentences(judge(image, training, domain), training)


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


# --- by features


def drawn(seed: int, *, colour: bool = False, size: tuple[int, int] = (60, 80)) -> Image:
    """A bright disc on a dark ground, softly noisy; reddish where `colour`."""
    rng = np.random.default_rng(seed)
    mask = disc(size, (rng.uniform(25, 35), rng.uniform(35, 45)), rng.uniform(12, 18))
    grey = 0.2 + 0.5 * mask + rng.normal(0, 0.02, size)
    planes = [grey, grey * 0.6, grey * 0.5] if colour else [grey]
    return Image(np.stack(planes, axis=-1).clip(0, 1).astype(np.float32))


@pytest.fixture(scope="module")
def domain() -> Domain:
    images = [drawn(seed) for seed in range(60)]
    return fit_domain(np.array([features(one) for one in images]), [f"c{n}" for n in range(60)], "discs", "")


def test_features_are_those_of_the_picture_and_not_of_its_size() -> None:
    small = drawn(1)
    large = Image(np.repeat(np.repeat(small.pixels, 16, axis=0), 16, axis=1))
    values = features(small)
    assert values.shape == (NUMBER,)
    assert np.isfinite(values).all()
    np.testing.assert_allclose(features(large), values, atol=0.3)
    grey = Image(np.repeat(small.pixels, 3, axis=2))
    np.testing.assert_allclose(features(grey), values, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_features_of_a_flat_image_are_finite(channels: int) -> None:
    assert np.isfinite(features(Image(np.full((20, 300, channels), 0.5, np.float32)))).all()


def test_colours_layout_and_scale_each_change_the_features() -> None:
    plain = features(drawn(1))
    turned = features(Image(drawn(1).pixels[:, ::-1].copy()))
    assert np.abs(features(drawn(1, colour=True)) - plain).max() > 0.1
    assert np.abs(turned - plain)[20:56].max() > 0.01, "the fields of brightness"


def test_like_images_suit_and_others_do_not(domain: Domain) -> None:
    own = [judge(drawn(seed), COLON, domain).word for seed in range(100, 160)]
    assert own.count("suits") >= 45
    strange = Image(np.random.default_rng(0).random((60, 80, 3)).astype(np.float32))
    assert judge(strange, COLON, domain).word == "none of these"
    [sentence] = warnings_of(strange, COLON, domain)
    assert sentence.startswith("This image is very unlike what the ensemble was trained on (colour images of")
    assert warnings_of(drawn(7), COLON, domain) == []


def test_the_limit_is_what_95_of_100_held_out_images_keep(domain: Domain) -> None:
    distances = domain.distance(np.array([features(drawn(seed)) for seed in range(200, 300)]))
    assert 0.8 <= (distances <= 1).mean() <= 1


def test_another_modality_is_doubtful_though_the_image_looks_alike(domain: Domain) -> None:
    image = dataclasses.replace(drawn(7), modality="MR")
    verdict = judge(image, FILMS, domain)
    assert (verdict.word, verdict.reasons) == ("doubtful", ("its DICOM modality is MR, not CR or DX",))


def test_domain_json_comes_back_as_it_was_and_is_small(domain: Domain, tmp_path: Path) -> None:
    schema.dump(domain, tmp_path / DOMAIN)
    assert load_domain(tmp_path) == domain
    assert (tmp_path / DOMAIN).stat().st_size < 100_000
    assert load_domain(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("change", [{"limit": 0.0}, {"mean": (0.0,)}, {"shape": (1.0,)}, {"format_version": 9}])
def test_a_domain_that_does_not_hold_together_is_refused(domain: Domain, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(domain, **change)


def test_too_few_cases_are_refused() -> None:
    with pytest.raises(InputError, match="20 cases or more, got 2"):
        fit_domain(np.zeros((30, NUMBER)), ["a", "b"] * 15, "few", "")


def test_an_ensemble_goes_by_its_domain_json_and_says_where_it_is_damaged(
    plain_ensemble: Path, domain: Domain, tmp_path: Path
) -> None:
    folder = tmp_path / "e"
    shutil.copytree(plain_ensemble, folder)
    schema.dump(domain, folder / DOMAIN)
    strange = Image(np.random.default_rng(0).random((60, 80, 3)).astype(np.float32))
    ensemble = Ensemble.from_pretrained(folder)
    assert ensemble.verdict(strange).word == "none of these"
    assert "very unlike" in ensemble.domain_warnings(strange)[0]
    (folder / DOMAIN).write_text("{}")
    damaged = Ensemble.from_pretrained(folder)
    with pytest.warns(MedsegWarning, match=r"domain\.json.*goes by the ranges of member\.json"):
        assert damaged.domain is None


def test_calibrate_writes_domain_json_of_training_and_validation_images(
    plain_ensemble: Path, disc_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "e"
    shutil.copytree(plain_ensemble, folder)
    splits = {
        "train": [f"case{n:02d}" for n in range(18)],
        "val": ["case18", "case19"],
        "test": [f"case{n}" for n in range(20, 24)],
    }
    shutil.copytree(disc_pairs, tmp_path / "data")
    (tmp_path / "data" / "splits.json").write_text(json.dumps(splits))
    main(["calibrate", str(folder), str(tmp_path / "data"), "--domain"])
    found = load_domain(folder)
    assert found is not None
    assert (found.n, found.cases) == (20, 20)
    assert "20 images of 20 cases; 95 % of such images suit it" in capsys.readouterr().out
    assert not (folder / "calibration.json").exists()
