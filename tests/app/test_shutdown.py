"""The end of the process, beside a launch that has not returned."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

START = """
import time
from medseg.app.server.shutdown import serve_until_stopped
serve_until_stopped(lambda: (print("launching", flush=True), time.sleep(600)), lambda: True)
"""


def test_a_stop_ends_a_process_whose_launch_still_waits(tmp_path: Path) -> None:
    environment = os.environ | {"GRADIO_TEMP_DIR": str(tmp_path / "uploads")}
    command = [sys.executable, "-c", START]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "launching\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


HEARD_ELSEWHERE = """
import signal, threading, time
from medseg.app.server.shutdown import serve_until_stopped
def stop():
    time.sleep(0.5)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
serve_until_stopped(lambda: threading.Thread(target=stop).start(), lambda: True)
"""


def test_a_stop_that_does_not_wake_the_main_thread_is_heard(tmp_path: Path) -> None:
    """The system may hand the signal to any thread, or to the main one just as it falls asleep."""
    environment = os.environ | {"GRADIO_TEMP_DIR": str(tmp_path / "uploads")}
    ended = subprocess.run([sys.executable, "-c", HEARD_ELSEWHERE], env=environment, check=False, timeout=60)
    assert ended.returncode == 0


FAILS = """
import os, signal
from medseg.app.server.shutdown import serve_until_stopped
serve_until_stopped(lambda: os.kill(os.getpid(), signal.SIGTERM), lambda: 1 / 0)
"""


def test_a_stop_ends_the_process_though_something_fails_on_the_way(tmp_path: Path) -> None:
    environment = os.environ | {"GRADIO_TEMP_DIR": str(tmp_path / "uploads")}
    ended = subprocess.run([sys.executable, "-c", FAILS], env=environment, check=False, timeout=60)
    assert ended.returncode == 0


def test_a_page_that_cannot_listen_ends_in_a_sentence(tmp_path: Path) -> None:
    start = (
        "from medseg.app.server.shutdown import serve_until_stopped as serve\ndef launch(): raise OSError('no port')\n"
    )
    environment = os.environ | {"GRADIO_TEMP_DIR": str(tmp_path / "uploads")}
    command = [sys.executable, "-c", f"{start}serve(launch, lambda: True)"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (ended.returncode, ended.stderr[:35]) == (1, "error: The page cannot listen there")


STOPPED = """
import os, runpy, signal, sys, time, types
class Page(types.ModuleType):
    def __getattr__(self, name):
        import medseg.app.server.upload_folder as uploads
        uploads.claim_folder()
        try:
            os.kill(os.getpid(), signal.SIG)
            time.sleep(60)
        except BaseException:  # as many an import of a library
            raise ImportError from None
sys.modules["medseg.app.page"] = Page("medseg.app.page")
runpy.run_path("app.py", run_name="__main__")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_stop_in_mid_start_ends_with_0_and_leaves_no_folder(tmp_path: Path, name: str) -> None:
    environment = os.environ | {"GRADIO_TEMP_DIR": str(tmp_path)}
    command = [sys.executable, "-c", STOPPED.replace("SIG)", f"{name})")]
    stopped = subprocess.run(command, cwd=ROOT, env=environment, check=False, timeout=60)
    assert (stopped.returncode, list(tmp_path.iterdir())) == (0, [])


def test_app_py_says_how_it_is_set_up_and_refuses_other_words() -> None:
    command = [sys.executable, "app.py"]
    ended = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, "Serve the page" in ended.stdout, "MEDSEG_LOGIN" in ended.stdout) == (0, True, True)
    ended = subprocess.run([*command, "--prot"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, "unrecognized arguments: --prot" in ended.stderr) == (2, True)
