"""A GPU, in one command of at most ten minutes: `python -m benchmarks.gpu [SECONDS]`. Not run yet: none was at hand.

Images/s of one embedded network in torch at batch 1 and 64, in float32 and half precision, with the share of the unit's
own rate (a half-precision matrix product in the same run) and how much of the time the unit idles between kernels; then
the whole ensemble as medseg runs it, file to mask. Without a GPU it says so, and measures nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks.inference import IMAGE, members

if TYPE_CHECKING:
    import torch

SIDE = 256


def rate(work: Callable[[], object], images: int, seconds: float) -> float:
    """Images/s of `work`, which takes so many images, after a warm-up."""
    import torch

    for _ in range(5):
        work()
    torch.cuda.synchronize()
    started, runs = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        for _ in range(10):
            work()
        torch.cuda.synchronize()
        runs += 10
    return runs * images / (time.perf_counter() - started)


def idle(work: Callable[[], object]) -> float:
    """The share of the time in which no kernel runs."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    started = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(10):
            work()
        torch.cuda.synchronize()
    busy = sum(event.self_device_time_total for event in seen.key_averages()) / 1e6
    return max(0.0, 1 - busy / (time.perf_counter() - started))


def peak() -> float:
    """TFLOP/s of a matrix product of 8192² halves."""
    import torch

    square = torch.randn(8192, 8192, device="cuda", dtype=torch.float16)
    return 2 * 8192**3 * rate(lambda: square @ square, 1, 2.0) / 1e12


def network() -> torch.nn.Module:
    """The first embedded member, as smp opens it."""
    import segmentation_models_pytorch as smp
    import torch

    made: torch.nn.Module = smp.from_pretrained(str(members()[0][0]))
    return made.eval().cuda().to(memory_format=torch.channels_last)


def inference(seconds: float) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    net, most = network(), peak()
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        net(torch.zeros(1, 3, SIDE, SIDE, device="cuda"))
    gflop = counter.get_total_flops() / 1e9
    print(f"Half-precision matrix product: {most:.0f} TFLOP/s. The network: {gflop:.1f} GFLOP.\n")
    print("| batch | numbers | images/s | share of the unit's rate | idle |\n|---|---|---|---|---|")
    for batch in (1, 64):
        for half in (False, True):
            images = torch.randn(batch, 3, SIDE, SIDE, device="cuda").to(memory_format=torch.channels_last)

            def work(images: torch.Tensor = images, half: bool = half) -> None:
                with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=half):
                    net(images)

            each = rate(work, batch, seconds)
            share = each * gflop / 1e3 / most
            print(f"| {batch} | {'float16' if half else 'float32'} | {each:.0f} | {share:.1%} | {idle(work):.0%} |")


def ensemble(seconds: float) -> None:
    """File to masks, as `predict` goes through a folder but for writing."""
    import medseg
    from medseg.inference.pipeline import mapped

    opened = medseg.Ensemble.from_pretrained("polyp", device="cuda")

    def masks(_: int) -> Any:
        prediction = opened.predict(medseg.read_image(IMAGE))
        opened.forget(prediction.image)
        return prediction.masks

    started, done = time.perf_counter(), 0
    for _ in mapped(masks, range(10**6)):
        done += 1
        if time.perf_counter() - started > seconds:
            break
    print(f"\nThe ensemble of three, file to masks: {done / (time.perf_counter() - started):.1f} images/s.")


def main(seconds: float = 15) -> None:
    import torch

    if not torch.cuda.is_available():
        sys.exit("There is no GPU here: nothing is measured.")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    inference(seconds)
    ensemble(seconds)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
