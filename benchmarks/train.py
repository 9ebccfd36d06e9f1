"""What the training loop costs over a bare PyTorch loop: `python benchmarks/train.py`.

The same network, data, loss and optimiser in one process; one epoch each in turn, medians in images per second.
The claim: our loop reaches 95 % of the bare one. `benchmarks/gpu.py` asks the same on a GPU.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:] = [str(Path(__file__).resolve().parent.parent), *sys.path[1:]]  # not this folder: `train` is the package

from benchmarks.needs import TORCH, need, parser

if __name__ == "__main__":
    parser(__doc__).parse_args()  # before torch, which takes seconds
need(*TORCH)

import torch

from medseg.data.phantoms import write_pairs
from medseg.training import loop
from medseg.training.data import Pairs, read_recipe_samples, training_loader
from medseg.training.encoders import make_network
from medseg.training.losses import make_loss
from medseg.training.recipe import Recipe
from medseg.training.state import Run

IMAGES, ROUNDS = 96, 5


def ours(recipe: Recipe, pairs: Pairs, member: object) -> Callable[[], object]:
    """One epoch of the project's loop."""
    accelerator = loop._accelerator(recipe)
    network = make_network(recipe, member).to(memory_format=torch.channels_last)
    run = Run(accelerator, recipe, accelerator.prepare(network), key="")
    course = loop._begin_stage(run, recipe.filled_stages()[0], pairs, make_loss(recipe.loss, recipe.task))

    def epoch() -> None:
        loop._train_epoch(run, course)
        run.losses.clear()
        run.position.end_epoch(0.0)

    return epoch


def bare(recipe: Recipe, pairs: Pairs, member: object) -> Callable[[], object]:
    """One epoch as a tutorial writes it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = make_network(recipe, member).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    loss = make_loss(recipe.loss, recipe.task)
    loader = training_loader(recipe, pairs)
    kind = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[loop._precision()]

    def epoch() -> None:
        network.train()
        for images, masks in loader:
            with torch.autocast(device.type, kind, enabled=kind != torch.float32):
                logits = network(images.to(device, memory_format=torch.channels_last))
            value = loss(logits.float(), masks.to(device))
            value.backward()
            optimizer.step()
            optimizer.zero_grad()
        value.item()  # a GPU works on after the last line

    return epoch


def main(images: int = IMAGES, **settings: Any) -> None:
    """Print images per second of both, and their ratio; `settings` are a Recipe's."""
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder) / "data", images, "endoscopy", (128, 128), 0)
        recipe = Recipe(data=str(Path(folder) / "data"), output=folder, epochs=1000, **settings)
        preprocess = loop._preprocess(recipe)
        pairs = Pairs(loop.select(read_recipe_samples(recipe), "train"), recipe.labels, preprocess)
    member = loop._describe(recipe, preprocess)
    epochs = {"bare": bare(recipe, pairs, member), "ours": ours(recipe, pairs, member)}
    speeds: dict[str, list[float]] = {name: [] for name in epochs}
    for number in range(ROUNDS + 1):
        for name, epoch in epochs.items():
            started = time.perf_counter()
            epoch()
            if number:  # the first warms up
                speeds[name].append(len(pairs) / (time.perf_counter() - started))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    print(f"{len(pairs)} images of {recipe.size} × {recipe.size}, {recipe.architecture} on {recipe.encoder}")
    ratio = medians["ours"] / medians["bare"]
    print(f"bare {medians['bare']:.1f}  ours {medians['ours']:.1f} images/s  ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
