"""No import stands inside a function for the sake of a circle, and importing the library stays quick."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "embedcompress"
FILES = sorted(PACKAGE.rglob("*.py"))

OPTIONAL = {
    "torch": "takes seconds to import, and is not always installed",
    "transformers": "takes seconds to import, and is not always installed",
    "sentence_transformers": "takes seconds to import, and is not always installed",
    "tokenizers": "is there where sentence_transformers is",
    "matplotlib": "draws plots, which few calls do",
    "sklearn": "scores benchmarks",
    "pyarrow": "reads Parquet and Arrow files, and is not always installed",
    "gguf": "reads GGUF, and is not always installed",
    "torchao": "has a tensor of its own, and is not always installed",
    "onnx": "writes ONNX, and is not always installed",
    "safetensors": "reads and writes what transformers does",
    "tqdm": "shows progress where it is installed",
    "markdown": "makes a page of a report",
    "fcntl": "is not on every system",
    "typing_extensions": "is for type checkers",
}
"""What functions may import from other packages, and why not at the top."""
QUICK = {
    "__init__.py": "importing the library stays quick: few programs ask for these",
    "bench": "benchmarks import torch, scikit-learn or plots, which a command of another kind does without",
    "cli": "a command imports what it runs, and torch if it needs it",
}
"""Files, or folders of them, whose functions may import from this package, and why not at the top."""


def module(path: Path) -> str:
    parts = ("embedcompress", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


def targets(node: ast.Import | ast.ImportFrom, path: Path) -> list[str]:
    """Return the modules that a statement imports, those of this package by their full names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not node.level:
        return [node.module or ""]
    base = module(path).split(".")
    base = base if path.name == "__init__.py" else base[:-1]
    base = base[: len(base) - node.level + 1]
    name = ".".join([*base, *([node.module] if node.module else [])])
    inner = [f"{name}.{alias.name}" for alias in node.names]
    return [one if one in MODULES else name for one in inner]


def imports(path: Path) -> tuple[list[str], list[tuple[int, str]]]:
    """Return what a file imports at the top, and what inside functions, with lines."""
    top: list[str] = []
    inside: list[tuple[int, str]] = []

    def walk(node: ast.AST, is_inside: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, (ast.Import, ast.ImportFrom)):
                for target in targets(child, path):
                    if is_inside:
                        inside.append((child.lineno, target))
                    else:
                        top.append(target)
            walk(child, is_inside or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))

    walk(ast.parse(path.read_text()), is_inside=False)
    return top, inside


FOUND = {name: imports(path) for name, path in MODULES.items()}


def reached(start: str) -> set[str]:
    """Return the modules of this package that importing one imports, besides packages above it."""
    seen: set[str] = set()
    left = [start]
    while left:
        name = left.pop()
        if name not in seen and name in FOUND:
            seen.add(name)
            left += FOUND[name][0]
    return seen


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_inside_functions_have_a_reason(name):
    path = MODULES[name]
    for line, target in FOUND[name][1]:
        place = f"{path.relative_to(PACKAGE)}:{line} imports {target} inside a function"
        if not target.startswith("embedcompress"):
            assert target.split(".")[0] in OPTIONAL, place
        else:
            allowed = {path.relative_to(PACKAGE).parts[0]}
            assert allowed & QUICK.keys(), place
            assert name == "embedcompress" or name not in reached(target), f"{place}, which imports it: a circle"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_no_module_imports_itself_by_way_of_others(name):
    for target in FOUND[name][0]:
        # Packages import their modules, which import names from packages above them that are there by then.
        if target in MODULES and MODULES[target].name != "__init__.py" and MODULES[name].name != "__init__.py":
            assert name not in reached_without_packages(target), f"{name} and {target} import each other"


def reached_without_packages(start: str) -> set[str]:
    seen: set[str] = set()
    left = [start]
    while left:
        name = left.pop()
        if name not in seen and name in FOUND and MODULES[name].name != "__init__.py":
            seen.add(name)
            left += FOUND[name][0]
    return seen
