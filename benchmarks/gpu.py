"""A GPU, in one command of at most ten minutes: `python -m benchmarks.gpu [SECONDS]`. None was at hand so far.

It prints images/s of one embedded network at batch 1 and 64, in float32 and half precision, with the share of the
unit's own rate (a half-precision matrix product in the same run) and of the time in which no kernel runs, and what a
CUDA graph would gain; the ensemble over a folder, file to masks and reports; what half precision changes of Dice; and
training beside a bare loop. Without a GPU it says so, and measures nothing.

`python -m benchmarks.gpu --dice` prints the change of Dice alone, on a CPU too, which rounds to halves as a GPU does.
`--dry` goes through everything on a CPU, with a few images: its figures mean nothing.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import inference
from benchmarks.needs import TORCH, need, parser
from medseg.data.phantoms import write_pairs

if TYPE_CHECKING:
    import torch

    from medseg.inference.ensemble import Ensemble


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much of everything, and of what: the `ensemble` on the `device`, `data` with a test split, a Recipe's
    settings and how many images for `training`."""

    device: str = "cuda"
    seconds: float = 10.0
    ensemble: Path = inference.ENSEMBLE
    data: Path = inference.KVASIR.parent
    batches: tuple[int, ...] = (1, 64)
    square: int = 8192
    images: int = 500
    training: tuple[int, dict[str, Any]] = (1024, {"size": 256, "batch_size": 32, "workers": 4})


DRY = Sizes("cpu", 0.05, data=Path(), batches=(1, 2), square=64, images=3, training=(16, {"size": 64}))


def rate(work: Callable[[], object], sizes: Sizes) -> float:
    """Runs/s of `work` after a warm-up."""
    import torch

    wait = torch.cuda.synchronize if sizes.device == "cuda" else lambda: None
    for turn, seconds in enumerate((sizes.seconds / 5, sizes.seconds)):
        started, runs = time.perf_counter(), 0
        while runs == 0 or time.perf_counter() - started < seconds:
            for _ in range(10 if turn else 1):
                work()
            wait()
            runs += 10 if turn else 1
    return runs / (time.perf_counter() - started)


def idle(work: Callable[[], object]) -> float:
    """The share of the time in which no kernel runs."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    on_gpu = torch.cuda.is_available()
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as events:
        started = time.perf_counter()
        for _ in range(10):
            work()
        if on_gpu:
            torch.cuda.synchronize()
        took = time.perf_counter() - started
    return max(0.0, 1 - sum(event.self_device_time_total for event in events.key_averages()) / 1e6 / took)


def graphed(network: torch.nn.Module, images: torch.Tensor) -> Callable[[], object]:
    """`network` on `images` as a CUDA graph; on a CPU as it is."""
    import torch

    if not images.is_cuda:
        return lambda: network(images)
    graph = torch.cuda.CUDAGraph()
    aside = torch.cuda.Stream()
    with torch.cuda.stream(aside):  # what the first runs set up must not be captured
        for _ in range(3):
            network(images)
    torch.cuda.current_stream().wait_stream(aside)
    with torch.cuda.graph(graph):
        network(images)
    return graph.replay


def one_network(sizes: Sizes) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    opened = with_precision(sizes, half=False).members[0]
    shape = opened.config.preprocess.channels, opened.config.preprocess.height, opened.config.preprocess.width
    square = torch.randn(sizes.square, sizes.square, device=sizes.device, dtype=torch.float16)
    most = 2 * sizes.square**3 * rate(lambda: square @ square, sizes) / 1e12
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            opened.network.module(torch.zeros(1, *shape, device=sizes.device))
        gflop = counter.get_total_flops() / 1e9
        print(f"Half-precision matrix product: {most:.1f} TFLOP/s. The network: {gflop:.2f} GFLOP.\n")
        print("| batch | numbers | images/s | share of the unit's rate | idle |\n|---|---|---|---|---|")
        for half in (False, True):
            network = with_precision(sizes, half=half).members[0].network.module
            for batch in sizes.batches:
                kind, name = (torch.float16, "float16") if half else (torch.float32, "float32")
                images = torch.randn(batch, *shape, device=sizes.device, dtype=kind)
                images = images.to(memory_format=torch.channels_last)
                works = {name: lambda network=network, images=images: network(images)}
                started = time.perf_counter()
                if half:
                    works[f"{name}, CUDA graph"] = graphed(network, images)
                captured = time.perf_counter() - started
                for name, work in works.items():
                    each = batch * rate(work, sizes)
                    share = each * gflop / 1e3 / most
                    print(f"| {batch} | {name} | {each:.0f} | {share:.1%} | {idle(work):.0%} |")
        print(f"\nThe last graph was captured in {captured:.2f} s.")


def with_precision(sizes: Sizes, *, half: bool) -> Ensemble:
    """The ensemble in torch, in half precision or float32."""
    from medseg.inference.ensemble import Ensemble
    from medseg.inference.member import load_network
    from medseg.inference.runtime_torch import TorchNetwork

    opened = Ensemble.from_pretrained(sizes.ensemble, device=sizes.device)
    members = [
        dataclasses.replace(
            member, network=TorchNetwork(load_network(sizes.ensemble / place.source), sizes.device, half=half)
        )
        for member, place in zip(opened.members, opened.config.members, strict=True)
    ]
    return Ensemble(opened.config, members)


def folder(sizes: Sizes) -> None:
    """As `medseg predict` goes through a folder."""
    from medseg.inference.batch import Job, Settings, predict_jobs
    from medseg.inference.ensemble import Ensemble

    opened = Ensemble.from_pretrained(sizes.ensemble, device=sizes.device)
    files = sorted(path for path in (sizes.data / "images").iterdir() if path.is_file())
    jobs = [Job(files[number % len(files)], f"{number:05}") for number in range(sizes.images)]
    with tempfile.TemporaryDirectory() as output:
        started = time.perf_counter()
        failed = predict_jobs(opened, jobs, Path(output), Settings())
        took = time.perf_counter() - started
    done = f"{len(jobs) / took:.1f} images/s, {failed} failed"
    print(f"\nThe ensemble over {len(jobs)} files, to masks and reports: {done}.")


def dice(sizes: Sizes) -> None:
    """Both precisions on the test split."""
    from medseg.data.samples import load_data, select
    from medseg.metrics import confusion

    ensembles = [with_precision(sizes, half=half) for half in (False, True)]
    labels = ensembles[0].config.labels
    scores, largest, moved, pixels = [], 0.0, 0, 0
    for sample in select(load_data(sizes.data).samples, "test")[: sizes.images]:
        image, truth = sample.read(labels)
        both = []
        for ensemble in ensembles:
            both.append(ensemble.predict(image))
            ensemble.forget(image)  # else the second would get what the first computed
        largest = max(largest, float(np.abs(np.subtract(both[0].members, both[1].members, dtype=np.float32)).max()))
        moved += int((both[0].masks != both[1].masks).sum())
        pixels += truth.size
        scores.append([np.mean([confusion(*pair).dice for pair in zip(p.masks, truth, strict=True)]) for p in both])
    full, half = np.mean(scores, axis=0)
    worst = np.abs(np.diff(scores, axis=1)).max()
    print(
        f"\nHalf precision on {sizes.device}, {len(scores)} test images: Dice {half:.5f}, in float32 {full:.5f} "
        f"({half - full:+.5f}; at most {worst:.5f} of one image); {moved} of {pixels} pixels differ, a member's "
        f"probability by {largest:.4f} at most."
    )


def measure(sizes: Sizes, *, only_dice: bool = False) -> None:
    with tempfile.TemporaryDirectory() as drawn:
        if not (sizes.data / "images").is_dir():
            write_pairs(Path(drawn), 10 * min(sizes.images, 20), "endoscopy", (256, 256))
            sizes = dataclasses.replace(sizes, data=Path(drawn))
        if only_dice:
            dice(sizes)
            return
        one_network(sizes)
        folder(sizes)
        dice(sizes)
    images, settings = sizes.training
    print()
    from benchmarks import train

    train.main(images, **settings)


def main(words: list[str]) -> None:
    options = parser(__doc__)
    options.add_argument("seconds", nargs="?", type=float, default=Sizes.seconds, help="for each figure")
    options.add_argument("--dice", action="store_true", help="what half precision changes, and no more; on a CPU too")
    options.add_argument(
        "--dry", action="store_true", help="all of it with a few images on a CPU; figures mean nothing"
    )
    asked = options.parse_args(words)
    need(*TORCH)
    import torch

    gpu = torch.cuda.is_available()
    if not (gpu or asked.dry or asked.dice):
        sys.exit("There is no GPU here: nothing is measured.")
    print(f"{torch.cuda.get_device_name() if gpu and not asked.dry else 'CPU'}, torch {torch.__version__}\n")
    sizes = Sizes("cuda" if gpu else "cpu", asked.seconds, images=500 if gpu else 100)
    measure(DRY if asked.dry else sizes, only_dice=asked.dice)


if __name__ == "__main__":
    main(sys.argv[1:])
