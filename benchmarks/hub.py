"""What a start costs when the Hub has a bad day: `python benchmarks/hub.py`, ten minutes, most of them the peer's.

The embedded polyp ensemble lies on a Hub on loopback, which breaks every request in one of twelve ways (and once only
the downloads of weights), while the cache is cold, warm, or warm with one damaged file. Each start is a process of its
own; its seconds are those of the call, without imports. Peer: the Hub client's own hf_hub_download of the same files.
`same` are the pushed bytes, `left out` misses a member that is named so later, `WRONG` are other bytes. At the end the
requests of a push, a first and a second start.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.needs import parser
from tests.hub_server import Hub

MODES = ["refused", "hang", "drip", "trickle", "cut", "vanish", "alter", "short", "long", 404, 429, 503]
STATES = ["cold", "cold, in weights", "warm", "damaged cache"]
ENSEMBLE = ROOT / "assets" / "ensembles" / "polyp"
REPO = "tester/polyp"
NOT_FETCHED = ("scores.json", "golden.json", "golden.png")
LIMIT_S = 25
PATHS = [path for path in ENSEMBLE.rglob("*") if path.is_file() and path.name not in NOT_FETCHED]
FILES = {str(path.relative_to(ENSEMBLE)): path.read_bytes() for path in sorted(PATHS)}
CALLS = {
    "medseg": f"from medseg.hub.fetch import fetch; call = lambda: fetch({REPO!r})",
    "client": "from huggingface_hub import hf_hub_download; from pathlib import Path; "
    f"call = lambda: Path([hf_hub_download({REPO!r}, name) for name in {[*sorted(FILES, key=len)]}][0]).parent",
}
MEASURE = """
import time, warnings; warnings.simplefilter("ignore"); start = time.perf_counter()
try: said = call()
except Exception as error: said = f"refused: {error}".splitlines()[0]
print(f"{time.perf_counter() - start:.2f}|{said}")
"""


def start(who: str, hub: Hub, home: Path) -> tuple[str, str]:
    """Seconds, and the folder or the refusal."""
    environment = os.environ | hub.environment(home) | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    try:
        ran = subprocess.run(
            [sys.executable, "-c", CALLS[who] + MEASURE],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"> {LIMIT_S}", "stopped"
    seconds, _, said = ran.stdout.strip().partition("|")
    return seconds, said


def outcome(said: str) -> str:
    """What the folder holds, against what was pushed; or the refusal as it is."""
    if not Path(said).is_dir():
        return said
    found = {name: (Path(said) / name).read_bytes() for name in FILES if (Path(said) / name).exists()}
    if any(found[name] != FILES[name] for name in found):
        return "WRONG"
    return "same" if len(found) == len(FILES) else "left out"


def measure(who: str, mode: str | int, state: str) -> tuple[str, str]:
    with Hub() as hub, tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        hub.commit(REPO, FILES)
        if not state.startswith("cold"):
            start(who, hub, home)
        if state == "damaged cache":
            blob = next(home.rglob("snapshots/*/*/model.safetensors")).resolve()
            content = blob.read_bytes()
            blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        if mode == "refused":
            hub.stop()
        else:
            hub.break_("GET /lfs/" if state == "cold, in weights" else ".", mode)
        seconds, said = start(who, hub, home)
        return seconds, outcome(said)


def show_round_trip() -> None:
    with Hub() as hub, tempfile.TemporaryDirectory() as folder:
        environment = os.environ | hub.environment(Path(folder))
        push = [sys.executable, "-m", "medseg", "push", str(ENSEMBLE), REPO]
        for name, action in {
            "push": lambda: subprocess.run(push, cwd=ROOT, env=environment, check=True, capture_output=True),
            "first start": lambda: start("medseg", hub, Path(folder)),
            "second start": lambda: start("medseg", hub, Path(folder)),
        }.items():
            hub.log.clear()
            action()
            print(f"\n{name}: {len(hub.log)} requests")
            for method, path, status, token in hub.log:
                print(f"  {method:4} {path.partition('?')[0][:96]:96} {status} {'token' if token else ''}")


def main() -> None:
    parser(__doc__).parse_args()
    worst = {(who, state): 0.0 for who in CALLS for state in STATES}
    for state in STATES:
        print(f"\n{state}\n{'mode':8} {'medseg':>8} s {'client':>8} s  outcomes")
        for mode in MODES:
            found = {who: measure(who, mode, state) for who in CALLS}
            for who, (seconds, _) in found.items():
                worst[who, state] = max(worst[who, state], float(seconds.removeprefix("> ")))
            (ours, said), (theirs, peer) = found["medseg"], found["client"]
            print(f"{mode!s:8} {ours:>8}   {theirs:>8}    {said}  |  client: {peer[:60]}", flush=True)
    print("\nlongest, s: " + "; ".join(f"{who}, {state}: {seconds:.1f}" for (who, state), seconds in worst.items()))
    show_round_trip()


if __name__ == "__main__":
    main()
