"""The documents and the code say the same: floors, tree, commands, versions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGES = sorted(path.parent.name for path in (ROOT / "medseg").glob("*/__init__.py"))
MODULES = sorted(
    path.relative_to(ROOT / "medseg").with_suffix("").as_posix()
    for path in (ROOT / "medseg").rglob("*.py")
    if path.name != "__init__.py"
)
"""Of medseg, as `metrics` or `reading/readers`."""


def floors() -> dict[str, int]:
    """Module → floor, as ARCHITECTURE.md lists them: lines such as `    2   reading/grey   modality → VOI`."""
    section = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("## Floors")[1].split("\n## ")[0]

    continued, floor = {}, 0
    for line in section.splitlines():
        if match := re.match(r"^    (\d+ |  ) +([\w/]+)  ", line):
            floor = int(match[1]) if match[1].strip() else floor
            continued[match[2]] = floor
    assert continued
    return continued


def imports(module: str) -> set[str]:
    """The modules of medseg that a module imports, at its top or inside functions; type-only imports count too."""
    tree = ast.parse((ROOT / "medseg" / f"{module}.py").read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("medseg.").replace(".", "/") for name in found} & set(MODULES)


def test_architecture_lists_every_module_once() -> None:
    assert sorted(floors()) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_lower_floors(module: str) -> None:
    level = floors()
    assert {name for name in imports(module) if level[name] >= level[module]} == set()


def test_imports_make_no_cycle() -> None:
    graph = {module: imports(module) for module in MODULES}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_packages_make_no_cycle() -> None:
    """A module outside of the packages counts for itself."""
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        own = module.split("/")[0]
        graph.setdefault(own, set()).update(name.split("/")[0] for name in imports(module))
        graph[own].discard(own)
    assert set(PACKAGES) <= set(graph)
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_the_library_knows_neither_the_page_nor_the_training() -> None:
    outward = re.compile(r"^\s*(?:from|import) (?:app|ui|train|assets|tests|benchmarks|gradio)\b", re.MULTILINE)
    offenders = [m for m in MODULES if outward.search((ROOT / "medseg" / f"{m}.py").read_text(encoding="utf-8"))]
    assert offenders == []


def test_importing_medseg_loads_neither_torch_nor_gradio() -> None:
    code = "import sys, medseg; print([name for name in ('torch', 'gradio', 'numpy') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_readme_tree_names_what_is_there() -> None:
    tree = README.split("<!-- tree -->")[1].split("```")[1]
    entries = re.findall(r"^( *)([\w.*-]+/?)(?:  |$)", tree.removeprefix("text"), flags=re.MULTILINE)
    parents: dict[int, str] = {}
    shown = set()
    for indent, name in entries:
        depth = len(indent) // 4
        parents[depth] = name
        shown.add("".join(parents[level] for level in range(depth + 1)))
    missing = sorted(path for path in shown if not list(ROOT.glob(path.rstrip("/"))))
    assert missing == [], "README's tree names what is not there"
    files = [path for folder in ("medseg", "train", "ui") for path in (ROOT / folder).rglob("*.py")]
    present = {path.relative_to(ROOT).as_posix() for path in files if path.name != "__init__.py"}
    assert sorted(present - shown) == [], "README's tree leaves out files"


def command(name: str) -> str:
    """The shell command that README gives under the marker `name`."""
    return README.split(f"<!-- command: {name} -->")[1].split("```")[1].removeprefix("bash\n").strip()


def test_the_two_readme_commands_name_files_and_extras_that_exist() -> None:
    assert command("start").endswith(".venv/bin/python app.py")
    assert "-r requirements.txt" in command("start")
    assert (ROOT / "app.py").is_file()
    assert command("test").endswith(".venv/bin/python -m pytest")
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


def test_no_patient_picture_is_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    pictures = {line for line in listed.stdout.splitlines() if re.search(r"\.(png|jpe?g|tiff?|dcm|nii|gz)$", line)}
    allowed = re.compile(r"(assets/(examples/[a-z]+-\d(_mask)?\.png|screenshot\.png)|docs/cases-[a-z]+\.png)$")
    drawn = {path.read_bytes() for path in (ROOT / "assets" / "examples").glob("*.png")}
    others = [path for path in pictures if not allowed.search(path)]
    assert [path for path in others if (ROOT / path).read_bytes() not in drawn] == []
