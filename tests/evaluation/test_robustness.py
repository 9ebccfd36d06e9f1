"""Images damaged in nine ways, and what the ensemble gains there."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from medseg.config import EnsembleConfig, MemberReference
from medseg.evaluation.evaluate import ENSEMBLE, evaluate
from medseg.evaluation.robustness import DAMAGES, NONE, TURN, damaged, robustness
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.report.evaluation_page import page
from medseg.report.evaluation_table import robustness_table
from tests.conftest import PaintedSample, disc, fake_member


def drawn(seed: int, channels: int = 3) -> tuple[Image, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = disc((40, 40), (rng.uniform(15, 25), rng.uniform(15, 25)), 8)
    pixels = np.repeat((0.3 + 0.5 * truth)[..., None], channels, axis=2) + rng.normal(0, 0.01, (40, 40, channels))
    return Image(pixels.clip(0, 1).astype(np.float32)), truth[np.newaxis]


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damage_is_valid_the_same_every_time_and_grows_with_its_strength(kind: str, channels: int) -> None:
    image, truth = drawn(1, channels)
    changes = []
    for strength in DAMAGES[kind][1]:
        worse, moved = damaged(image, truth, kind, strength)
        assert worse.pixels.shape == image.pixels.shape
        assert worse.pixels.dtype == np.float32
        assert 0 <= worse.pixels.min() <= worse.pixels.max() <= 1
        np.testing.assert_array_equal(worse.pixels, damaged(image, truth, kind, strength)[0].pixels)
        np.testing.assert_array_equal(moved, truth) if not kind.startswith(TURN) else None
        changes.append(float(np.abs(worse.pixels - image.pixels).mean()))
    assert changes[-1] >= changes[0]
    assert changes[-1] > 0 or (kind.startswith("colour") and channels == 1), "grey has no colour to change"


def test_a_rotation_turns_the_truth_with_the_image() -> None:
    image, truth = drawn(2)
    turned, moved = damaged(image, truth, f"{TURN} (degrees)", 90)
    np.testing.assert_allclose(turned.pixels, np.rot90(image.pixels), atol=1e-5)
    np.testing.assert_array_equal(moved[0], np.rot90(truth[0]))


def above(level: float) -> Callable[[Image], np.ndarray]:
    return lambda image: (image.pixels[..., :1].transpose(2, 0, 1) > level) * 0.9


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    """One member is lost in bright images, the other is not, and has all the weight."""
    members = [fake_member("dark", above(0.55)), fake_member("bright", above(0.75))]
    weights = zip(members, (0.0, 1.0), strict=True)
    references = tuple(MemberReference(member.config.name, member.sha256, weight) for member, weight in weights)
    return Ensemble(EnsembleConfig("e", "binary", ("blob",), references), members)


def test_scores_and_gain_stand_for_every_strength(ensemble: Ensemble) -> None:
    samples = [PaintedSample(*drawn(seed), f"p{seed}", "test") for seed in range(10)]
    found = robustness(ensemble, samples)
    assert found["kinds"].keys() == {NONE, *DAMAGES}
    clean = found["kinds"][NONE]["0"]
    assert clean["rows"]["dark"]["mean"] == pytest.approx(1)
    assert clean["gain"]["mean"] == pytest.approx(clean["rows"][ENSEMBLE]["mean"] - 1)
    bright = found["kinds"]["brightness (added)"]
    assert [*bright] == ["0.05", "0.1", "0.2", "0.3", "0.4"]
    assert bright["0.3"]["rows"]["dark"]["mean"] < 0.4
    assert bright["0.3"]["rows"][ENSEMBLE]["mean"] > 0.99
    assert 0.2 < bright["0.3"]["gain"]["low"] < bright["0.3"]["gain"]["mean"]
    report = {**evaluate(ensemble, samples, []).report, "robustness": found}
    heading, lines = robustness_table(report)
    assert "gain: ensemble − dark" in heading
    assert len(lines.splitlines()) == 2 + 1 + 45
    html = page(report, [], {})
    assert html.count('class="curve"') == 9
    assert "Rotation (degrees)" in html


def test_no_damaged_image_stays_in_the_cache(ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[str] = []
    monkeypatch.setattr(ensemble, "forget", lambda image: forgotten.append(image.sha256))
    image, truth = drawn(3)
    robustness(ensemble, [PaintedSample(replace(image), truth, "p", "test")])
    assert len(forgotten) == 46
