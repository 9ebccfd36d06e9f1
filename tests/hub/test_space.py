"""A Space: what it copies, and how it is created and brought up to date.

tests/app/test_endpoints.py starts the page from that alone.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from medseg.__main__ import main
from medseg.errors import InputError
from medseg.hub.space import FILES, space_card, space_files
from tests.conftest import ROOT

if TYPE_CHECKING:
    from tests.hub_server import Hub

README = (ROOT / "README.md").read_text(encoding="utf-8")


def front_matter(text: str) -> dict[str, Any]:
    import yaml

    return dict(yaml.safe_load(text.split("---\n")[1]))


def test_the_front_matter_says_what_a_space_needs() -> None:
    said = front_matter(README)
    bound = re.search(r"^gradio>=(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (said["sdk"], said["app_file"]) == ("gradio", "app.py")
    assert bound
    assert said["sdk_version"] == bound[1]
    assert project["requires-python"] == f">={said['python_version']}"
    assert said["license"] == project["license"].lower()
    assert "image-segmentation" in said["tags"]
    assert len(said["short_description"]) <= 60  # the Hub refuses a longer one


def test_a_space_that_shows_an_ensemble_names_it_as_its_model() -> None:
    assert front_matter(space_card(README, "someone/net@main")) == front_matter(README) | {"models": ["someone/net"]}
    assert space_card(README, None) == README


def test_a_space_copies_the_page_and_neither_tests_nor_training() -> None:
    tops = {name.partition("/")[0] for name in space_files(ROOT)}
    assert tops == {*FILES, "medseg", "assets"}
    assert "assets/ensembles/polyp/ensemble.json" in space_files(ROOT)
    assert not [name for name in space_files(ROOT) if "__pycache__" in name or "/." in name]


def test_what_is_no_checkout_makes_no_space(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="made of a checkout"):
        space_files(tmp_path)


def test_a_space_is_created_and_filled_in_one_commit(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    main(["space", "tester/page", "--ensemble", "someone/net", "--private"])
    made = hub.repos["spaces/tester/page"]
    files = made.commits[made.branches["main"]]
    assert capsys.readouterr().out.strip() == f"{hub.url}/spaces/tester/page"
    assert made.private
    assert made.variables == {"MEDSEG_ENSEMBLES": "someone/net"}
    assert files["app.py"] == (ROOT / "app.py").read_bytes()
    assert front_matter(files["README.md"].decode())["models"] == ["someone/net"]
    assert files.keys() - {".gitattributes"} == space_files(ROOT).keys()
    assert len(made.messages) == 2  # the Hub's own, and ours


def test_a_space_shows_an_embedded_ensemble_first_by_its_name(hub: Hub) -> None:
    main(["space", "tester/page", "--ensemble", "brain"])
    made = hub.repos["spaces/tester/page"]
    assert made.variables == {"MEDSEG_ENSEMBLES": "brain"}
    assert made.commits[made.branches["main"]]["README.md"] == (ROOT / "README.md").read_bytes()


def test_a_space_is_brought_up_to_date_and_keeps_what_is_not_ours(hub: Hub) -> None:
    hub.commit("spaces/tester/page", {"medseg/gone.py": b"x", "notes.md": b"mine", "app.py": b"old"})
    main(["space", "tester/page"])
    made = hub.repos["spaces/tester/page"]
    files = made.commits[made.branches["main"]]
    assert "medseg/gone.py" not in files
    assert files["notes.md"] == b"mine"
    assert files["app.py"] == (ROOT / "app.py").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["page"], "'page' is not a Hub repository"),
        (["tester/page", "--ensemble", "a/b/c"], "'a/b/c' is no ensemble for a Space: wanted the Hub's"),
        (["other/page"], "may not|wants a token|403"),
    ],
)
def test_what_cannot_be_filled_is_refused_in_a_sentence(arguments: list[str], sentence: str, hub: Hub) -> None:
    with pytest.raises(SystemExit, match=sentence):
        main(["space", *arguments])
    assert "hf_tester" not in str(hub.log)
