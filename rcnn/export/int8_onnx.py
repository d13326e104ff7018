"""An ONNX detector in 8 bits, by ONNX Runtime's own quantiser: calibrated once, then with any of its parts left out."""

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from rcnn.export.feeds import Feed, Feeds, refuse_none
from rcnn.export.layers import PREDICTORS, groups, nodes_of
from rcnn.export.metadata import onnx_metadata, put_onnx_metadata, with_precision

if TYPE_CHECKING:
    from onnx import ModelProto

_LAYERS = ("Conv", "Gemm", "MatMul")
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")
"""Said of a model that is prepared for quantisation: constants are folded, which rcnn's export has done."""


class OnnxInt8:
    """Weights of 8 bits a channel, activations of 8 bits a tensor: QuantizeLinear and DequantizeLinear around layers.

    `feeds` are calibrated on; `always` are parts that no one shall put into 8 bits. Weights use 7 of their 8 bits
    (`narrow`): processors without VNNI add products pairwise in 16 bits, which overflow otherwise, in silence. Raises
    ConfigError where there are no feeds or no layers.
    """

    def __init__(
        self,
        model: "ModelProto",
        feeds: Feeds,
        always: Collection[str] = PREDICTORS,
        narrow: bool = True,
    ) -> None:
        refuse_none(feeds)
        self._groups = groups(model)
        self.parts = tuple(part for part in self._groups if part not in always)
        self.floating = model
        self._narrow = narrow
        self._ranges = b""
        self._metadata = with_precision(onnx_metadata(model), "int8")
        self._whole = self._quantised(self.parts, _Feeds(iter(feeds)))

    def quantised(self, kept: Collection[str] = ()) -> "ModelProto":
        """The detector in 8 bits but for the parts `kept`."""
        nodes_of(self._groups, kept)
        if not kept:
            return self._whole
        return self._quantised([part for part in self.parts if part not in kept], None)

    def _quantised(self, parts: Collection[str], feeds: "_Feeds | None") -> "ModelProto":
        """With these parts in 8 bits; with feeds the ranges of activations are measured, otherwise they are known."""
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        nodes = nodes_of(self._groups, parts)
        if not nodes:
            return self.floating
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ranges = folder / "ranges.json"
            if feeds is None:
                ranges.write_bytes(self._ranges)
            quantize_static(
                _prepared(self.floating, folder),
                folder / "int8.onnx",
                feeds,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_LAYERS),
                per_channel=True,
                reduce_range=self._narrow,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=nodes,
                calibration_cache_path=ranges,
            )
            self._ranges = ranges.read_bytes()
            made = onnx.load(folder / "int8.onnx")
        put_onnx_metadata(made, self._metadata)
        return made


def _prepared(model: "ModelProto", folder: Path) -> Path:
    """The model in a file that the quantiser takes without a word."""
    copy = type(model)()
    copy.CopyFrom(model)
    del copy.metadata_props[:]
    copy.metadata_props.add(key=_PREPARED[0], value=_PREPARED[1])
    path = folder / "model.onnx"
    path.write_bytes(copy.SerializeToString())
    return path


class _Feeds:
    """Feeds as ONNX Runtime's calibration reads them."""

    def __init__(self, feeds: Iterator[Feed]) -> None:
        self._feeds = feeds

    def get_next(self) -> dict[str, Shaped[np.ndarray, "..."]] | None:
        """The next feed; None when there is none."""
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)
