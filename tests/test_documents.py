"""README and guides keep to the code: commands are understood, imports exist, links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

from medseg.__main__ import parser
from medseg.commands.app import VARIABLES
from medseg.commands.train import TRAININGS
from medseg.training.recipe import Recipe, StackRecipe, recipe_from_arguments
from tests.conftest import ROOT

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "train" / "studies" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
LAUNCH = re.compile(r"^(accelerate launch|python) -m medseg(\.training)? ?")


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(document: Path) -> list[list[str]]:
    """The words after `medseg` of every command in the document's shell blocks, `train` for a bare launch."""
    found = []
    for block in blocks(document, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            command = LAUNCH.sub(lambda match: "medseg train " if match[2] else "medseg ", shlex.join(words))
            words = shlex.split(command.replace("medseg train stack ", "medseg stack "))
            for start in [place for place, word in enumerate(words) if word == "medseg" and place + 1 < len(words)]:
                if words[start - 1 : start] in ([], ["&&"]):
                    found.append(words[start + 1 :])
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_of_a_document_is_understood(document: Path) -> None:
    for name, *arguments in commands(document):
        if name in {"train", "stack"}:
            recipe_from_arguments(arguments, Recipe if name == "train" else StackRecipe)
        elif name not in TRAININGS:
            parser().parse_args([name, *arguments])


def test_the_commands_are_read_from_the_documents() -> None:
    names = {words[0] for document in DOCUMENTS for words in commands(document)}
    assert {"app", "predict", "fit", "train", "stack", "evaluate", "space"} <= names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_import_of_a_document_exists(document: Path) -> None:
    for block in blocks(document, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("medseg"):
                module = importlib.import_module(str(node.module))
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_of_a_document_leads_to_a_file(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    inside = [target for target in targets if target and not target.startswith(("http", "reference/"))]
    assert [target for target in inside if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_document_installs_from_the_clone(document: Path) -> None:
    """On a package index the name medseg is nobody's yet, and might be anybody's."""
    assert not re.search(r"pip install '?medseg", document.read_text(encoding="utf-8"))


def test_the_help_of_app_names_every_variable_of_the_guide() -> None:
    table = [
        line for line in (ROOT / "docs" / "programs.md").read_text(encoding="utf-8").splitlines() if line[:2] == "| "
    ]
    named = {name for line in table for name in re.findall(r"`((?:MEDSEG|GRADIO)_[A-Z_]+)`", line.split("|")[1])}
    assert "MEDSEG_LOGIN" in named
    assert sorted(named - {*re.findall(r"^  (\w+)", VARIABLES, re.MULTILINE)}) == []


def test_the_run_for_everybody_prints_the_slowest_tests() -> None:
    assert "PYTEST_ADDOPTS=--durations=20" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_bytes()
    assert len(text) <= 9000
    assert len(text.splitlines()) <= 150
