"""The archive for programs and agents: JSON without names and paths, and nothing sent without its sentence."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed (extra archive)")
pytest.importorskip("gradio")

from tests.app.test_endpoints import asked_by_an_agent
from tests.archive.archive_server import Hospital, running_hospital
from tests.dicom_sources import write_source
from tests.running_app import Server, running_server

TOKEN = "canary-token"  # noqa: S105 - a made-up one


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("archive")
    with running_hospital() as service:
        service.add(*write_source("ct-series", folder), *write_source("us-cine", folder))
        yield service


@pytest.fixture(scope="module")
def server(hospital: Hospital, tiny_ensemble: Path) -> Iterator[Server]:
    settings = {"MEDSEG_DICOMWEB": hospital.url, "MEDSEG_DICOMWEB_TOKEN": TOKEN, "MEDSEG_MCP": "1"}
    with running_server(tiny_ensemble, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    from gradio_client import Client

    connected = Client(server.url, verbose=False)
    yield connected
    connected.close()


def segs(hospital: Hospital) -> list[pydicom.Dataset]:
    return [image for image in hospital.images() if image.Modality == "SEG"]


def test_a_program_finds_segments_and_sends_once_with_the_very_sentence(client: Any, hospital: Hospital) -> None:
    from gradio_client.exceptions import AppError

    (study,) = client.predict("Doe^ct", api_name="/archive_studies")
    (series,) = client.predict(study["uid"], api_name="/archive_series")
    assert (series["modality"], len(segs(hospital))) == ("CT", 0)
    answer = client.predict(f"{study['uid']}/{series['uid']}", api_name="/archive_segment")
    assert [list(areas) for areas in answer["areas"]] == [["blob"]] * 3
    assert answer["images"] == "3 images fetched."
    for confirmation in ("", "yes", answer["confirmation"][:-1]):
        with pytest.raises(AppError, match="Nothing is sent without its confirmation"):
            client.predict(answer["result"], confirmation, api_name="/archive_send")
    assert segs(hospital) == []
    sent = client.predict(answer["result"], answer["confirmation"], api_name="/archive_send")
    assert sent == {"said": ["medseg-seg.dcm: stored."], "not_stored": 0}
    assert [seg.NumberOfFrames for seg in segs(hospital)] == [3]
    again = client.predict(answer["result"], answer["confirmation"], api_name="/archive_send")
    assert again["said"] == ["Nothing waits to be sent."]
    with pytest.raises(AppError, match="no result of that identifier"):
        client.predict("guessed", answer["confirmation"], api_name="/archive_send")


def test_what_is_not_there_is_one_sentence(client: Any) -> None:
    from gradio_client.exceptions import AppError

    for place, sentence in (
        ("1.2.3/4", "holds no image here"),
        ("1.2.3", "A study has several series"),
        ("http://evil.example/1", "UIDs and a number|digits and dots"),
    ):
        with pytest.raises(AppError, match=sentence):
            client.predict(place, api_name="/archive_segment")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_agent_gets_json_without_names_and_paths(server: Server, hospital: Hospital) -> None:
    cine = next(image for image in hospital.images() if "NumberOfFrames" in image and image.Modality == "US")
    place = f"{cine.StudyInstanceUID}/{cine.SeriesInstanceUID}/{cine.SOPInstanceUID}/2"

    async def steps(session: Any) -> Any:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        studies = await session.call_tool("archive_studies", {"modality": ""})
        answer = await session.call_tool("archive_segment", {"place": place})
        refused = await session.call_tool("archive_segment", {"place": place, "kinds": "picture"})
        return tools, studies.content[0].text, answer.content[0].text, refused

    tools, studies, answer, refused = asked_by_an_agent(server.url, steps)
    assert "Ask your user before" in tools["archive_send"].description
    assert not any("host" in word or "url" in word for word in tools["archive_segment"].inputSchema["properties"])
    for text in (studies, answer):
        assert "Doe" not in text
        assert "/tmp" not in text  # noqa: S108 - no path of the server
        assert "medseg-visitors" not in text
    assert _loaded(answer)["report"]["image"]["frame"] == 1
    assert refused.isError
    assert "there are seg, label-map" in refused.content[0].text
    assert TOKEN not in server.said()
    assert "Doe" not in server.said()


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text)
