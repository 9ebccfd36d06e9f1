"""An archive as a Ray Data job: each file exactly once, also where a worker is killed."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from medseg.__main__ import main
from medseg.inference import ray
from tests.conftest import write_disc_pair

FILES = 16


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ray on this machine alone, with two workers; its files are in a folder of a short name, as its sockets need."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray = pytest.importorskip("ray")
    with tempfile.TemporaryDirectory(prefix="r") as folder:
        ray.init(num_cpus=3, num_gpus=0, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
        yield
        ray.shutdown()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for number in range(FILES):
        write_disc_pair(tmp_path / "drawn", f"p{number:02d}", number)
    return tmp_path / "drawn" / "images"


def workers() -> list[int]:
    """The processes of Ray's actors that descend from this one."""
    parents, names = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(entry.name)] = (entry / "cmdline").read_text()
        except OSError:
            continue

    def is_ours(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid == os.getpid():
                return True
        return False

    return [pid for pid, name in names.items() if name.startswith("ray::") and "MapWorker" in name and is_ours(pid)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_killed_worker_loses_and_repeats_no_file(
    cluster: None, archive: Path, plain_ensemble: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "BATCH", 2)
    output, killed = tmp_path / "out", []

    def kill_one() -> None:
        deadline = time.monotonic() + 300
        while not killed and time.monotonic() < deadline:
            if len(list(output.glob("*.png.json"))) >= 2:
                for pid in workers()[:1]:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            time.sleep(0.002)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    main(["predict", str(plain_ensemble), str(archive), "--output", str(output), "--ray"])
    assert killed
    main(["predict", str(plain_ensemble), str(archive), "--output", str(tmp_path / "alone")])
    # killed while it writes, a worker leaves its half file under a hidden name, which nothing takes for a result
    masks = sorted(path.name for path in output.glob("[!.]*.png"))
    assert masks == [f"p{number:02d}.png.png" for number in range(FILES)]
    for name in (*masks, "results.csv"):
        assert (output / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_without_ray_the_command_says_what_to_install(
    archive: Path, plain_ensemble: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit, match=r"pip install 'medseg\[ray\]'"):
        main(["predict", str(plain_ensemble), str(archive), "--output", str(tmp_path / "out"), "--ray"])
