"""Programs of torch.export in files that may come from anyone: loaded without running what somebody put into them.

`torch.export.load` unpickles, evaluates strings of the file as Python and loads compiled code from it. So the archive
is taken apart first: only data, shapes and the names of known operators are put together again, and loaded.
"""

import json
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

import rcnn.ops  # noqa: F401 - programs call its operators
from rcnn.errors import first_line
from rcnn.inference.program_operators import is_operator
from rcnn.runtime import OUTPUTS, Arrays, Engine, ModelFileError, described

MODEL, EXTRA, SAMPLES = "models/model.json", "extra/rcnn.json", "data/sample_inputs/model.pt"
_MEMBERS = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|extra/rcnn\.json|models/model\.json"
    r"|data/weights/(model_weights_config\.json|weight_\d+)|data/constants/(model_constants_config\.json|tensor_\d+)"
    r"|data/sample_inputs/model\.pt"
)
_EXPRESSION = re.compile(
    r"(Pow\(Symbol\('\w+'(, (positive|nonnegative|integer)=True)*\), Integer\(-?\d\)\)"  # of numbers: without end
    r"|Symbol\('\w+'|Integer\(|Rational\(|Add\(|Mul\(|Min\(|Max\(|Mod\(|PythonMod\(|FloorDiv\(|CeilDiv\(|CleanDiv\("
    r"|ModularIndexing\(|IntTrueDiv\(|FloatTrueDiv\(|ToFloat\(|CeilToInt\(|FloorToInt\(|TruncToInt\(|Where\(|And\(|Or\("
    r"|Not\(|Equality\(|Unequality\(|StrictLessThan\(|StrictGreaterThan\(|LessThan\(|GreaterThan\(|Eq\(|Ne\(|Lt\(|Le\("
    r"|Gt\(|Ge\(|(positive|nonnegative|integer)=(True|False)|true|false|-?\d|[), ])*"
)
_INPUTS = ("images", "sizes", "original_sizes", "proposals", "proposals_valid")


def _takes_inputs(text: str) -> bool:
    """Whether a program is called with keywords alone, the inputs of a detector, as torch writes that down."""
    version, tree = json.loads(text)
    names = json.loads(tree["children_spec"][1]["context"])
    return {*names} <= {*_INPUTS} and [version, tree] == [1, _nest("tuple", [_nest("tuple", []), _named(names)])]


def _gives_outputs(text: str) -> bool:
    """Whether a program returns a dict of a detector's outputs, as torch writes that down."""
    return json.loads(text) == [1, _named(OUTPUTS)]


def _named(names: Sequence[str]) -> dict[str, Any]:
    leaf: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
    return _nest("dict", [leaf] * len(names), json.dumps(list(names)))


def _nest(kind: str, children: list[Any], context: str = "null") -> dict[str, Any]:
    return {"type": f"builtins.{kind}", "context": context, "children_spec": children}


_STRINGS: Mapping[str, Callable[[str], object]] = {
    "target": is_operator,
    "expr_str": _EXPRESSION.fullmatch,
    "as_string": re.compile("ij|xy|floor|trunc|none|tanh|same|valid|constant|reflect|replicate").fullmatch,
    "as_float": re.compile("-?Infinity|NaN").fullmatch,
    "torch_version": re.compile(r"[\w.+]*").fullmatch,
    "in_spec": _takes_inputs,
    "out_spec": _gives_outputs,
}
"""Whether a string may be, by its key in the program; the rest are names."""
_NAME = re.compile(r"[\w.]*")
_KEY = re.compile(r"[\w.]*(\*[\w.]+)*")


def open_program(path: Path, precision: str | None = None) -> Engine:
    """The engine of a .pt2 file; raises ModelFileError for any that `rcnn export` would not write.

    It computes on the processor, in the precision that it was exported with.
    """
    if precision is not None:
        raise ModelFileError(f"{path}: computes as it was exported; leave the precision out")
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file; mend the path")
    try:
        members = _members(path)
        metadata = described(path, members.get(EXTRA, b"").decode())
        program = _loaded(_archive(_checked(path, members)))
        names = list(program.graph_signature.user_inputs)
    except ModelFileError:
        raise
    except Exception as error:  # torch raises nearly anything
        raise ModelFileError(f"{path}: torch cannot use it ({first_line(error)}); export it again") from error
    run = program.module()

    def infer(arrays: Arrays) -> dict[str, np.ndarray]:
        given = {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in names}
        with torch.inference_mode():
            try:
                found = run(**given)
            except Exception as error:  # torch raises nearly anything
                raise ModelFileError(f"{path}: torch cannot run it ({first_line(error)}); export it again") from error
        return {name: found[name].numpy() for name in OUTPUTS}

    return Engine(path, metadata, set(names), infer)


def _loaded(archive: BytesIO) -> Any:
    from torch.export.pt2_archive._package import load_pt2  # takes seconds to import; knows no older, looser format

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its buffers are read-only, and it says so
        return load_pt2(archive).exported_programs["model"]


def _members(path: Path) -> dict[str, bytes]:
    """The members of an archive, without the name of their folder; all of kinds that hold data alone."""
    with zipfile.ZipFile(path) as archive:
        found = {}
        for member in archive.infolist():
            name = member.filename.partition("/")[2]
            if not _MEMBERS.fullmatch(name) or member.compress_type != zipfile.ZIP_STORED:
                raise _foreign(path, member.filename)
            found[name] = archive.read(member)
        return found


def _checked(path: Path, members: Mapping[str, bytes]) -> dict[str, bytes]:
    """The members with nothing left in them that is run when they are loaded; raises ModelFileError for what is odd."""
    program = json.loads(members[MODEL])
    program["guards_code"] = []  # Python, which checks shapes
    for node in program["graph_module"]["graph"]["nodes"]:
        node["metadata"] = {}  # where it came from
    _refuse_odd(path, program)
    for name in members:
        if name.endswith("_config.json"):
            config = json.loads(members[name])
            _refuse_odd(path, config)
            if any(entry["use_pickle"] or not entry["path_name"] for entry in config["config"].values()):
                raise _foreign(path, "a pickle")
    return {**members, MODEL: json.dumps(program).encode(), SAMPLES: b""}  # samples are a pickle


def _refuse_odd(path: Path, tree: Any, key: str = "") -> None:
    """Raise ModelFileError where a tree of JSON holds a string that is no name, operator or shape."""
    if isinstance(tree, dict):
        for name, part in tree.items():
            if not _KEY.fullmatch(name):
                raise _foreign(path, name)
            _refuse_odd(path, part, name)
    elif isinstance(tree, list):
        for part in tree:
            _refuse_odd(path, part, key)
    elif isinstance(tree, str) and not _STRINGS.get(key, _NAME.fullmatch)(tree):
        raise _foreign(path, tree)


def _foreign(path: Path, what: str) -> ModelFileError:
    shown = " ".join(what.split())[:80]
    return ModelFileError(f"{path}: holds what rcnn export does not write ({shown}); nothing of it was run")


def _archive(members: Mapping[str, bytes]) -> BytesIO:
    """The members as an archive."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"model/{name}", data)
    content.seek(0)
    return content
