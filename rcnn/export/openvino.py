"""From an ONNX detector to OpenVINO's pair of files, NAME.xml and NAME.bin."""

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcnn.errors import ConfigError, WeightsError, first_line
from rcnn.export.metadata import KEY, Metadata
from rcnn.export.placing import put
from rcnn.runtime import OUTPUTS, openvino_core

if TYPE_CHECKING:
    from onnx import ModelProto
    from openvino import Model


def to_openvino(model: "ModelProto") -> "Model":
    """OpenVINO's model of an ONNX model; raises WeightsError for one that OpenVINO cannot read.

    The names of its nodes are those of the ONNX model, with `/WithoutBiases` behind that of a layer with a bias. What
    the ONNX model says of itself is not taken over: `write_openvino` says it.
    """
    import openvino
    from openvino.passes import ConstantFolding, Manager

    bare = type(model)()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    try:
        read = openvino_core(openvino).read_model(
            bare.SerializeToString()
        )  # openvino.convert_model would report to its makers
    except RuntimeError as error:
        raise WeightsError(f"OpenVINO cannot read the ONNX model: {first_line(error)}") from error
    passes = Manager()
    passes.register_pass(ConstantFolding())  # weights that are reshaped are weights to nncf only once that is done
    passes.run_passes(read)
    return read


def only_outputs(model: "Model", names: Iterable[str] = OUTPUTS) -> "Model":
    """A model that gives fewer of its outputs, in the order of `names`."""
    import openvino

    return openvino.Model([model.output(name).node for name in names], model.get_parameters())


def write_openvino(model: "Model", path: Path, metadata: Metadata, half: bool = False) -> None:
    """Write NAME.xml and NAME.bin with the metadata in them; `half` keeps the weights in 16 bits.

    Both stand complete under their names, or the .xml is missing (`put`). Raises ConfigError for a name that does
    not end in .xml.
    """
    import openvino

    if path.suffix != ".xml":
        raise ConfigError(f"{path}: OpenVINO's files are NAME.xml and NAME.bin; give --out a name that ends in .xml")
    model.set_rt_info(json.dumps(metadata), [KEY])
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        made = folder / path.name
        openvino.save_model(model, made, compress_to_fp16=half)
        put(made, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def openvino_metadata(model: "Model", name: str = "the model") -> dict[str, Any]:
    """What an OpenVINO detector says of itself; raises WeightsError for a model that is none."""
    if not model.has_rt_info([KEY]):
        raise WeightsError(f"{name}: an OpenVINO model, but no detector of this library; make one with rcnn export")
    return json.loads(model.get_rt_info([KEY]).astype(str))


def layer_name(node: str) -> str:
    """The name in the ONNX model of a node of OpenVINO's."""
    return node.removesuffix("/WithoutBiases")
