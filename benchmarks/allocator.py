"""What training on a CPU gains from memory that is kept: `python benchmarks/allocator.py [THREADS]`.

Steps of the brain U-Net's recipe on noise, in fresh processes in turn: as glibc does by itself, and with
`medseg.training.memory.keep_freed_memory`. Medians over the processes, in seconds a step and MiB at the peak.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [str(ROOT), *sys.path[1:]]  # not this folder: `train` is the package

from benchmarks.needs import TORCH, need, parser, positive

ROUNDS, STEPS = 3, 4
WAYS = ("left alone", "kept")


def steps(way: str, threads: int) -> None:
    """Print the median seconds of a step, after one that warms up, and the highest memory in MiB."""
    import resource

    import torch

    from medseg.training.encoders import make_network
    from medseg.training.loop import _describe, _preprocess
    from medseg.training.losses import make_loss
    from medseg.training.memory import keep_freed_memory
    from medseg.training.recipe import recipe_from_arguments

    if way == "kept":
        keep_freed_memory()
    torch.set_num_threads(threads)
    path = ROOT / "train" / "recipes" / "brain-unet-lite0.toml"
    recipe = recipe_from_arguments(["--recipe", str(path), "--encoder-weights", "none"])
    network = make_network(recipe, _describe(recipe, _preprocess(recipe))).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate)
    loss = make_loss(recipe.loss, recipe.task)
    images = torch.rand(recipe.batch_size, 3, recipe.size, recipe.size).to(memory_format=torch.channels_last)
    masks = torch.rand(recipe.batch_size, 1, recipe.size, recipe.size) > 0.9
    seconds = []
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        loss(network(images), masks).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(statistics.median(seconds[1:]), peak)


def main(threads: int) -> None:
    need(*TORCH)
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            command = [sys.executable, __file__, str(threads), way]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[way].append([float(value) for value in printed.split()])
    medians = {way: [statistics.median(column) for column in zip(*rows, strict=True)] for way, rows in found.items()}
    for way, (seconds, peak) in medians.items():
        print(f"{way:<10}  {seconds:.2f} s a step  {peak:.0f} MiB")
    left, kept = (medians[way][0] for way in WAYS)
    print(f"{threads} threads: {left / kept:.2f} times as fast where memory is kept")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("threads", nargs="?", type=positive, default=2, help="of the CPU; 2 without it")
    options.add_argument("way", nargs="?", choices=WAYS, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.way:
        steps(asked.way, asked.threads)
    else:
        main(asked.threads)
