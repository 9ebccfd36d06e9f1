"""CPU seconds of the tests, with all processes that they start: `python -m benchmarks.suite [ARGUMENTS OF PYTEST]`.

Prints the sum of each folder, of the twenty longest files and of the twenty longest tests. Unlike `--durations` this
says the same on a busy machine, and counts what runs side by side.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.needs import need, parser

need("pytest")

import pytest

ROOT = Path(__file__).resolve().parents[1]
TICKS = os.sysconf("SC_CLK_TCK")
FILE = "MEDSEG_CPU_SECONDS"
"""The variable that names the file to which the processes of pytest write."""


def spent() -> float:
    """CPU seconds of this process, of its living descendants and of those that they have waited for."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        children.setdefault(int(fields[1]), []).append(int(place.name))
        ticks[int(place.name)] = sum(map(int, fields[11:15]))  # user, system, and both of the children
    waiting, total = [os.getpid()], 0
    while waiting:
        process = waiting.pop()
        total += ticks.get(process, 0)
        waiting += children.get(process, [])
    return total / TICKS


def note(seconds: float, name: str) -> None:
    with Path(os.environ[FILE]).open("a") as stream:
        stream.write(f"{seconds:.2f}\t{name}\n")


def pytest_collection_finish() -> None:
    note(spent(), "collection")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    begin = spent()
    result = yield
    note(max(0.0, spent() - begin), item.nodeid)  # what Chromium's renderers took is gone once they are
    return result


def main() -> None:
    _, words = parser(__doc__).parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {FILE: str(Path(folder) / "seconds")}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "benchmarks.suite", *words]
        status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        if not Path(environment[FILE]).exists():  # pytest has said why
            sys.exit(2)
        lines = [line.split("\t") for line in Path(environment[FILE]).read_text().splitlines()]
    tests, files, folders = Counter[str](), Counter[str](), Counter[str]()
    for seconds, name in lines:
        path = name.partition("::")[0]
        for counter, key in ((tests, name), (files, path), (folders, path.rpartition("/")[0] or path)):
            counter[key] += float(seconds)
    for title, counter, most in (("folder", folders, None), ("file", files, 20), ("test", tests, 20)):
        print(f"\nCPU seconds by {title}, {sum(counter.values()):.0f} in all")
        print("\n".join(f"{seconds:8.1f}  {name}" for name, seconds in counter.most_common(most)))
    sys.exit(status)


if __name__ == "__main__":
    main()
