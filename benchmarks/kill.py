"""Kill a small training run at random moments and continue it: `python benchmarks/kill.py [--kills 60] [--workers 2]`.

Each run is a process of its own that gets SIGKILL, inside saves too: it saves after every step. Whenever one comes to
its end, its last weights are compared with those of a run that nobody killed. The claim: all are equal to the bit.
"""

import argparse
import contextlib
import hashlib
import multiprocessing
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.needs import TORCH, need

CONTEXT = multiprocessing.get_context("forkserver")  # it imports torch once; each process still starts afresh
SETTINGS = {
    "labels": ["blob"],
    "architecture": "plainunet",
    "encoder": "none",
    "decoder": {"depth": 3, "width": 8, "dropout": 0.2},
    "size": 64,
    "augmentation": "medium",
    "batch_size": 4,
    "checkpoint_steps": 1,
    "stages": [{"loss": "bce", "epochs": 2}, {"loss": "0.7*bce + 0.3*dice", "epochs": 2, "size": 32}],
}
IMAGES = 40


@dataclass
class Result:
    kills: int = 0
    inside_saves: int = 0
    resumes: int = 0
    finished: int = 0
    equal: int = 0


def run(data: Path, output: Path, workers: int) -> None:
    """The training, in a process of its own; what it prints is in the log beside `output`."""
    os.environ["ACCELERATE_USE_CPU"] = "true"
    import torch

    from medseg.training.loop import train
    from medseg.training.recipe import recipe_from_settings

    # its workers are forked, as under `accelerate launch`: a fork server, which this process would hand on, waits for
    # workers that wait for it, and both outlive the kill
    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(1)
    with output.with_suffix(".log").open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        recipe = recipe_from_settings({**SETTINGS, "data": str(data), "output": str(output), "workers": workers})
        train(recipe)


def measure(folder: Path, *, kills: int, workers: int, seed: int, images: int = IMAGES) -> Result:
    """Kill `kills` times in as many runs as it takes, and finish each of them."""
    from medseg.data.phantoms import write_pairs

    CONTEXT.set_forkserver_preload(["medseg.training.loop", "networkx", "torch.onnx._internal.exporter._core"])
    data, result, moments = folder / "data", Result(), random.Random(seed)  # noqa: S311 # no secret
    write_pairs(data, images, "endoscopy", (64, 64), 0)
    warm = CONTEXT.Process(target=int)  # the server of forks imports torch
    warm.start()
    finish(warm)
    started = time.perf_counter()
    finish(start(data, folder / "whole", workers))
    seconds, wanted = time.perf_counter() - started, last_weights(folder / "whole")
    while result.kills < kills:
        output = folder / f"run-{result.finished}"
        process = start(data, output, workers)
        while result.kills < kills:
            process.join(timeout=moments.uniform(0.1, seconds * 0.7))
            if not process.is_alive():
                break
            process.kill()
            process.join()
            result.kills += 1
            result.inside_saves += bool(list(output.glob("checkpoints/.writing")) + list(output.glob(".member.*")))
            process = start(data, output, workers)
            result.resumes += 1
        finish(process)
        result.finished += 1
        result.equal += last_weights(output) == wanted
    return result


def start(data: Path, output: Path, workers: int) -> BaseProcess:
    process = CONTEXT.Process(target=run, args=(data, output, workers))
    process.start()
    return process


def finish(process: BaseProcess) -> None:
    process.join()
    if process.exitcode:
        raise SystemExit(f"a run ended with status {process.exitcode}")


def last_weights(output: Path) -> str:
    """Hash of the newest checkpoint's weights and of the member's files."""
    from medseg.training import checkpoints

    state = checkpoints.load_newest(output / "checkpoints")
    if state is None:
        raise SystemExit(f"{output} holds no whole checkpoint")
    digest = hashlib.sha256()
    for name, value in sorted(state["network"].items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    for name in ("config.json", "model.safetensors", "member.json"):
        digest.update((output / "member" / name).read_bytes())
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    need(*TORCH)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), kills=options.kills, workers=options.workers, seed=options.seed)
    print(
        f"workers {options.workers}  kills {result.kills}, of them inside a save {result.inside_saves}  "
        f"resumes {result.resumes}  runs finished {result.finished}  equal hashes {result.equal}"
    )


if __name__ == "__main__":
    main()
