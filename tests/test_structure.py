"""The documents and the code say the same: levels, tree, commands, versions; and one word for a thing."""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable

from medseg.__main__ import parser
from tests.conftest import ROOT
from tests.levels import IN_MEDSEG, MODULES, imports, module_levels, read_tree, together

README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_the_tree_lists_every_file_with_its_level() -> None:
    """`module_levels` raises where imports make a cycle."""
    listed = read_tree(ARCHITECTURE)
    single = {path: level for path, (level, _) in listed.items() if IN_MEDSEG.match(path) and not path.endswith("*.py")}
    there = {f"medseg/{module}.py": level for module, level in module_levels().items()}
    shared = together(listed)
    assert single == {path: level for path, level in there.items() if not path.startswith(shared)}, (
        "run `python tests/levels.py`"
    )
    assert len(ARCHITECTURE.splitlines()) <= 250
    missing = sorted(path for path in listed if not list(ROOT.glob(path.rstrip("/"))))
    assert missing == [], "the tree names what is not there"


def test_the_library_knows_neither_the_page_nor_the_training() -> None:
    above = r"app|train|tests|benchmarks|gradio|medseg\.app|medseg\.training"
    outward = re.compile(rf"^\s*(?:from|import) (?:{above})\b", re.MULTILINE)
    library = [m for m in MODULES if not m.startswith(("app/", "training/"))]
    offenders = [m for m in library if outward.search((ROOT / "medseg" / f"{m}.py").read_text(encoding="utf-8"))]
    assert offenders == []


def test_the_page_and_the_training_do_not_know_each_other() -> None:
    for top, other in (("app", "training"), ("training", "app")):
        known = {name for module in MODULES if module.startswith(f"{top}/") for name in imports(module)}
        assert [name for name in known if name.startswith((f"{other}/", "commands/"))] == []


def test_importing_medseg_loads_neither_torch_nor_gradio() -> None:
    code = "import sys, medseg; print([name for name in ('torch', 'gradio', 'numpy') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def command(name: str) -> str:
    """The shell command that README gives under the marker `name`."""
    return README.split(f"<!-- command: {name} -->")[1].split("```")[1].removeprefix("bash\n").strip()


def test_the_two_readme_commands_name_files_and_extras_that_exist() -> None:
    assert command("start").endswith(".venv/bin/python app.py")
    assert "-r requirements.txt" in command("start")
    assert (ROOT / "app.py").is_file()
    assert command("test").endswith(".venv/bin/python -m pytest -n 2 --dist loadfile")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "'.[dev]'" in command("test")
    assert "dev" in project["project"]["optional-dependencies"]


def test_the_space_installs_the_gradio_that_requirements_ask_for() -> None:
    asked = re.search(r"^gradio>=(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    offered = re.search(r"^sdk_version: (\S+)$", README, re.MULTILINE)
    assert asked
    assert offered
    assert offered[1].strip('"') == asked[1]


def test_every_bound_has_its_reason_and_licence() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    bounds = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in bounds if not re.search(r">=\S+ +# .+\(.+\)", line)] == []


def test_the_version_is_said_once_in_each_place() -> None:
    import medseg

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == medseg.__version__
    assert f"version: {medseg.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {medseg.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_patient_image_is_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    images = {
        line for line in listed.stdout.splitlines() if re.search(r"\.(png|jpe?g|gif|webp|tiff?|dcm|nii|gz)$", line)
    }
    allowed = re.compile(
        r"(assets/(examples/[a-z]+-\d(_mask)?\.png|screenshot\.png|slider\.gif)|docs/(cases-[a-z]+|growth|robustness)\.png)$"
    )
    drawn = {path.read_bytes() for path in (ROOT / "assets" / "examples").glob("*.png")}
    others = [path for path in images if not allowed.search(path)]
    assert [path for path in others if (ROOT / path).read_bytes() not in drawn] == []


def test_what_a_visitor_has_open_needs_no_gradio() -> None:
    states = [module for module in MODULES if module.startswith("app/state/")]
    names = [f"medseg.{module}".replace("/", ".") for module in states]
    code = f"import sys, importlib; list(map(importlib.import_module, {names})); print('gradio' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"


# --- one word for a thing: what DESIGN's table replaced stands no more in code, page, documents, errors and --help

DOCUMENTS = [ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY")]
DOCUMENTS += [*(ROOT / "docs").rglob("*.md"), ROOT / "train" / "studies" / "README.md"]
SOURCES = [ROOT / "app.py", *(ROOT / "train").rglob("*.py")]
SOURCES += [path for path in (ROOT / "medseg").rglob("*") if path.suffix in {".py", ".html", ".js", ".css"}]
SOURCES = [path for path in SOURCES if "shipped" not in path.parts and path.name != "moved.py"]  # the old names

OLD = {
    r"pictures?": "image",
    r"golden": "self-test",
    r"tall(y|ies|ied)": "histogram",
    r"contests?": "compare",
    r"shel(f|ves)": "registry",
    r"(?<![.\"])floors?": "baseline, level",  # math.floor and torch's "floor" stay
    r"arrivals?": "uploaded files",
}
"""Old word → what is said today."""

PREDICTED = {r"answer(s|ed)?": "probabilities, prediction", r"scopes?": "domain check"}
"""The same, but for SERVERS: a server, the Hub or a worker answers a request, and ASGI has scopes."""

SERVERS = {"archive", "hub", "reading", "server"}

ALLOWED = re.compile(
    r"(training|data)\.pictures|^    pictures: str"  # a key of member.json
    r"|picture\(s\)|IMAGE_WORDS.*"  # names of folders
    r"|the same picture as"  # of two image files, which show one picture
    r"|golden\.(png|json)"  # the files of a self-test
    r"|^_OLD_WORD = .*"  # what JSON files of 0.1.0 say
    r"|def answers|Ensemble\.answers|health\.answer|answer_agents_in_json"
    r"|scope='col'|called the floor"  # HTML's word; rows.json of 0.1.0
    r"|(?<![A-Za-z])floor\("  # of a shader
    r"|round_prefer_floor"  # ONNX's word
)
NO_NAMES = {"found", "told", "kept", "given", "seen", "one"}


def old_words(text: str, words: Iterable[str]) -> list[str]:
    """The lines of `text` with one of the `words`."""
    pattern = re.compile(rf"(?<![A-Za-z])({'|'.join(words)})(?![A-Za-z])", re.IGNORECASE)
    return [line.strip() for line in text.splitlines() if pattern.search(ALLOWED.sub("", line))]


def test_no_file_says_an_old_word() -> None:
    said: dict[str, list[str]] = {}
    for path in [*DOCUMENTS, *SOURCES]:
        words = {**OLD, **(PREDICTED if path.suffix == ".py" and not SERVERS & set(path.parts) else {})}
        if lines := old_words(path.read_text(encoding="utf-8"), words):
            said[path.relative_to(ROOT).as_posix()] = lines
    assert said == {}


def test_no_help_says_an_old_word() -> None:
    commands = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    texts = [parser().format_help(), *(command.format_help() for command in commands.choices.values())]
    assert old_words("\n".join(texts), {**OLD, **PREDICTED}) == []


def names(tree: ast.AST) -> set[str]:
    """What the code assigns to, and its parameters."""
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return stored | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


def test_nothing_is_named_by_a_participle() -> None:
    read = {path: names(ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES if path.suffix == ".py"}
    assert {path.name: bad for path, taken in read.items() if (bad := sorted(NO_NAMES & taken))} == {}
