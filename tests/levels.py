"""The level of every module of medseg: 0 where it imports no other one, else one above the highest that it imports.

`python tests/levels.py` writes the levels into the tree of ARCHITECTURE.md; `tests/test_structure.py` checks them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "medseg"
MODULES = sorted(
    path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"
)
"""As `metrics` or `reading/readers`."""

LINE = re.compile(r"^    ( *)([\w./*-]+?)(/|\.py)? +(?:(\d+)  )?(\S.*)$")
"""A line of the tree: indentation, name, level and phrase."""

IN_MEDSEG = re.compile(r"medseg/.*\.py$")


PACKAGES = {path.parent.relative_to(ROOT).as_posix().replace("/", "."): path for path in PACKAGE.rglob("__init__.py")}
"""As `medseg.data`. Those whose `__init__` names what is loaded later import it, for types at least."""


def imports(module: str) -> set[str]:
    """The modules of medseg that a module imports, at its top or inside functions; type-only imports count too."""
    return _imports(PACKAGE / f"{module}.py") & set(MODULES)


def _imports(path: Path) -> set[str]:
    """Modules as `reading/readers`, and packages as `medseg.data` where a name of their `__init__` is imported."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names |= {_imported(f"{node.module}.{alias.name}", str(node.module)) for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {_imported(alias.name, "") for alias in node.names}
    return names


def _imported(name: str, package: str) -> str:
    """The module that `from package import …` or `import name` means: a module or package `name`, or else `package`."""
    for meant in (name, package):
        module = meant.removeprefix("medseg.").replace(".", "/")
        if module in MODULES or meant in PACKAGES:
            return module if module in MODULES else meant
    return ""


def module_levels() -> dict[str, int]:
    """Module → level. Raises graphlib.CycleError where imports go round, through a package's `__init__` too."""
    graph = {module: _imports(PACKAGE / f"{module}.py") - {""} for module in MODULES}
    graph |= {package: _imports(path) - {""} for package, path in PACKAGES.items()}
    levels: dict[str, int] = {}
    for module in TopologicalSorter(graph).static_order():
        levels[module] = 1 + max((levels[other] for other in graph[module]), default=-1)
    return {module: levels[module] for module in MODULES}


def together(paths: Iterable[str]) -> tuple[str, ...]:
    """The folders whose modules share one line, as `medseg/commands/*.py`."""
    return tuple(path.removesuffix("*.py") for path in paths if path.endswith("/*.py"))


def read_tree(text: str) -> dict[str, tuple[int | None, str]]:
    """Path → (level, phrase), as the tree in `text` lists them."""
    parents: dict[int, str] = {}
    listed = {}
    for line in _tree(text).splitlines():
        if match := LINE.match(line):
            indent, name, kind, level, phrase = match.groups()
            depth = len(indent) // 4
            parents[depth] = name + (kind or "")
            path = "".join(parents[level] for level in range(depth + 1))
            listed[path] = (int(level) if level else None, phrase)
    return listed


def with_levels(text: str) -> str:
    """`text` with the level of every module of medseg in its tree, and a line for each module that it lacks."""
    levels = module_levels()
    phrases = {path: phrase for path, (_, phrase) in read_tree(text).items()}
    lines = []
    for path in _in_order(phrases, levels):
        parts = re.findall(r"[^/]+/?(?:\*\.py)?", path)  # `commands/*.py` is one part
        depth, name = len(parts) - 1, parts[-1]
        level = levels.get(path.removeprefix("medseg/").removesuffix(".py")) if path.startswith("medseg/") else None
        number = "" if level is None else f"{level:2d}  "
        lines.append(
            f"    {'    ' * depth}{name}".ljust(36) + number.rjust(4) + (phrases.get(path) or _docstring(path))
        )
    return text.replace(_tree(text), "\n" + "\n".join(lines) + "\n\n")


def _in_order(phrases: dict[str, str], levels: dict[str, int]) -> list[str]:
    """The paths listed, less modules that are gone, with new ones at the end of their package."""
    shared = together(phrases)
    modules = [path for module in levels if not (path := f"medseg/{module}.py").startswith(shared)]
    paths = [path for path in phrases if path in modules or path.endswith("*.py") or not IN_MEDSEG.match(path)]
    for path in sorted(set(modules) - set(paths)):
        package = path.rsplit("/", 1)[0] + "/"
        there = [index for index, other in enumerate(paths) if other.startswith(package)]
        paths.insert(there[-1] + 1, path)
    return paths


def _docstring(path: str) -> str:
    text = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0].rstrip(".")


def _tree(text: str) -> str:
    return text.split("<!-- tree -->\n")[1].split("<!-- end of the tree -->", maxsplit=1)[0]


if __name__ == "__main__":
    page = ROOT / "ARCHITECTURE.md"
    page.write_text(with_levels(page.read_text(encoding="utf-8")), encoding="utf-8")
