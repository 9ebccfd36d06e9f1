"""Augmentation in named strengths. Image and masks move together; randomness belongs to (seed, epoch, sample)."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import PIL.Image
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from medseg.training.recipe import Augmentation

_BILINEAR = v2.InterpolationMode.BILINEAR


def make_augmentation(strength: Augmentation, channels: int = 3) -> v2.Transform | None:
    """light: flips and small shifts; medium: flips, rotation to 45°, scale 0.8 to 1.25, shear, colour, sometimes blur;
    heavy: any rotation, scale 0.6 to 1.6, bending, stronger colour, often blur, noise or a grey image;
    sequences: for channels that are sequences of MRI: moved as in medium, bent, and each channel brighter or darker,
    harder or softer for itself; now and then one channel stands in for another, as where a sequence was not taken;
    centres: for photographs of other clinics: any rotation, made smaller down to 0.35 or larger up to 1.5, strong
    colour and another white balance, blur, noise, compression as JPEG;
    upright: for films, which all lie one way: rotation to 12°, scale 0.8 to 1.25, brightness and contrast, sometimes
    blur. All others flip to both sides, too.

    Colour is varied where an image can have it, with 1 or 3 channels; other channels are measurements, which keep
    their values but for blur and noise, and for what sequences does to all of them. None for the strength `none`.
    """
    if strength == "none":
        return None
    coloured = channels in (1, 3)
    parts = {
        "light": _light,
        "medium": lambda: _medium(coloured),
        "heavy": lambda: _heavy(coloured),
        "sequences": _sequences,
        "centres": lambda: _centres(coloured),
        "upright": lambda: _upright(coloured),
    }
    flips = [] if strength == "upright" else [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]
    return v2.Compose([*flips, *parts[strength]()])


def _light() -> list[v2.Transform]:
    return [v2.RandomAffine(10, translate=(0.05, 0.05), scale=(0.9, 1.1), interpolation=_BILINEAR)]


def _medium(coloured: bool) -> list[v2.Transform]:
    jitter = v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.03)
    colour = [(jitter, 0.8)] if coloured else []
    return _sometimes((_moved(), 0.8), *colour, (_soft_blur(), 0.15))


def _heavy(coloured: bool) -> list[v2.Transform]:
    moved = v2.RandomAffine(180, translate=(0.2, 0.2), scale=(0.6, 1.6), shear=10, interpolation=_BILINEAR)
    jitter = v2.ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.05)
    colour, grey = ([(jitter, 0.9)], [v2.RandomGrayscale(0.1)]) if coloured else ([], [])
    blur, noise = v2.GaussianBlur(7, sigma=(0.1, 3.0)), v2.GaussianNoise(sigma=0.05)
    return [*_sometimes((moved, 0.9), (_bent(), 0.3), *colour, (blur, 0.3), (noise, 0.3)), *grey]


def _sequences() -> list[v2.Transform]:
    noise = v2.GaussianNoise(sigma=0.03)
    moved = _sometimes((_moved(), 0.9), (_bent(), 0.3))
    return [*moved, VarySequences(), *_sometimes((_soft_blur(), 0.15), (noise, 0.15))]


def _centres(coloured: bool) -> list[v2.Transform]:
    moved = v2.RandomAffine(180, translate=(0.15, 0.15), scale=(0.8, 1.5), shear=8, interpolation=_BILINEAR)
    jitter = v2.ColorJitter(brightness=0.4, contrast=0.5, saturation=0.6, hue=0.05)
    colour = [(jitter, 0.8), (WhiteBalance(), 0.5)] if coloured else []
    blur, noise = v2.GaussianBlur(9, sigma=(0.3, 3.5)), v2.GaussianNoise(sigma=0.04)
    spoiled = [(Compress(), 0.4)] if coloured else []
    return _sometimes((moved, 0.6), (MakeSmaller(), 0.5), *colour, (blur, 0.25), (noise, 0.2), *spoiled)


def _upright(coloured: bool) -> list[v2.Transform]:
    moved = v2.RandomAffine(12, translate=(0.08, 0.08), scale=(0.8, 1.25), shear=4, interpolation=_BILINEAR)
    colour = [(v2.ColorJitter(brightness=0.3, contrast=0.3), 0.8)] if coloured else []
    return _sometimes((moved, 0.9), *colour, (_soft_blur(), 0.15))


def _moved() -> v2.Transform:
    return v2.RandomAffine(45, translate=(0.1, 0.1), scale=(0.8, 1.25), shear=5, interpolation=_BILINEAR)


def _bent() -> v2.Transform:
    return v2.ElasticTransform(alpha=60.0, sigma=6.0, interpolation=_BILINEAR)


def _soft_blur() -> v2.Transform:
    return v2.GaussianBlur(5, sigma=(0.1, 2.0))


class VarySequences(v2.Transform):
    """Images (C, H, W) in [0, 1], each channel with a gamma in 0.6 to 1.6 and a factor in 0.7 to 1.4, drawn evenly in
    their logarithms; with a chance of 0.1 one channel is a copy of another. Masks stay as they are."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        channels = v2.query_chw(flat_inputs)[0]
        gamma, factor = (_log_uniform(low, high, channels) for low, high in ((0.6, 1.6), (0.7, 1.4)))
        order = torch.arange(channels)
        if channels > 1 and torch.rand(()) < 0.1:
            lost, taken = torch.randperm(channels)[:2].tolist()
            order[lost] = taken
        return {"gamma": gamma, "factor": factor, "order": order}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if not isinstance(inpt, tv_tensors.Image):
            return inpt
        varied = inpt[params["order"]].clamp(0, 1) ** params["gamma"] * params["factor"]
        return tv_tensors.wrap(varied.clamp(0, 1), like=inpt)


class MakeSmaller(v2.Transform):
    """The whole image at 0.35 to 0.9 of its size, somewhere on the same grid, so that what is marked becomes small.

    The rest is black, as around an endoscope's view; above half the size, half the time, the image is mirrored there.
    """

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = v2.query_size(flat_inputs)
        scale = float(_log_uniform(0.35, 0.9, 1))
        small = [round(height * scale), round(width * scale)]
        top, left = (int(torch.randint(full - part + 1, ())) for full, part in zip((height, width), small, strict=True))
        around = [left, top, width - small[1] - left, height - small[0] - top]
        mirrored = max(around[0], around[2]) <= small[1] and max(around[1], around[3]) <= small[0]
        mode = "symmetric" if mirrored and torch.rand(()) < 0.5 else "constant"
        return {"size": small, "padding": around, "mode": mode}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        small = _resized(inpt, params["size"])
        return v2.functional.pad(small, params["padding"], padding_mode=params["mode"])


def _resized(tensor: Any, size: list[int]) -> Any:
    """Masks take the nearest pixel's centre, where v2's own resize shifts them by half a pixel."""
    if not isinstance(tensor, tv_tensors.Mask):
        return v2.functional.resize(tensor, size, antialias=True)
    resized = torch.nn.functional.interpolate(tensor.unsqueeze(0).float(), size, mode="nearest-exact")[0]
    return tv_tensors.wrap(resized.to(tensor.dtype), like=tensor)


class WhiteBalance(v2.Transform):
    """Images (C, H, W) in [0, 1], each channel with a gamma and a factor in 0.8 to 1.25; masks stay as they are."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        channels = v2.query_chw(flat_inputs)[0]
        return {"gamma": _log_uniform(0.8, 1.25, channels), "factor": _log_uniform(0.8, 1.25, channels)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if not isinstance(inpt, tv_tensors.Image):
            return inpt
        return tv_tensors.wrap((inpt.clamp(0, 1) ** params["gamma"] * params["factor"]).clamp(0, 1), like=inpt)


class Compress(v2.Transform):
    """Images (1 or 3, H, W) in [0, 1] as JPEG of quality 15 to 80 gives them back; masks stay as they are."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"quality": int(torch.randint(15, 81, ()))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if not isinstance(inpt, tv_tensors.Image):
            return inpt
        file = io.BytesIO()
        v2.functional.to_pil_image(inpt.clamp(0, 1)).save(file, "JPEG", quality=params["quality"])
        with PIL.Image.open(file) as spoiled:
            return tv_tensors.wrap(v2.functional.pil_to_tensor(spoiled).float() / 255, like=inpt)


def _log_uniform(low: float, high: float, channels: int) -> torch.Tensor:
    """`channels` draws (channels, 1, 1), evenly in the logarithm."""
    return low * (high / low) ** torch.rand(channels, 1, 1)


def _sometimes(*chances: tuple[v2.Transform, float]) -> list[v2.Transform]:
    return [v2.RandomApply([transform], p=chance) for transform, chance in chances]


def augment(
    image: torch.Tensor, masks: torch.Tensor, transform: v2.Transform, key: tuple[int, int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """A varied copy of image (C, H, W) in [0, 1] and masks (K, H, W) bool.

    The same `key` (seed, epoch, sample index) gives the same copy in any process and order, so that a resumed run
    continues exactly. torchvision draws from torch's global generator on the CPU: it is seeded here and put back.
    """
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which seeds the GPU's generator too: nothing would put that back
        torch.default_generator.manual_seed(int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1)
        varied, moved = transform(tv_tensors.Image(image), tv_tensors.Mask(masks))
    return varied.as_subclass(torch.Tensor).clamp(0, 1), moved.as_subclass(torch.Tensor)
