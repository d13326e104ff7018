"""Pretrained weights for a backbone: from torchvision, or from a file; and what of them fitted."""

import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from rcnn.backbones.channels import first_convolution, inflated
from rcnn.backbones.networks import WEIGHTS
from rcnn.backbones.timm_networks import PREFIX, timm_state
from rcnn.errors import WeightsError, first_line
from rcnn.model_files import describe, kind_of
from rcnn.paths import refuse_missing_weights


@dataclass(frozen=True)
class LoadReport:
    """Names of the backbone's tensors that were filled and left as they were, and of the file's that fit none."""

    loaded: tuple[str, ...]
    kept: tuple[str, ...]
    skipped: tuple[str, ...]
    inflated: str = ""
    """Of a first convolution that was made to read more or fewer channels than the weights do, what was done."""

    def rows(self) -> list[tuple[str, int, int]]:
        """For each part of the backbone: its name, tensors loaded, tensors left as they were."""
        loaded, kept = (Counter(name.split(".")[0] for name in names) for names in (self.loaded, self.kept))
        return [(part, loaded[part], kept[part]) for part in sorted(loaded | kept, key=_natural)]


def load_backbone_weights(body: nn.Module, network: str, source: Path | None) -> LoadReport:
    """Fill a network, before its norms are folded, from a file of weights or, without one, from torchvision.

    Raises WeightsError when the file cannot be read or fits nothing, or when a download is needed and impossible.
    """
    return fill(body, network, state_of(network, source), str(source or network))


def state_of(network: str, source: Path | None) -> Mapping[str, Tensor]:
    """The state dict in a file or, without one, torchvision's; raises as `load_backbone_weights` does."""
    return read_state(source) if source else download_state(network)


def fill(
    body: nn.Module, network: str, state: Mapping[str, Tensor], name: str, option: str = "--backbone-weights"
) -> LoadReport:
    """Fill a network from the state dict `name`; raises WeightsError, with the `option` to use, if it does not fit."""
    own = body.state_dict()
    candidates, inflation = _inflate(_strip(state, own), body)
    fitting = {name: value for name, value in candidates.items() if name in own and own[name].shape == value.shape}
    wanted = [name for name in own if not name.endswith("num_batches_tracked")]
    if sum(name in fitting for name in wanted) < len(wanted) / 2:
        raise WeightsError(
            f"{name}: fits {sum(name in fitting for name in wanted)} of {len(wanted)} tensors of "
            f"{network}; pass weights of that network with {option}"
        )
    body.load_state_dict({name: value.to(own[name].dtype) for name, value in fitting.items()}, strict=False)
    return LoadReport(
        tuple(name for name in wanted if name in fitting),
        tuple(name for name in wanted if name not in fitting),
        tuple(name for name in candidates if name not in fitting),
        inflation,
    )


def _inflate(candidates: dict[str, Tensor], body: nn.Module) -> tuple[dict[str, Tensor], str]:
    """The weights with a first kernel for red, green and blue made one for the body's channels, and a word on it."""
    name = f"{first_convolution(body)}.weight"
    kernel, wanted = candidates.get(name), body.get_parameter(name)
    if kernel is None or kernel.ndim != 4 or kernel.shape[1] != 3 or wanted.shape[1] == 3:
        return candidates, ""
    channels = wanted.shape[1]
    return candidates | {name: inflated(kernel, channels)}, f"{name}: from 3 to {channels} input channels"


def read_state(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a `.pth` or `.safetensors` file, by name; nothing but tensors is ever unpickled."""
    refuse_missing_weights(path)
    try:
        state = _read(path)
    except Exception as error:  # a broken pickle raises nearly anything
        raise WeightsError(f"{path}: cannot be read as weights ({_reason(path, error)}); {_SAVE}") from error
    if isinstance(state, dict):
        state = next((state[key] for key in ("state_dict", "model") if isinstance(state.get(key), dict)), state)
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: holds no table of tensors by name; {_SAVE}")
    size = path.stat().st_size
    if claiming := [str(name) for name, value in state.items() if not _is_held(value, size)]:
        raise WeightsError(f"{path}: {claiming[0]} claims more numbers than the file holds; {_SAVE}")
    return {str(name): value for name, value in state.items()}


_SAVE = "pass a state dict alone, as torch.save(model.state_dict(), FILE) writes it"


def _is_held(value: Tensor, size: int) -> bool:
    """Whether a tensor's numbers can lie in a file of so many bytes: one may repeat a few without end."""
    return value.layout is torch.strided and not value.is_meta and value.numel() * value.element_size() <= size


def _reason(path: Path, error: Exception) -> str:
    """Why a file is not read. Torch's own words tell how to unpickle what may be dangerous: its find alone is told."""
    if not isinstance(error, OSError) and kind_of(path) in ("empty", "text", "unknown"):
        return describe(path)
    if not isinstance(error, UnpicklingError):
        return first_line(error)
    named = re.search(r"(?:GLOBAL|class) ([\w.]+)", str(error))
    return f"it names {named[1]}, and only tensors are admitted" if named else "it is no table of tensors alone"


def download_state(network: str) -> Mapping[str, Tensor]:
    """Torchvision's or timm's ImageNet weights of a network, from the cache or the network."""
    if network.startswith(PREFIX):
        return timm_state(network)
    if network not in WEIGHTS:
        raise WeightsError(
            f"{network}: has no published weights for PyTorch; make some with rcnn pretrain, "
            "or pass --backbone-weights FILE or none"
        )
    return fetch(WEIGHTS[network], network, "--backbone-weights FILE or none")


def fetch(weights: WeightsEnum, name: str, instead: str) -> Mapping[str, Tensor]:
    """One of torchvision's published state dicts; raises WeightsError, with what to pass `instead`, when offline."""
    try:
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # no network, a wrong hash, or a torn file in the cache
        raise WeightsError(
            f"{name}: its weights can be neither read from {torch.hub.get_dir()} nor downloaded "
            f"({first_line(error)}); pass {instead}"
        ) from error


def _read(path: Path) -> object:
    kind = kind_of(path)
    if path.suffix == ".safetensors" or kind == "safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if kind == "archive":
        _refuse_compressed(path)
    with warnings.catch_warnings():  # of pickles that torch did not write: they are refused or they are tensors
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _refuse_compressed(path: Path) -> None:
    """Raise ValueError for an archive whose content is larger than it, which torch never writes."""
    with ZipFile(path) as archive:
        if any(member.compress_type != ZIP_STORED for member in archive.infolist()):
            raise ValueError("its archive is compressed, as torch.save never does")


_WRAPPERS = ("", "features.", "module.", "backbone.", "backbone.body.", "module.features.")
_PARTS = ("", "features.", "trunk_output.", "layers.")
"""What torchvision's families call a part of the layers that come one after the other here."""


def _strip(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as the trunk has them: a classifier's `features.`, and wrappers' prefixes, are taken off.

    A part under a prefix of its own (a RegNet's `trunk_output.`) is found too, and timm's `stages.0` in `stages_0`.
    """
    renamed = [{k.removeprefix(p): v for k, v in state.items() if k.startswith(p)} for p in _WRAPPERS]
    best = max(renamed, key=lambda names: len(names.keys() & own.keys()))
    plain = {re.sub(r"^network\.(model\.)?", "", name).replace(".", "_"): name for name in own}
    return {_placed(name, own, plain): value for name, value in best.items()}


def _placed(name: str, own: Mapping[str, Tensor], plain: Mapping[str, str]) -> str:
    """What the trunk calls a tensor of the weights; its own name if nothing there does."""
    bare = [name.removeprefix(prefix) for prefix in _PARTS]
    found = next((other for other in bare if other in own), None)
    return found or next((plain[n.replace(".", "_")] for n in bare if n.replace(".", "_") in plain), name)


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (-1, name)
