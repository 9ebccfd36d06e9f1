"""An ensemble in Python: weights, one model alone, disagreement, an overlay.

python examples/segment.py [IMAGE] [--output OVERLAY.png]
"""

import argparse
from pathlib import Path

import PIL.Image

import medseg
from medseg.overlay import draw_overlay
from medseg.places import shipped

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("image", nargs="?", type=Path, default=shipped("assets/examples/endoscopy-1.png"))
parser.add_argument("--output", type=Path, default=Path("overlay.png"))
options = parser.parse_args()

ensemble = medseg.Ensemble.from_pretrained("polyp")
image = medseg.read_image(options.image)
prediction = ensemble.predict(image)  # the networks run here, once
print(prediction.describe())
print(f"{prediction.masks.sum()} pixels of {', '.join(prediction.labels)}; largest disagreement of the models "
      f"{prediction.disagreement.max():.2f} on a scale of 0 to 1")  # fmt: skip
for index, name in enumerate(ensemble.names):
    alone = prediction.remix(weights=ensemble.solo(index), threshold=0.5)  # no network runs
    print(f"{name} alone: {alone.masks.sum()} pixels")
PIL.Image.fromarray(draw_overlay(image.pixels, prediction.masks)).save(options.output)
print(f"{options.output} written. Research use only, not for diagnosis.")
