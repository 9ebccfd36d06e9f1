"""What members and ensembles keep of their Dice on validation images that are damaged as other clinics' images are.

    python benchmarks/damaged.py assets/ensembles/polyp/polyp-unet-lite0 runs/polyp-unet-lite0-352/member \\
        --data ../shared/data/polyp/kvasir-seg [--images 100] [--blends 3]

The validation split alone is read, so that recipes may be chosen by it: never by a test split. Of each damage the
per-image mean Dice with its 95 % interval over cases is printed, on the image's own grid, then the mean over all; with
--blends also of equal weights of up to so many of the models, at 0.5.
"""

from __future__ import annotations

import argparse
import io
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import PIL.Image
import PIL.ImageFilter

from medseg.data.samples import Sample, load_data, select
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.metrics import dice, mean_interval

Damage = Callable[[PIL.Image.Image], PIL.Image.Image]


def smaller(image: PIL.Image.Image) -> PIL.Image.Image:
    """At 0.4 of its size amid black: what is marked becomes small."""
    size = (round(image.width * 0.4), round(image.height * 0.4))
    place = ((image.width - size[0]) // 2, (image.height - size[1]) // 2)
    ground = PIL.Image.new(image.mode, image.size)
    ground.paste(image.resize(size, PIL.Image.Resampling.BOX), place)
    return ground


def blurred(image: PIL.Image.Image) -> PIL.Image.Image:
    """By a Gaussian of 1/100 of the longer side."""
    return image.filter(PIL.ImageFilter.GaussianBlur(max(image.size) / 100))


def compressed(image: PIL.Image.Image) -> PIL.Image.Image:
    """As JPEG of quality 10."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=10)
    return PIL.Image.open(file)


def scaled(*factors: float) -> Damage:
    """Each channel times its factor."""
    return lambda image: PIL.Image.fromarray(
        np.clip(np.asarray(image, np.float64) * factors, 0, 255).round().astype(np.uint8)
    )


DAMAGES: dict[str, Damage] = {
    "as it is": lambda image: image,
    "smaller": smaller,
    "blurred": blurred,
    "compressed": compressed,
    "dark": scaled(0.5, 0.5, 0.5),
    "other white balance": scaled(0.8, 1.0, 1.25),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("models", nargs="+", type=Path, help="folders of members or ensembles of one label")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=0, help="at most so many, evenly spaced; 0: all")
    parser.add_argument("--blends", type=int, default=1, help="also the equal weights of up to so many of the models")
    options = parser.parse_args()
    samples = select(load_data(options.data).samples, "val")
    samples = samples[:: -(-len(samples) // options.images)] if options.images else samples
    models = {str(path): Ensemble.from_pretrained(path) for path in options.models}
    print(f"{len(samples)} validation images; per-image mean Dice (95 % interval)\n")
    sets = [each for count in range(1, options.blends + 1) for each in itertools.combinations(models, count)]
    all_of: dict[tuple[str, ...], list[list[float]]] = {each: [] for each in sets}
    for name, damage in DAMAGES.items():
        values: dict[tuple[str, ...], list[float]] = {each: [] for each in sets}
        for sample in samples:
            image, truth = sample.read(next(iter(models.values())).config.labels)
            pixels = PIL.Image.fromarray(np.rint(image.pixels * 255).astype(np.uint8))
            if name == "smaller":
                drawn = smaller(PIL.Image.fromarray(truth[0].astype(np.uint8) * 255))
                truth = (np.asarray(drawn) > 127)[np.newaxis]
            damaged = Image(np.asarray(damage(pixels), np.float32) / 255)
            predicted = {model: ensemble.predict(damaged) for model, ensemble in models.items()}
            for each in sets:
                blend = np.mean([predicted[model].probabilities for model in each], axis=0) >= 0.5
                values[each].append(float(dice(predicted[each[0]].masks if len(each) == 1 else blend, truth)[0]))
        for each, dices in values.items():
            all_of[each].append(dices)
            report(name, dices, each, samples)
    for each, of_damages in all_of.items():
        report("mean over all", np.mean(of_damages, axis=0).tolist(), each, samples)


def report(name: str, dices: list[float], models: tuple[str, ...], samples: list[Sample]) -> None:
    mean = mean_interval(dices, [sample.case for sample in samples])
    print(f"{name:20}  {mean.mean:.3f} ({mean.low:.3f} to {mean.high:.3f})  {' + '.join(models)}", flush=True)


if __name__ == "__main__":
    main()
