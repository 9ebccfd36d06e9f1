"""How far scores fall when images are damaged: nine kinds, five strengths each, and what the ensemble gains.

Source: Hendrycks and Dietterich, Benchmarking neural network robustness to common corruptions and perturbations, ICLR
2019, whose kinds these are as far as medical images meet them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import PIL.Image
from scipy import ndimage

from medseg.arrays import Masks, Pixels
from medseg.data.manifest import Sample
from medseg.evaluation.evaluate import ENSEMBLE, EQUAL, MEMBER_THRESHOLD
from medseg.evaluation.rows import plain_estimate
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.intervals import difference_interval, mean_interval
from medseg.metrics import dice

Damage = Callable[[Pixels, float, np.random.Generator], np.ndarray]
NONE = "none"
TURN = "rotation"
"""The only kind that moves the truth too."""


def _blur(pixels: Pixels, share: float, rng: np.random.Generator) -> np.ndarray:
    width = share * min(pixels.shape[:2])
    return np.asarray(ndimage.gaussian_filter(pixels, (width, width, 0)))


def _noise(pixels: Pixels, deviation: float, rng: np.random.Generator) -> np.ndarray:
    return pixels + rng.normal(0, deviation, pixels.shape)


def _jpeg(pixels: Pixels, quality: float, rng: np.random.Generator) -> np.ndarray:
    """Each channel of other than grey and colour images by itself."""
    if pixels.shape[2] not in (1, 3):
        return np.concatenate([_jpeg(pixels[..., i : i + 1], quality, rng) for i in range(pixels.shape[2])], axis=-1)
    stream, eight = io.BytesIO(), np.rint(pixels * 255).astype(np.uint8)
    PIL.Image.fromarray(eight[..., 0] if eight.shape[2] == 1 else eight).save(stream, "JPEG", quality=int(quality))
    return np.asarray(PIL.Image.open(stream), np.float32).reshape(pixels.shape) / 255


def _brightness(pixels: Pixels, more: float, rng: np.random.Generator) -> np.ndarray:
    return pixels + more


def _gamma(pixels: Pixels, exponent: float, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(pixels**exponent)


def _cast(pixels: Pixels, share: float, rng: np.random.Generator) -> np.ndarray:
    """More of the first channel, less of the last."""
    return pixels * np.linspace(1 + share, 1 - share, pixels.shape[2])


def _coarse(pixels: Pixels, factor: float, rng: np.random.Generator) -> np.ndarray:
    height, width = pixels.shape[:2]
    small = max(1, round(width / factor)), max(1, round(height / factor))
    planes = (PIL.Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(pixels, -1, 0))
    coarse = (plane.resize(small, PIL.Image.Resampling.BOX) for plane in planes)
    return np.stack([np.asarray(plane.resize((width, height), PIL.Image.Resampling.BILINEAR)) for plane in coarse], -1)


def _occlusion(pixels: Pixels, share: float, rng: np.random.Generator) -> np.ndarray:
    """A black rectangle of the image's shape; the truth stays, hidden or not."""
    sides = [round(length * share**0.5) for length in pixels.shape[:2]]
    top, left = (int(rng.integers(length - side + 1)) for length, side in zip(pixels.shape, sides, strict=False))
    covered = pixels.copy()
    covered[top : top + sides[0], left : left + sides[1]] = 0
    return covered


def _rotation(planes: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """About the centre, black from outside."""
    return np.asarray(ndimage.rotate(planes, degrees, axes=(0, 1), reshape=False, order=1))


DAMAGES: dict[str, tuple[Damage, tuple[float, float, float, float, float]]] = {
    "blur (width in shares of the shorter side)": (_blur, (0.002, 0.005, 0.01, 0.02, 0.04)),
    "noise (standard deviation)": (_noise, (0.02, 0.05, 0.1, 0.15, 0.25)),
    "JPEG (quality)": (_jpeg, (50, 30, 15, 8, 4)),
    "brightness (added)": (_brightness, (0.05, 0.1, 0.2, 0.3, 0.4)),
    "gamma (exponent)": (_gamma, (1.2, 1.5, 2, 2.7, 3.5)),
    "colour cast (first channel up, last down)": (_cast, (0.05, 0.1, 0.2, 0.3, 0.5)),
    "low resolution (factor)": (_coarse, (1.5, 2, 4, 8, 16)),
    "occlusion (share of the image)": (_occlusion, (0.02, 0.05, 0.1, 0.2, 0.3)),
    f"{TURN} (degrees)": (_rotation, (5, 10, 20, 45, 90)),
}
"""Each kind with what its strength means, and the five strengths."""


def damaged(image: Image, truth: Masks, kind: str, strength: float) -> tuple[Image, Masks]:
    """`image` with that damage, the same at every call, and its truth (K, H, W), which moves under rotation alone."""
    damage, _ = DAMAGES[kind]
    rng = np.random.default_rng(int(image.sha256[:8], 16))
    pixels = damage(image.pixels, strength, rng).clip(0, 1).astype(np.float32)
    if kind.startswith(TURN):
        turned = damage(truth.transpose(1, 2, 0).astype(np.float32), strength, rng)
        truth = turned.transpose(2, 0, 1) >= 0.5
    return replace(image, pixels=pixels), truth


PerDamage = dict[str, dict[str, dict[str, float]]]
"""Of one image: {kind: {strength: {row: Dice}}}."""


def robustness(
    ensemble: Ensemble, samples: Sequence[Sample], *, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """`summary` of `under_damage` of every sample."""
    every = []
    for done, sample in enumerate(samples, start=1):
        every.append(under_damage(ensemble, sample))
        progress(done, len(samples))
    return summary(ensemble, every, [sample.case for sample in samples])


def under_damage(ensemble: Ensemble, sample: Sample) -> PerDamage:
    """The mean Dice over labels of every member, equal weights and the ensemble. The kind NONE, of strength "0", is no
    damage. Every network runs 46 times."""
    image, truth = sample.read(ensemble.config.labels)
    result: PerDamage = {}
    for kind, strength, (worse, moved) in _variants(image, truth):
        of = {row: float(dice(masks, moved).mean()) for row, masks in _masks(ensemble, worse)}
        result.setdefault(kind, {})[strength] = of
        ensemble.forget(worse)
    return result


def summary(ensemble: Ensemble, every: Sequence[PerDamage], cases: Sequence[str]) -> dict[str, Any]:
    """{"protocol", "kinds": {kind: {strength: {"rows": {row: estimate}, "gain": estimate}}}, "mean": {kind: the same}}
    over the images of these `cases`, "mean" over the five strengths of a kind.

    `gain` is the ensemble's Dice minus that of the member that was best alone when weights were chosen (where none
    were: of the best here without damage), paired by image.
    """
    single = _best_single(ensemble, [image[NONE]["0"] for image in every])

    def estimates(of: Sequence[dict[str, float]]) -> dict[str, Any]:
        rows = {row: [values[row] for values in of] for row in of[0]}
        means = {row: plain_estimate(mean_interval(values, cases)) for row, values in rows.items()}
        return {
            "rows": means, "gain": plain_estimate(difference_interval(rows[ENSEMBLE], rows[single], cases))
        }  # fmt: skip

    kinds = {
        kind: {strength: estimates([image[kind][strength] for image in every]) for strength in every[0][kind]}
        for kind in every[0]
    }
    means = {kind: estimates([_mean([*image[kind].values()]) for image in every]) for kind in every[0]}
    protocol = f"mean Dice per image and label, n = {len(every)}; gain: {ENSEMBLE} − {single}, paired by image"
    return {"protocol": protocol, "kinds": kinds, "mean": means}


def _mean(strengths: Sequence[dict[str, float]]) -> dict[str, float]:
    return {row: float(np.mean([values[row] for values in strengths])) for row in strengths[0]}


def _variants(image: Image, truth: Masks) -> Iterator[tuple[str, str, tuple[Image, Masks]]]:
    yield NONE, "0", (image, truth)
    for kind, (_, strengths) in DAMAGES.items():
        for strength in strengths:
            yield kind, f"{strength:g}", damaged(image, truth, kind, strength)


def _masks(ensemble: Ensemble, image: Image) -> Iterator[tuple[str, Masks]]:
    prediction = ensemble.predict(image)
    singles = {name: ensemble.solo(index) for index, name in enumerate(ensemble.names)}
    for row, weights in {**singles, EQUAL: (1.0,) * len(singles)}.items():
        yield row, prediction.remix(weights=weights, threshold=MEMBER_THRESHOLD, blend="weighted mean").masks
    yield ENSEMBLE, prediction.masks


def _best_single(ensemble: Ensemble, clean: Sequence[dict[str, float]]) -> str:
    fitted = ensemble.config.fitted
    if fitted is not None and fitted.best_single_member in clean[0]:
        return fitted.best_single_member
    return max(ensemble.names, key=_mean(clean).__getitem__)
