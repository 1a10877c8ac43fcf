"""Checks what ruff, mypy and import-linter do not: the package stays one that a stranger can read.

Run by `make check`. Prints each violation and exits with 1 if there is any:

- at most `MAX_ROOT_MODULES` modules lie beside the folders of the package;
- the folders and modules form at most `MAX_LAYERS` layers of imports;
- no file has more than `MAX_LINES` lines;
- every class name is defined once in the whole package;
- the annotation `dict[str, Any]` occurs at most `MAX_FREE_FORM` times: it is for truly free-form data;
- no variable, parameter or attribute is called by one of `VAGUE`: names say what the value is.
"""

import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
PACKAGE = PROJECT.parent / "src" / "actiondiff"
MAX_ROOT_MODULES = 6  # beside __init__.py
MAX_LAYERS = 23
MAX_LINES = 400
MAX_FREE_FORM = 60
VAGUE = {"found", "said", "told", "shown", "known", "kept", "given"}


def violations(package: Path) -> Iterator[str]:
    """One line per violation, with the place where it is."""
    roots = sorted(path.name for path in package.glob("*.py") if path.name != "__init__.py")
    if len(roots) > MAX_ROOT_MODULES:
        yield f"{len(roots)} modules beside the folders, allowed {MAX_ROOT_MODULES}: {', '.join(roots)}"
    contracts = tomllib.loads(PROJECT.read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    if (layers := max(len(contract.get("layers", ())) for contract in contracts)) > MAX_LAYERS:
        yield f"{layers} layers of imports, allowed {MAX_LAYERS}"
    classes: dict[str, list[str]] = defaultdict(list)
    free_form = 0
    for path in sorted(package.rglob("*.py")):
        text = path.read_text("utf-8")
        free_form += text.count("dict[str, Any]")
        if (lines := text.count("\n")) > MAX_LINES:
            yield f"{path}: {lines} lines, allowed {MAX_LINES}"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(f"{path}:{node.lineno}")
            if (name := _defined_name(node)) in VAGUE:
                yield f"{path}:{getattr(node, 'lineno', 0)}: {name!r} does not say what the value is"
    for name, places in sorted(classes.items()):
        if len(places) > 1:
            yield f"class {name} is defined {len(places)} times: {', '.join(places)}"
    if free_form > MAX_FREE_FORM:
        yield f"dict[str, Any] occurs {free_form} times, allowed {MAX_FREE_FORM}"


def _defined_name(node: ast.AST) -> str | None:
    """The name that a node binds: of a variable, a parameter or an attribute of a class."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            return name
        case ast.arg(arg=name):
            return name
        case ast.Attribute(attr=name, ctx=ast.Store()):
            return name
    return None


if __name__ == "__main__":
    problems = list(violations(PACKAGE))
    print("\n".join(problems) or "structure: nothing is wrong")
    sys.exit(bool(problems))
