"""One GET with deadlines: what is waited for, and what is not."""

from __future__ import annotations

import pytest

from medseg.errors import HubDownError, HubError
from medseg.hub import download
from medseg.hub.download import read
from tests.hub_server import Hub

CONTENT = b"0123456789"


@pytest.fixture
def url(hub: Hub) -> str:
    commit = hub.commit("tester/net", {"a.txt": CONTENT})
    return f"{hub.url}/tester/net/resolve/{commit}/a.txt"


def test_the_pieces_are_the_file(url: str) -> None:
    assert b"".join(read(url, "a.txt", 100)) == CONTENT


def test_a_slow_but_steady_answer_is_waited_for(hub: Hub, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "STRIDE", 1)
    hub.drip_s = 0.2
    hub.break_("a.txt", "drip")
    assert b"".join(read(url, "a.txt", 100, patience_s=1.5)) == CONTENT  # 2 s in all


def test_an_answer_slower_than_a_stride_in_its_time_is_given_up(hub: Hub, url: str) -> None:
    hub.drip_s = 0.2
    hub.break_("a.txt", "drip")
    with pytest.raises(HubDownError, match=r"a\.txt: the Hub .* does not answer, or too slowly"):
        list(read(url, "a.txt", 100, patience_s=0.5))


def test_nothing_is_read_far_beyond_the_limit(hub: Hub) -> None:
    commit = hub.commit("tester/net", {"a.txt": bytes(10_000_000)})
    pieces = read(f"{hub.url}/tester/net/resolve/{commit}/a.txt", "a.txt", 1000)
    assert 1000 < sum(map(len, pieces)) < 1_000_000


def test_a_cancelled_read_does_not_wait_for_the_hub(hub: Hub, url: str) -> None:
    hub.break_("a.txt", "hang")
    with pytest.raises(HubError, match=r"a\.txt: cancelled"):
        list(read(url, "a.txt", 100, patience_s=600, cancelled=lambda: True))


def test_a_password_in_the_endpoint_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://me:canary@hub.example:8443/path")
    assert download.host() == "the Hub (hub.example:8443)"
