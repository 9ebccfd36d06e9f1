"""What the running app promises under faults and load: a real process, asked over real HTTP."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest

import medseg
from medseg.inference.record import masks_sha256
from tests.conftest import ROOT, write_disc_pair
from tests.running_app import Server, running_server

pytest.importorskip("gradio")

from medseg.app.server.attempts import delay_s
from medseg.app.server.guards import LeanState, trust_own_address, without_message
from medseg.app.server.settings import read_settings
from medseg.app.state.openings import FULL, Openings
from medseg.app.state.session import Session

REMIX = ("", [1, 1], 0.5, "weighted mean", 0.3)
CANARY = "Erika_Mustermann_1964"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_disc_pair(folder, "disc", 5)
    return folder / "images" / "disc.png"


@pytest.fixture(scope="module")
def server(plain_ensemble: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """As in the container: the system's temp, the uploads and the working folder all lie apart."""
    apart = {name: str(tmp_path_factory.mktemp(name.lower())) for name in ("TMPDIR", "HOME")}
    working = tmp_path_factory.mktemp("working")
    uploads = tmp_path_factory.mktemp("uploads")
    with running_server(
        plain_ensemble, (str(ROOT / "app.py"),), uploads, working, PYTHONPATH=str(ROOT), MEDSEG_METRICS="1", **apart
    ) as running:
        yield running


@pytest.fixture(scope="module")
def narrow(plain_ensemble: Path) -> Iterator[Server]:
    """One with a login, whose queue has two places."""
    with running_server(plain_ensemble, MEDSEG_LOGIN="ann:secret", MEDSEG_QUEUE="2", MEDSEG_WORKERS="1") as running:
        yield running


def upload(server: Server, path: Path) -> dict[str, Any]:
    answer = httpx.post(f"{server.url}/gradio_api/upload", files={"files": (path.name, path.read_bytes())}, timeout=60)
    assert answer.status_code == 200, answer.text
    return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}


def call(server: Server, name: str, *data: Any) -> tuple[str, Any]:
    """The last event of an endpoint, complete or error, and its data."""
    place = f"{server.url}/gradio_api/call/{name}"
    if name == "remix":
        data = (*data, *REMIX[len(data) :])
    asked = httpx.post(place, json={"data": data}, timeout=120)
    if asked.status_code != 200:
        return str(asked.status_code), asked.json()["detail"]
    answer = httpx.get(f"{place}/{asked.json()['event_id']}", timeout=120).text
    event, data_line = answer.strip().split("\n\n")[-1].split("\n")
    return event.removeprefix("event: "), json.loads(data_line.removeprefix("data: "))


def segment(server: Server, image: Path) -> tuple[str, list[Any]]:
    kind, data = call(server, "segment", upload(server, image), None)
    assert kind == "complete", data
    return str(data[0]), data


def mask_of(server: Server, file: dict[str, Any]) -> np.ndarray:
    import io

    content = httpx.get(f"{server.url}/gradio_api/file={file['path']}", timeout=60)
    assert content.status_code == 200
    with PIL.Image.open(io.BytesIO(content.content)) as stored:
        return np.asarray(stored) > 0


# --- S1, S3: results


def test_a_mask_comes_out_wherever_temp_uploads_and_working_folder_lie(server: Server, image: Path) -> None:
    _, (_, overlay, mask, report) = segment(server, image)
    assert mask_of(server, mask).sum() == report["areas"]["blob"]["px"]
    assert httpx.get(f"{server.url}/gradio_api/file={overlay['path']}", timeout=60).status_code == 200


def test_remixes_of_one_result_at_once_each_answer_with_their_own_mask(
    server: Server, image: Path, plain_ensemble: Path
) -> None:
    result, _ = segment(server, image)
    prediction = medseg.Ensemble.from_pretrained(plain_ensemble).predict(medseg.read_image(image))
    wanted = [(weight / 16, 0.45 + number * 0.004) for number, weight in enumerate(range(1, 17))]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda way: call(server, "remix", result, [way[0], 1 - way[0] + 0.01], way[1]), wanted))
    for (weight, threshold), (kind, data) in zip(wanted, answers, strict=True):
        assert kind == "complete"
        expected = prediction.remix(weights=(weight, 1 - weight + 0.01), threshold=threshold)
        assert data[2]["masks_sha256"] == masks_sha256(expected.masks)
        assert np.array_equal(mask_of(server, data[1]), expected.masks[0])


# --- S4: what is open


def test_a_result_of_many_others_is_not_lost(server: Server, image: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = [result for result, _ in pool.map(lambda _: segment(server, image), range(40))]
        kinds = [kind for kind, _ in pool.map(lambda result: call(server, "remix", result, [1, 1]), results[:8])]
    assert kinds == ["complete"] * 8  # of those that were used longest ago


def test_the_longest_unused_image_is_closed_beyond_the_bound_and_says_so(
    image: Path, plain_ensemble: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openings = Openings()  # not this process's: other tests have images open there, which would be closed first
    monkeypatch.setattr("medseg.app.state.session.openings", openings)
    ensemble = medseg.Ensemble.from_pretrained(plain_ensemble)
    sessions = [Session() for _ in range(3)]
    sessions[0].open(image, ensemble)
    size = sessions[0].view_state.nbytes
    monkeypatch.setenv("MEDSEG_OPEN_MB", str((openings.total + 1.5 * size) / 2**20))
    sessions[1].open(image, ensemble)
    _ = sessions[0].view_state
    sessions[2].open(image, ensemble)
    assert not sessions[0].is_empty
    assert not sessions[2].is_empty
    with pytest.raises(medseg.MedsegError, match="was closed to make room"):
        _ = sessions[1].view_state
    assert "open it again" in FULL


@cache
def config_of(url: str) -> dict[str, Any]:
    return dict(httpx.get(f"{url}/config", timeout=60).json())


def page_session(server: Server, name: str, fn: str, *data: Any) -> dict[str, Any]:
    """An event of the page in a session of that name."""
    number = next(entry["id"] for entry in config_of(server.url)["dependencies"] if entry["api_name"] == fn)
    body = {"data": data, "fn_index": number, "session_hash": name}
    answer = httpx.post(f"{server.url}/gradio_api/queue/join", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    with httpx.stream("GET", f"{server.url}/gradio_api/queue/data?session_hash={name}", timeout=120) as stream:
        for line in stream.iter_lines():
            if "process_completed" in line:
                return dict(json.loads(line.removeprefix("data: ")))
    raise AssertionError("the stream ended")


def test_invented_sessions_empty_nobodys_page(server: Server) -> None:
    assert page_session(server, "visitor", "show_first", None, None, "")["success"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: page_session(server, f"invented{number}", "offered_labels", None), range(105)))
    again = page_session(server, "visitor", "offered_labels", None)
    assert "blob" in json.dumps(again["output"]["data"])


def test_a_state_holds_no_copy_of_the_page() -> None:
    config = SimpleNamespace(blocks={1: object()}, config_for_block=lambda *_: pytest.fail("the page was copied"))
    state = LeanState(SimpleNamespace(default_config=config, blocks={1: object()}))
    state._update_config(1)
    state._update_value_in_config(1, "another")
    assert state.config_values == {}


def test_a_start_does_not_end_where_its_own_page_answers_late(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradio import networking

    monkeypatch.setattr(networking, "url_ok", lambda url: False)
    trust_own_address()
    assert (networking.url_ok("http://localhost:1/"), networking.url_ok("https://shared.example/")) == (True, False)


# --- S5, S6: bodies, logs, errors


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(server: Server) -> None:
    place = f"{server.url}/gradio_api/call/remix"
    kind = {"Content-Type": "application/json"}

    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 2**18

    said = httpx.post(place, content=b" " * 10 * 2**20, headers=kind, timeout=60)
    assert (said.status_code, "may have 8 MB" in said.text) == (413, True)
    with socket.create_connection(
        ("127.0.0.1", httpx.URL(server.url).port), 30
    ) as early:  # nothing of what it says it has
        early.sendall(b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000000\r\n\r\n")
        assert early.recv(12) == b"HTTP/1.1 413"
    unsaid = httpx.post(place, content=chunks(), headers=kind, timeout=60)
    assert unsaid.status_code == 413
    for path, form in (
        ("upload", "multipart/form-data"),
        ("call/remix", "multipart/form-data; boundary=edge"),
    ):  # no uploads
        place, kind = f"{server.url}/gradio_api/{path}", {"Content-Type": form}
        assert httpx.post(place, content=chunks(), headers=kind, timeout=60).status_code == 413
    many = json.dumps({"data": [[]] * 250_000})
    refused = httpx.post(f"{server.url}/gradio_api/call/remix", content=many, timeout=60)
    assert (refused.status_code, refused.json()["detail"]) == (413, "A request may have 200,000 values.")


def test_a_name_of_a_session_that_no_page_gives_itself_is_refused(server: Server) -> None:
    body = {"data": [], "session_hash": "x" * 65, "fn_index": 0}
    for path in "queue/join", "run/ensembles":
        assert "may have 64 characters" in httpx.post(f"{server.url}/gradio_api/{path}", json=body, timeout=60).text
    assert httpx.get(f"{server.url}/gradio_api/upload_progress?upload_id={'x' * 3000}", timeout=60).status_code == 414


def test_what_the_page_does_not_use_of_gradio_is_shut_and_no_link_is_followed(server: Server) -> None:
    for path in "component_server", "process_recording", "stream/a", "vibe-edit":
        assert httpx.post(f"{server.url}/gradio_api/{path}", json={}, timeout=60).status_code == 404
    for path in "deep_link?session_hash=a", "custom_component/a/client/b/c", "proxy=https://a.hf.space/", "dev/reload":
        assert httpx.get(f"{server.url}/gradio_api/{path}", timeout=60).status_code == 404
    link = httpx.get(f"{server.url}/gradio_api/file=https://medseg.invalid/a.png", timeout=60)
    assert (link.status_code, link.json()["detail"]) == (403, "Links are not fetched here: send the file itself.")


def test_an_upload_that_is_no_form_of_files_gets_a_sentence(server: Server) -> None:
    no_file = b'--edge\r\nContent-Disposition: form-data; name="files"\r\n\r\nno file\r\n--edge--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    answer = httpx.post(f"{server.url}/gradio_api/upload", content=no_file, headers=kind, timeout=60)
    assert (answer.status_code, answer.text.startswith("The upload is malformed: send")) == (400, True)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (("{result}", None), "weights wants a list with a number for each member"),
        (("{result}", "1, 1"), "weights wants a list"),
        (("{result}", [1, "1"]), "weights wants a list"),
        (("{result}", [1]), "2"),
        (("{result}", [1, 1], "0.5"), "threshold wants a number between 0 and 1"),
        (("{result}", [1, 1], None), "threshold wants a number"),
        (("{result}", [1, 1], 10**400), "threshold wants a number"),
        (("{result}", [1, 1], 0.5, "mode"), "can blend by"),
        (("{result}", [1, 1], 0.5, "median", [0.5]), "opacity wants a number"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused_by_name(
    server: Server, image: Path, data: tuple[Any, ...], sentence: str
) -> None:
    result, _ = segment(server, image)
    kind, answer = call(server, "remix", *(result if value == "{result}" else value for value in data))
    assert kind == "error"
    assert sentence in answer["error"]
    assert "on our side" not in answer["error"]


def test_a_path_and_an_unknown_name_get_a_sentence(server: Server, image: Path) -> None:
    kind, answer = call(server, "segment", {"path": str(image), "meta": {"_type": "gradio.FileData"}}, None)
    assert (kind, answer["error"].startswith("A file has to be uploaded first")) == ("error", True)
    few = httpx.post(f"{server.url}/gradio_api/call/score", json={"data": []}, timeout=60).json()["event_id"]
    assert "wants all of its arguments" in httpx.get(f"{server.url}/gradio_api/call/score/{few}", timeout=60).text
    gone = httpx.get(f"{server.url}/gradio_api/call/score/{few}", timeout=60)
    assert (gone.status_code, gone.json()["detail"][:28]) == (404, "There is no event of that id")
    status, words = call(server, "nosuch")
    assert (status, words) == (
        "404",
        "There is no endpoint of that name; there are /ensembles, /remix, /score, /segment.",
    )


PATHS = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in ("/etc/passwd", "a\0", "a" * 5000, "\ud800")]
NO_FILE, NO_BODY = "A file has to be uploaded first", "The body wants JSON"
MISTAKES = {
    **{("run/segment", json.dumps({"data": [path, None]})): NO_FILE for path in PATHS},
    ("run/segment", '{"data": ["\\ud800", null]}'): NO_FILE,
    ("run/segment", '{"data": [NaN]}'): "The endpoint wants all of its arguments",
    ("run/remix", '{"data": ["a", [NaN], 0.5, "median", 1]}'): "There is no result of that identifier",
    ("run/remix", '{"data": [], "fn_index": 99999}'): "There is no event of that number",
    ("queue/join", '{"data": [], "fn_index": 99999, "session_hash": "a"}'): "There is no event of that number",
    ("call/v2/segment", '{"picture": 1}'): "The endpoint wants its arguments by their names",
    **{
        (path, body): NO_BODY
        for path in ("queue/join", "run/remix", "call/remix", "cancel")
        for body in ("NaN", '{"data": 1e999}', '{"data": "\\ud800"}', '{"\\ud800": 1}', '{"data"', "[]")
    },
}


def test_a_mistake_in_a_request_is_a_sentence_with_400(server: Server) -> None:
    kind = {"Content-Type": "application/json"}
    for (path, body), sentence in MISTAKES.items():
        answer = httpx.post(f"{server.url}/gradio_api/{path}", content=body, headers=kind, timeout=60)
        assert answer.status_code == 400, (path, body)
        assert next(iter(answer.json().values())).startswith(sentence), (path, body)


def test_the_log_holds_no_body_no_name_and_no_path_of_a_visitor(server: Server, tmp_path: Path) -> None:
    named = tmp_path / f"{CANARY}.png"
    named.write_text(f"no image, but {CANARY}")
    call(server, "segment", upload(server, named), CANARY)
    call(server, "segment", {"path": f"/srv/{CANARY}.png", "meta": {"_type": "gradio.FileData"}}, None)
    call(server, "segment", CANARY, {CANARY: CANARY})
    call(server, "score", CANARY, CANARY)
    for body in (f'{{"data": "{CANARY}"', f'{{"data": ["{CANARY}"], "fn_index": "{CANARY}"}}', f'"{CANARY}"'):
        for path in ("queue/join", "call/remix", "run/segment", "component_server"):
            kind = {"Content-Type": "application/json"}
            httpx.post(f"{server.url}/gradio_api/{path}", content=body, headers=kind, timeout=60)
    for path in (f"file=/srv/{CANARY}", f"stream/{CANARY}", f"call/segment/{CANARY}", f"{CANARY}",
                 f"custom_component/{CANARY}/client/{CANARY}/{CANARY}"):  # fmt: skip
        with contextlib.suppress(httpx.RemoteProtocolError):  # a stream that Gradio breaks off
            httpx.get(f"{server.url}/gradio_api/{path}", timeout=60)
    assert CANARY not in server.said()
    assert "Traceback" not in server.said()


@pytest.mark.parametrize("error", [None, ValueError(CANARY)])
def test_what_libraries_log_is_its_place_alone(error: Exception | None) -> None:
    exception = error and (type(error), error, None)
    record = logging.LogRecord(
        "root", logging.WARNING, "/a/session.py", 7, f"Refused {CANARY}: %s", (CANARY,), exception
    )
    said = without_message(record).getMessage()
    assert said == ("root: ValueError at an unknown place" if error else "root: at session.py:7")
    ours = logging.LogRecord("medseg.app", logging.WARNING, "/a/gate.py", 7, "Login refused, %d in a row", (4,), None)
    assert without_message(ours).getMessage() == "Login refused, 4 in a row"


# --- S8: names, headers, logins, settings


def test_the_server_answers_to_its_own_names_alone(server: Server) -> None:
    assert httpx.get(server.url, headers={"Host": "evil.example"}, timeout=60).status_code == 400
    assert httpx.get(server.url, headers={"X-Forwarded-Host": "evil.example"}, timeout=60).status_code == 400
    assert httpx.get(server.url, headers={"Host": "localhost:1"}, timeout=60).status_code == 200
    foreign = {"Origin": "https://evil.example"}
    for origin, status in (foreign, 403), ({"Origin": "null"}, 403), ({"Origin": server.url}, 200):
        place = f"{server.url}/gradio_api/call/ensembles"
        assert httpx.post(place, json={"data": []}, headers=origin, timeout=60).status_code == status
    misled = httpx.get(server.url, headers={"X-Gradio-Server": "http://evil.example"}, timeout=60)
    assert "evil.example" not in misled.text
    assert httpx.get(f"{server.url}/monitoring", timeout=60).status_code == 403
    assert read_settings({"MEDSEG_HOSTS": "seg.example.org *.example.net"}).hosts[:2] == (
        "seg.example.org",
        "*.example.net",
    )
    assert read_settings({"GRADIO_SERVER_NAME": "0.0.0.0"}).hosts == ()  # noqa: S104
    assert read_settings({"SPACE_ID": "owner/name"}).hosts == ()


def test_every_answer_has_its_headers_and_files_are_never_documents(server: Server, image: Path) -> None:
    page = httpx.get(server.url, timeout=60).headers
    assert page["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'self' https://huggingface.co https://*.hf.space" in page["content-security-policy"]
    assert "x-frame-options" not in page  # it knows no list, and would shut a Space out of its frame
    sent = httpx.get(f"{server.url}/gradio_api/file={upload(server, image)['path']}", timeout=60)
    assert sent.headers["content-disposition"].startswith("attachment")
    assert sent.headers["content-security-policy"] == "default-src 'none'; sandbox"


RIGHT = {"username": "ann", "password": "secret"}


def test_nobody_comes_in_without_the_login_and_wrong_passwords_wait_and_are_in_the_log(narrow: Server) -> None:
    from gradio_client import Client

    assert [delay_s(failures) for failures in (0, 2, 3, 4, 5, 50)] == [0, 0, 1, 2, 4, 30]
    for path in ("config", "gradio_api/info"):
        assert httpx.get(f"{narrow.url}/{path}", timeout=60).status_code == 401
    assert "secret" not in httpx.get(narrow.url, timeout=60).text
    welcome = Client(narrow.url, auth=("ann", "secret"), verbose=False)
    assert welcome.predict(api_name="/ensembles")[0]["name"] == "tiny-binary"
    welcome.close()
    for _ in range(3):
        wrong = {"username": "ann", "password": CANARY}
        assert httpx.post(f"{narrow.url}/login", data=wrong, timeout=60).status_code == 400
    assert httpx.post(f"{narrow.url}/login", data=RIGHT, timeout=60).status_code == 200
    assert "3 in a row from 127.0.0.1; the next waits 1 s" in narrow.said()
    assert CANARY not in narrow.said()
    assert httpx.get(f"{narrow.url}/health", timeout=60).json()["status"] == "ok"  # without a login


@pytest.mark.parametrize("name", ["MEDSEG_UPLOAD_MINUTES", "GRADIO_SERVER_PORT"])
def test_a_setting_that_cannot_be_meant_ends_the_start_in_a_sentence(name: str) -> None:
    started = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=os.environ | {name: "-5"}, capture_output=True, text=True, check=False
    )
    assert started.returncode == 1
    assert started.stderr.startswith(f"error: {name} wants ")


# --- health


def test_health_and_metrics_say_how_the_server_is(server: Server, image: Path) -> None:
    segment(server, image)
    health = httpx.get(f"{server.url}/health", timeout=60)
    assert health.status_code == 200
    figures = health.json()
    assert figures["models_loaded"]
    assert figures["open_bytes"] > 0
    assert figures["disk_free_bytes"] > 0
    assert figures["seconds_since_sweep"] < 300
    assert "medseg_open_images" in httpx.get(f"{server.url}/metrics", timeout=60).text


# --- overload


def test_what_the_queue_cannot_take_is_refused_in_our_words(narrow: Server, image: Path) -> None:
    with ThreadPoolExecutor(60) as pool, httpx.Client(timeout=120, limits=httpx.Limits()) as client:
        assert client.post(f"{narrow.url}/login", data=RIGHT).status_code == 200
        sent = client.post(f"{narrow.url}/gradio_api/upload", files={"files": (image.name, image.read_bytes())})
        body = {"data": [{"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}, None]}
        place = f"{narrow.url}/gradio_api/call/segment"
        answers = list(pool.map(lambda _: client.post(place, json=body), range(60)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) > 20
    assert {(answer.status_code, answer.json()["detail"]) for answer in refused} == {
        (503, "The server is busy: all places of its queue are taken. Try again in a minute.")
    }


# --- S7: the end. It stops the shared server, so it is the last test of this file


def test_sigterm_in_mid_segmentation_ends_with_0_and_what_runs_is_answered(
    server: Server, image: Path, tmp_path: Path
) -> None:
    segment(server, image)
    write_disc_pair(tmp_path, "large", 5, size=(480, 640))
    place, file = f"{server.url}/gradio_api/call/segment", upload(server, tmp_path / "images" / "large.png")
    asked = [httpx.post(place, json={"data": [file, None]}, timeout=60).json()["event_id"] for _ in range(4)]
    answers: list[str] = []
    direct: list[int] = []
    connected = threading.Barrier(len(asked) + 1)

    def read(event: str) -> None:
        with httpx.stream("GET", f"{place}/{event}", timeout=60) as answer:
            connected.wait(60)
            answers.append(answer.read().decode())

    def run() -> None:
        body = {"data": [file, None]}
        direct.append(httpx.post(f"{server.url}/gradio_api/run/segment", json=body, timeout=60).status_code)

    reading = [threading.Thread(target=read, args=(event,)) for event in asked] + [threading.Thread(target=run)]
    for thread in reading:
        thread.start()
    connected.wait(60)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    for thread in reading:
        thread.join(60)
    assert ["event: complete" in answer for answer in answers] == [True] * 4
    assert direct == [200]
    assert "Traceback" not in server.said()
