"""Pushing what a run makes: in a child process, so that nothing a push does reaches the training."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from medseg.inference.member import file_sha256
from medseg.places import PACKAGE
from medseg.training.recipe import Recipe

SECONDS_BETWEEN = 900.0
"""A commit an epoch would bury the repository's history; so a lost machine costs the Hub a quarter of an hour."""

LIMIT = 600.0
"""Seconds after which a push is given up."""

WAITS = (0.0, 10.0, 60.0)
"""Seconds before each try at the end of the run."""


class Pusher:
    """Keeps the recipe's Hub repository at the newest state of `folder`, a member or an ensemble.

    A push that fails, hangs or crashes is said and tried again later; the training goes on meanwhile. What was pushed
    is kept in `<output>/pushed.json`, so a run that is continued pushes only what is new.
    """

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.folder = folder
        self.repository = recipe.hub_model_id
        self._private = ["--private"] if recipe.private else []
        self._output = Path(recipe.output).resolve()
        self._child: subprocess.Popen[bytes] | None = None
        self._sending = ""
        self._started = time.monotonic()  # the first epochs' members are not worth a commit

    def offer(self) -> None:
        """Begin to push unless a push runs, the last began a moment ago, or nothing is new. Never waits."""
        if self._is_running() or time.monotonic() - self._started < SECONDS_BETWEEN:
            return
        if self._is_new():
            self._begin()

    def finish(self) -> None:
        """Wait for the running push, then push what is still new, in a few tries."""
        for wait in WAITS:
            while self._is_running():
                time.sleep(0.1)
            if not self._is_new():
                return
            time.sleep(wait)
            self._begin()
        while self._is_running():
            time.sleep(0.1)
        if self._is_new():
            command = f"medseg push {self.folder} {self.repository}"
            sentence = f"Not pushed. Give the same command again, or: {command}"
            print(sentence, file=sys.stderr, flush=True)

    def _begin(self) -> None:
        copy = self._output / ".pushing"  # the run replaces its folder while this one is read
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder, copy)
        self._sending = _description_sha256(copy)
        self._started = time.monotonic()
        command = [sys.executable, "-m", "medseg", "push", str(copy), self.repository, *self._private]
        with (self._output / "push.log").open("w", encoding="utf-8") as log:
            self._child = subprocess.Popen(  # our own program; the repository's name was checked
                command, cwd=PACKAGE.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _is_running(self) -> bool:
        """Whether a push runs; one that has ended is recorded, one over its time is stopped."""
        if self._child is None:
            return False
        if self._child.poll() is None and time.monotonic() - self._started > LIMIT:
            self._child.kill()
            self._child.wait()
        if self._child.poll() is None:
            return True
        lines = (self._output / "push.log").read_text(encoding="utf-8", errors="replace").splitlines()
        self._settle(self._child.returncode, lines[-1] if lines else "no reply in time")
        self._child = None
        return False

    def _settle(self, status: int, last_line: str) -> None:
        shutil.rmtree(self._output / ".pushing", ignore_errors=True)
        if status == 0:
            print(last_line, flush=True)
            pushed = {"repository": self.repository, "sha256": self._sending}
            (self._output / "pushed.json").write_text(json.dumps(pushed) + "\n", encoding="utf-8")
        else:
            sentence = f"The push to {self.repository} failed ({last_line}); it is tried again."
            print(sentence, file=sys.stderr, flush=True)

    def _is_new(self) -> bool:
        """Whether the folder is another than the one pushed last."""
        pushed = self._output / "pushed.json"
        try:
            known = json.loads(pushed.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = None
        wanted = {"repository": self.repository, "sha256": _description_sha256(self.folder)}
        return bool(known != wanted)


def _description_sha256(folder: Path) -> str:
    """The hash that the hashes of all other files hang on."""
    name = "ensemble.json" if (folder / "ensemble.json").exists() else "member.json"
    return file_sha256(folder / name)
