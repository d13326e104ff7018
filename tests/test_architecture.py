"""The house rules that a machine can hold: short files, short functions, imports strictly down."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEVELS = (
    "errors memory runtime",
    "structures boxes sample compiled threads model_files choices paths goal",
    "ops anchors losses data evaluation runs agreement",
    "backbones proposals heads matching postprocess",
    "methods",
    "acceleration",
    "training inference compression export analysis",
    "config",
    "build presets",
    "compat report",
    "bench",
    "api serving",
    "cli",
)
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names.split()}
PUBLIC = {"__init__", "__main__"}  # the doors: they may open onto every room
FILES = sorted((ROOT / "rcnn").rglob("*.py"))


def room_of(path):
    """The package or module directly below `rcnn` that a file belongs to."""
    return path.relative_to(ROOT / "rcnn").parts[0].removesuffix(".py")


def imported_rooms(path):
    """Each room of the library that a file imports, functions' own imports included, and the line that does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; write it out from `rcnn`"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((name.split(".")[1], node.lineno) for name in names if name.startswith("rcnn."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_strictly_down(path):
    room = room_of(path)
    if room in PUBLIC:
        return
    assert room in LEVEL_OF, f"{path}: `{room}` has no level; give it one in {Path(__file__).name} and in the docs"
    for other, line in imported_rooms(path):
        assert other in LEVEL_OF, (
            f"{path}:{line}: `rcnn.{other}` is no module with a level; import from the one it is in"
        )
        down = other == room or LEVEL_OF[other] < LEVEL_OF[room]
        assert down, f"{path}:{line}: `{room}` imports `{other}`, which stands no lower; see LEVELS"


def test_no_file_is_longer_than_400_lines():
    files = [*FILES, *(ROOT / "tests").rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_no_function_is_longer_than_40_lines():
    functions = (
        (f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert {name: length for name, length in functions if length > 40} == {}


def test_every_protocol_can_be_checked_at_run_time():
    """CONTRIBUTING's `--jaxtyping-packages` checks every argument: a protocol that cannot be is an error there."""
    classes = [
        (f"{path.relative_to(ROOT)} {node.name}", [ast.unparse(each) for each in node.decorator_list])
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and "Protocol" in [ast.unparse(base) for base in node.bases]
    ]
    assert classes
    assert [name for name, decorators in classes if "runtime_checkable" not in decorators] == []
