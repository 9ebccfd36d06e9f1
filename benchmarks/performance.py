"""docs/performance.md, every figure anew: `python -m benchmarks.performance [SECTION …]`, 15 minutes on quiet cores.

Each section is what its benchmark prints. Sections that are not named keep what they say. The load of the machine
stands in each: figures of one section compare, since what they compare took turns; a busy machine makes all larger.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.needs import TORCH, need, parser

ROOT = Path(__file__).resolve().parents[1]
PAGE, FIGURE = ROOT / "docs" / "performance.md", ROOT / "docs" / "growth.png"
INTRODUCTION = """# Performance

On a CPU a network runs in ONNX Runtime from `graph.onnx` in its member folder, and torch is not imported. The graph
holds no weights: it reads those of model.safetensors, and it is checked before it is opened. A folder of an older
version runs on torch until it gets its graph:

```bash
medseg export --graph my-ensemble
```

A member that is trained here gets one where the extra `train` is installed. All that goes through many images
(`predict`, `evaluate`, `fit`, `calibrate`, the page's batch, Ray's workers) decodes the next images and writes the last
while one is in the networks.

On CUDA torch runs the networks in half precision, in which their weights are stored; the images that are in work at the
same time (32) go through each network as one batch, copies are pinned, and only whole batches are waited for.
Normalisation, logits and all that is made of them stay float32, and a network whose values overflow goes on in float32.
Training copies batches from pinned memory and waits for no step (in bfloat16; in float16 the scaler of PyTorch waits).
No GPU was at hand, so none of this is measured: `python -m benchmarks.gpu` does it in one command, and says what a CUDA
graph would gain, which medseg does not use. What half precision changes of Dice stands under Other commands.

`python -m benchmarks.performance` writes this page but for its last section. Medians, with the smallest and the largest
in brackets. The ensemble is the embedded one for polyps, three members. A load above the number of cores says that
others used the machine: then the ratios tell something, the times do not.
"""
OTHERS = "Other commands"
"""The section that stays as it is."""

SECTIONS = {
    "One image, and a folder": ["benchmarks.inference"],
    "From start to first mask": ["benchmarks.start"],
    "Several visitors": ["benchmarks.visitors"],
    "Growth": ["benchmarks.growth", "docs/growth.png"],
    "Choosing weights": ["benchmarks.fit", "compare"],
    "A slider": ["benchmarks.remix"],
    "Drawing and writing": ["benchmarks.draw"],
}
REMARKS = {
    "One image, and a folder": "Version 0.1.0 (commit d153e84) in the same turns, both with members of 256 pixels, "
    "stands in this page as of commit 189a045.\n",
    "Growth": "![time and memory over members, pixels, images and processes](growth.png)\n",
    "Choosing weights": "The peer tries all weight vectors on pixels in float32; at all thresholds it does our work.\n",
    "A slider": "Bare Gradio is the lower bound: an app that only darkens some rows of the same image.\n",
}
SMALL = {
    "benchmarks.inference": ["1", "30"],
    "benchmarks.start": ["1"],
    "benchmarks.visitors": ["60"],
    "benchmarks.growth": ["1", "10", "100"],
}
"""Fewer rounds, for a machine that others use: `--small`."""
BESIDE = ("benchmarks.inference", "benchmarks.start")
"""What takes another checkout into its turns: `--beside CHECKOUT`."""


def section(name: str, small: bool, other: Path | None) -> str:
    """What the benchmark prints, under its heading, with the command, the date and how long it took."""
    module, *words = SECTIONS[name]
    words = [*words, *(SMALL.get(module, []) if small else [])]
    words += ["--beside", str(other)] if other and module in BESIDE else []
    started = time.perf_counter()
    command = [sys.executable, "-m", module, *words]
    shown = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    took = time.perf_counter() - started
    words = [Path(word).name if word == str(other) else word for word in words]  # no path of this machine on the page
    said = (
        f"`python -m {' '.join([module, *words])}`, {datetime.now(UTC):%Y-%m-%d}, {machine()}, {took / 60:.1f} minutes."
    )
    return f"## {name}\n\n{said}\n\n{REMARKS.get(name, '')}\n{shown.strip()}\n".replace("\n\n\n", "\n\n")


def machine() -> str:
    """The processor, and the versions that figures depend on."""
    model = platform.processor() or platform.machine()
    if (listed := Path("/proc/cpuinfo")).is_file():
        model = re.search(r"model name\s*: (.*)", listed.read_text())[1]  # type: ignore[index]
    packages = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "torch", "gradio"))
    return f"{os.cpu_count()} × {model}, {packages}"


def sections_of(page: str) -> dict[str, str]:
    """The sections that a page has, by name."""
    parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0].removeprefix("## "): part.strip() + "\n" for part in parts}


def main(words: list[str]) -> None:
    """Measure the sections named, or all, and write the page after each."""
    options = parser(__doc__)
    options.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    options.add_argument("--small", action="store_true", help="fewer rounds")
    options.add_argument("--beside", type=Path, metavar="CHECKOUT", help="another version, in the same turns")
    asked = options.parse_args(words)
    need(*TORCH, "playwright", "matplotlib")
    names = asked.sections or list(SECTIONS)
    if unknown := set(names) - SECTIONS.keys():
        sys.exit(f"There is no section {unknown.pop()!r}: wanted some of {', '.join(SECTIONS)}.")
    kept = sections_of(PAGE.read_text(encoding="utf-8"))
    for name in names:
        print(name, file=sys.stderr, flush=True)
        kept[name] = section(name, asked.small, asked.beside)
        texts = [kept[name] for name in (*SECTIONS, OTHERS) if name in kept]
        PAGE.write_text("\n".join([INTRODUCTION, *texts]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
