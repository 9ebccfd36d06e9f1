"""Data small enough to travel: `python train/gpu_pack.py DATA PACK [--side 384] [--wheels NAME …]`, then train/gpu.sh.

PACK/data is the data set with images of at most --side pixels, as JPEG of quality 92, and masks as PNG, with its split;
PACK/wheels are the named packages as pip downloads them. Both together should stay below 64 MiB, which is said.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import PIL.Image

from medseg.data.division import with_labels
from medseg.data.layouts.pairs import UNNAMED
from medseg.data.manifest import SPLITS, Sample
from medseg.data.samples import load_data, select
from medseg.data.verify import require_sound
from medseg.ending import ending
from medseg.errors import InputError

LIMIT = 64 * 2**20


def pack(data: Path, label: str, side: int, target: Path) -> None:
    """Write the training and validation images of one label; the test split stays at home."""
    if target.exists():
        raise InputError(f"{target} is there already: delete it, or name another PACK.")
    samples = trainable(data, label)
    places: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name in ("images", "masks"):
        (target / name).mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(samples):
        if sample.split == "test":
            continue
        image, (mask,) = sample.read([label])
        pixels = np.rint(image.pixels * 255).astype(np.uint8)
        small = PIL.Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        small.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
        small.save(target / "images" / f"{number:05d}.jpg", quality=92)
        drawn = PIL.Image.fromarray(mask.astype(np.uint8) * 255).resize(small.size, PIL.Image.Resampling.BOX)
        drawn.point([255 * (level > 127) for level in range(256)]).save(target / "masks" / f"{number:05d}.png")
        places[sample.split].append(f"{number:05d}")
    (target / "splits.json").write_text(json.dumps(places), encoding="utf-8")


def trainable(data: Path, label: str) -> list[Sample]:
    """The samples of one label. Raises InputError for what a training refuses, before anything is written."""
    loaded = load_data(data)
    if loaded.labels not in ((), (UNNAMED,)) and label not in loaded.labels:
        raise InputError(f"{data.name} has no label {label}: name one by --label, of {', '.join(loaded.labels)}.")
    samples = with_labels(loaded, [label]).samples
    for split in ("train", "val"):
        select(samples, split)
    for doubt in require_sound(samples, [label]):
        print(f"note: {doubt}", file=sys.stderr)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--label", default="label", help="the one label of the masks")
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--wheels", nargs="*", default=[], help="packages that the other machine lacks")
    options = parser.parse_args()
    with ending():
        pack(options.data, options.label, options.side, options.pack / "data")
    if options.wheels:
        places = ["--no-deps", "--dest", str(options.pack / "wheels")]
        command = [sys.executable, "-m", "pip", "download", "--quiet", *places, *options.wheels]
        subprocess.run(command, check=True)  # noqa: S603 # the user's own words
    size = sum(path.stat().st_size for path in options.pack.rglob("*") if path.is_file())
    advice = "" if size <= LIMIT else ", more than 64: choose a smaller --side"
    print(f"{options.pack} holds {size / 2**20:.1f} MiB{advice}")


if __name__ == "__main__":
    main()
