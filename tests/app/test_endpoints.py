"""What programs and agents may ask of the running page, and what they may not."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import PIL.Image
import pytest

import medseg
from medseg.errors import InputError
from medseg.hub.space import space_files
from medseg.inference.record import NOTICE
from tests.conftest import ROOT, write_disc_pair
from tests.running_app import running_app

pytest.importorskip("gradio")

from medseg.app.server import endpoints
from medseg.app.server.settings import LOOPBACK, Settings, read_settings
from medseg.app.state import registry
from medseg.app.state.registry import Registry
from medseg.app.state.results import Results
from medseg.app.state.session import Session
from medseg.app.state.view_state import ViewState

if TYPE_CHECKING:
    from gradio_client import Client

NAMES = ["ensembles", "remix", "score", "segment"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An image of 64 × 48 pixels and its true mask."""
    folder = tmp_path_factory.mktemp("pair")
    write_disc_pair(folder, "disc", 5)
    return folder / "images" / "disc.png", folder / "masks" / "disc.png"


@pytest.fixture(scope="module")
def url(tiny_ensemble: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page, started from nothing but what a Space copies, and open to agents too."""
    root = tmp_path_factory.mktemp("space")
    for name, path in space_files(ROOT).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / name)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MEDSEG_MCP", "1")
        with running_app(tiny_ensemble, root=root) as address:
            yield address


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    from gradio_client import Client

    connected = Client(url, verbose=False)
    yield connected
    connected.close()


def segmented(client: Client, image: Path) -> tuple[str, Any, str, dict[str, Any]]:
    from gradio_client import handle_file

    return tuple(client.predict(handle_file(image), api_name="/segment"))


# --- programs


def test_the_endpoints_are_named_typed_and_explained(url: str) -> None:
    offered = httpx.get(f"{url}/gradio_api/info", timeout=60).json()["named_endpoints"]
    assert sorted(offered) == [f"/{name}" for name in NAMES]
    for endpoint in offered.values():
        assert endpoint["description"]
        assert all(parameter["python_type"]["type"] for parameter in endpoint["parameters"])
    defaults = {given["parameter_name"]: given["parameter_default"] for given in offered["/remix"]["parameters"]}
    assert (defaults["threshold"], defaults["blend"], defaults["opacity"]) == (0.5, "weighted mean", 0.3)


def test_an_image_is_segmented_remixed_and_scored_by_its_result(client: Client, pair: tuple[Path, Path]) -> None:
    from gradio_client import handle_file

    assert client.predict(api_name="/ensembles")[0]["members"] == ["m0", "m1"]
    result, _, mask, report = segmented(client, pair[0])
    assert report["notice"] == NOTICE
    with PIL.Image.open(mask) as stored:
        assert int(np.asarray(stored).astype(bool).sum()) == report["areas"]["blob"]["px"]
    *_, remixed = client.predict(result, [0, 1], 0.4, api_name="/remix")
    assert [member["weight"] for member in remixed["members"]] == [0, 1]
    assert remixed["image"]["sha256"] == report["image"]["sha256"]
    rows = client.predict(result, handle_file(pair[1]), api_name="/score")
    assert [row["mask"] for row in rows] == ["Ensemble", "random-0", "random-1"]


@pytest.mark.parametrize(
    ("example", "name", "answers"),
    [
        ("endoscopy-1", "", "polyp"),
        ("brain-1", "", "brain"),
        ("chest-1", None, "chest"),
        ("brain-1", "polyp", "polyp"),
    ],
)
def test_without_a_name_the_ensemble_that_suits_the_image_answers(
    monkeypatch: pytest.MonkeyPatch, example: str, name: str | None, answers: str
) -> None:
    families = [ROOT / "assets" / "ensembles" / family for family in ("polyp", "brain", "chest")]
    monkeypatch.setattr(registry, "ensembles", Registry(families))
    *_, report = endpoints.segment(str(ROOT / "assets" / "examples" / f"{example}.png"), name)
    assert report["ensemble"] == answers
    verdict = "none of these" if name == "polyp" else "doubtful" if example == "chest-1" else "suits"
    assert report["domain"]["verdict"] == verdict
    assert (report["trust"] is None) == (verdict != "suits")


def test_a_result_is_open_to_every_session_that_knows_it_and_to_no_guess(
    client: Client, url: str, pair: tuple[Path, Path]
) -> None:
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    first, *_ = segmented(client, pair[0])
    second, *_ = segmented(client, pair[0])
    assert first != second
    assert len(base64.urlsafe_b64decode(f"{first}==")) == 16  # 128 bits
    other = Client(url, verbose=False)
    assert other.predict(first, [1, 1], api_name="/remix")[2]["ensemble"] == "tiny-binary"
    with pytest.raises(AppError, match="no result of that identifier"):
        other.predict(first[:-1], [1, 1], api_name="/remix")
    other.close()


def test_a_score_is_of_one_state_though_somebody_remixes_meanwhile(
    pair: tuple[Path, Path], plain_ensemble: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, add_truth = Session(), Session.add_truth
    session.open(pair[0], medseg.Ensemble.from_pretrained(plain_ensemble))
    expected = session.scores.rows(session.add_truth(pair[1], ""))

    def then_remixed(self: Session, path: str | Path, source: str) -> ViewState:
        state = add_truth(self, path, source)
        self.remix([0, 1], 0.99, 0.3)
        return state

    monkeypatch.setattr(Session, "add_truth", then_remixed)
    rows = endpoints.score(endpoints.results.keep(session), str(pair[1]))
    assert [row["dice"] for row in rows] == [row["dice"] for row in expected]


def test_a_refusal_reaches_the_program_as_its_sentence(client: Client, pair: tuple[Path, Path]) -> None:
    from gradio_client.exceptions import AppError

    result, *_ = segmented(client, pair[0])
    with pytest.raises(AppError, match="raise at least one"):
        client.predict(result, [0, 0], api_name="/remix")
    for given in (str(pair[0]), None):
        with pytest.raises(AppError, match="A file has to be uploaded first"):
            client.predict(given, api_name="/segment")
    with pytest.raises(AppError, match="A file has to be uploaded first"):
        client.predict(result, None, api_name="/score")


def test_a_report_tells_nothing_of_the_files_name(client: Client, pair: tuple[Path, Path], tmp_path: Path) -> None:
    named = tmp_path / "DOE_JOHN_1950.png"
    named.write_bytes(pair[0].read_bytes())
    assert "DOE" not in json.dumps(segmented(client, named)[3])


@pytest.mark.parametrize("link", ["http://example.com/a.png", "http://127.0.0.1:1/a.png", "https://[::1]/a.png"])
def test_a_link_is_refused_and_not_fetched(client: Client, link: str) -> None:
    from gradio_client.exceptions import AppError

    given = {"path": link, "url": link, "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(AppError, match="Links are not fetched here"):
        client.predict(given, api_name="/segment")


def test_a_path_that_the_client_uploads_is_refused_by_its_content(client: Client) -> None:
    """A path in a request of its own is refused in test_server.py: this client sends the file."""
    from gradio_client.exceptions import AppError

    given = {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(AppError, match="content is none of"):
        client.predict(given, api_name="/segment")


# --- agents


def asked_by_an_agent(url: str, steps: Any) -> Any:
    """What `steps(session)` returns, with a session of the real MCP client."""
    pytest.importorskip("mcp")
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def talk() -> Any:
        async with (
            streamablehttp_client(f"{url}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await steps(session)

    return asyncio.run(asyncio.wait_for(talk(), 240))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_agent_is_offered_the_endpoints_as_tools_with_their_explanations(url: str) -> None:
    async def steps(session: Any) -> Any:
        return (await session.list_tools()).tools

    tools = {tool.name: tool for tool in asked_by_an_agent(url, steps)}
    assert sorted(tools) == NAMES
    assert "Research use only" in tools["segment"].description
    assert "or a list of one per label for each." in tools["remix"].inputSchema["properties"]["weights"]["description"]
    assert tools["score"].inputSchema["properties"].keys() == {"result", "truth"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_agent_segments_an_image_and_remixes_it(url: str, pair: tuple[Path, Path], tiny_ensemble: Path) -> None:
    data = "data:image/png;base64," + base64.b64encode(pair[0].read_bytes()).decode()

    async def steps(session: Any) -> Any:
        answer = await session.call_tool("segment", {"image": data})
        result = json.loads(answer.content[0].text)["result"]
        again = await session.call_tool("remix", {"result": result, "weights": [0, 1]})
        refused = [
            await session.call_tool("segment", {"image": image})
            for image in ("http://127.0.0.1:1/a.png", "/etc/hostname")
        ]
        return answer, again, refused

    answer, again, refused = asked_by_an_agent(url, steps)
    expected = medseg.Ensemble.from_pretrained(tiny_ensemble).predict(medseg.read_image(pair[0]))
    text = json.loads(answer.content[0].text)
    assert text["report"]["masks_sha256"] == expected.report()["masks_sha256"]
    assert [text["overlay"], text["mask"]] == ["image 1 of this answer", "image 2 of this answer"]
    with PIL.Image.open(io.BytesIO(base64.b64decode(answer.content[2].data))) as mask:
        assert np.array_equal(np.asarray(mask) > 0, expected.masks[0])
    assert re.search(r"(/tmp|/home|/root|file=)", answer.content[0].text) is None
    solo = json.loads(again.content[0].text)
    assert solo["report"]["masks_sha256"] == expected.remix(weights=[0, 1], threshold=0.5).report()["masks_sha256"]
    assert [each.isError for each in refused] == [True, True]
    assert "Links are not fetched here" in refused[0].content[0].text
    assert "A file has to be uploaded first, or sent as data:" in refused[1].content[0].text


# --- how results are kept


def test_a_result_goes_some_time_after_its_last_use() -> None:
    clock = [0.0]
    results = Results(ttl_s=60, now=lambda: clock[0])
    kept = results.keep(Session())
    clock[0] = 59
    results.get(kept)
    clock[0] = 118
    results.get(kept)
    clock[0] = 178
    with pytest.raises(InputError, match="deleted 1 minutes after its last use"):
        results.get(kept)


def test_a_sweep_drops_results_that_nobody_asks_for() -> None:
    clock = [0.0]
    results = Results(ttl_s=60, now=lambda: clock[0])
    results.keep(Session())
    clock[0] = 60
    results.sweep()
    assert len(results) == 0


# --- what the owner sets


def test_the_owner_sets_logins_queue_and_workers_by_the_environment() -> None:
    given = {"MEDSEG_LOGIN": "ann:a:b bob:c", "MEDSEG_QUEUE": "5", "MEDSEG_WORKERS": "2"}
    assert read_settings(given) == Settings((("ann", "a:b"), ("bob", "c")), 5, 2, mcp=False, hosts=LOOPBACK)
    assert read_settings({"MEDSEG_MCP": "1"}).mcp
    assert read_settings({}) == Settings((), 64, 8, mcp=False, hosts=LOOPBACK)


def test_agents_do_not_pass_by_the_login() -> None:
    with pytest.raises(InputError, match="MEDSEG_MCP=1 knows no login"):
        read_settings({"MEDSEG_MCP": "1", "MEDSEG_LOGIN": "ann:secret"})


PUBLIC = [{"GRADIO_SERVER_NAME": "0.0.0.0"}, {"GRADIO_SHARE": "true"}, {"SPACE_ID": "a/b"}]  # noqa: S104


@pytest.mark.parametrize("public", PUBLIC)
def test_a_public_page_opens_the_archive_to_those_alone_whom_somebody_lets_in(public: dict[str, str]) -> None:
    archive = {"MEDSEG_DICOMWEB": "https://pacs.example/dicom-web"}
    with pytest.raises(InputError, match="Set MEDSEG_LOGIN, or MEDSEG_DICOMWEB_OPEN=1 where a proxy"):
        read_settings({**archive, **public})
    for watched in ({"MEDSEG_LOGIN": "ann:secret"}, {"MEDSEG_DICOMWEB_OPEN": "1"}):
        assert read_settings({**archive, **public, **watched}).archive
    assert read_settings(archive).archive


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MEDSEG_QUEUE", "0"),
        ("MEDSEG_WORKERS", "many"),
        ("MEDSEG_LOGIN", "secret"),
        ("MEDSEG_LOGIN", ":secret"),
        ("MEDSEG_UPLOAD_MINUTES", "-5"),
        ("MEDSEG_UPLOAD_MINUTES", "nan"),
        ("MEDSEG_UPLOAD_MB", "lots"),
        ("MEDSEG_OPEN_MB", "0"),
        ("GRADIO_SERVER_PORT", "http"),
        ("MEDSEG_LOGIN", "ann:secret ann:secret2"),
        ("MEDSEG_METRICS", "true"),
        ("MEDSEG_ALLOW_HUB", "yes"),
        ("MEDSEG_HOSTS", "https://seg.example.org"),
        ("MEDSEG_HOSTS", "seg.example.org:8080"),
        ("MEDSEG_HOSTS", "::1"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_repeating_a_password(name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"{name} wants") as refused:
        read_settings({name: value})
    assert "secret" not in str(refused.value)


def test_a_slip_opens_the_page_to_nobody() -> None:
    for slip in ({"MEDSEG_LOGINS": "ann:secret"}, {"MEDSEG_HOST": "a.example"}, {"MEDSEG_LOGIN": " "}):
        with pytest.raises(InputError, match=r"Is MEDSEG_.* meant|MEDSEG_LOGIN is empty"):
            read_settings(slip)
    injected = {
        "MEDSEG_PORT": "tcp://10.0.0.1:80",
        "MEDSEG_SERVICE_HOST": "10.0.0.1",
        "MEDSEG_CACHE": "1",
    }  # Kubernetes'
    assert read_settings(injected) == read_settings({})
    assert read_settings({"MEDSEG_HOSTS": "seg.example.org *.hf.space [::1]"}).hosts[:2] == (
        "seg.example.org",
        "*.hf.space",
    )
