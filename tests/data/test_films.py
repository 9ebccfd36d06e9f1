"""Synthetic films in SIIM-ACR's layout: what is drawn is what is read back."""

from pathlib import Path

import numpy as np
import pytest

from medseg.data.films import draw_film, write_siim
from medseg.data.samples import load_data

SIZE = (64, 80)


def test_a_seed_draws_the_same_film_each_time() -> None:
    first, again = draw_film(3, SIZE), draw_film(3, SIZE)
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_about_one_film_in_three_shows_a_pneumothorax_in_one_half_of_the_chest() -> None:
    masks = [draw_film(seed, SIZE)[1] for seed in range(60)]
    ill = [mask for mask in masks if mask.any()]
    assert 12 <= len(ill) <= 28
    for mask in ill:
        assert 0.005 < mask.mean() < 0.2
        left, right = mask[:, :35].sum(), mask[:, 45:].sum()
        assert min(left, right) == 0


def test_the_air_is_darker_than_the_same_place_of_the_other_lung() -> None:
    differences = []
    for seed in range(60):
        pixels, mask = draw_film(seed, SIZE)
        if mask.any():
            differences.append(float(pixels[mask].mean()) - float(pixels[mask[:, ::-1]].mean()))
    assert np.mean(differences) < -5


def test_films_are_read_back_as_siim_acr(tmp_path: Path) -> None:
    write_siim(tmp_path / "films", 8, SIZE, seed=10)
    found = load_data(tmp_path / "films")
    assert (found.layout, found.labels, len(found.samples)) == ("siim-acr", ("pneumothorax",), 8)
    for seed, sample in enumerate(found.samples, start=10):
        pixels, mask = draw_film(seed, SIZE)
        image, masks = sample.read(found.labels)
        assert np.array_equal(masks[0], mask)
        darkest, span = int(pixels.min()), int(np.ptp(pixels))  # without a window the reader shows the whole range
        assert image.pixels[..., 0] == pytest.approx((pixels - darkest) / span, abs=1e-6)
