"""From pictures in class folders, or CIFAR-10, to a classifier whose weights a detector's backbone begins with."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rcnn.api.loading import uses_bf16
from rcnn.backbones.classifier import FULLY_CONNECTED, classifier, last_layer
from rcnn.backbones.networks import WEIGHTS
from rcnn.backbones.weights import LoadReport, fetch, fill, read_state
from rcnn.config.pretraining import PretrainSettings, checked
from rcnn.data.checking import check_pictures
from rcnn.data.cifar import is_cifar10, read_cifar10
from rcnn.data.class_batches import ClassBatches, key_of
from rcnn.data.class_folders import ClassData, read_class_folders
from rcnn.errors import ConfigError, DataError, WeightsError
from rcnn.runs import read_metadata
from rcnn.sample import Sample
from rcnn.training.classify import ClassifierSession, Phase, state_file
from rcnn.training.session import Listener, choose_device

KIND = "pretraining"
"""What the files' metadata calls themselves."""


@dataclass(frozen=True)
class PreparedClassifier:
    """A pretraining that can begin."""

    session: ClassifierSession
    settings: PretrainSettings
    class_names: tuple[str, ...]
    report: LoadReport | None
    """What of the weights to begin with fitted; None without them."""


def prepare_pretraining(
    folder: Path | str,
    out: Path | str,
    listener: Listener,
    settings: Mapping[str, object] | None = None,
    *,
    device: str = "auto",
    workers: int = 0,
    resume: bool = False,
    overwrite: bool = False,
) -> PreparedClassifier:
    """Everything for pretraining on `folder` towards the file `out`; `.session.run()` trains.

    `settings` are those of `PretrainSettings` by name; those that are None were not given. Raises ConfigError,
    DataError or WeightsError for what is wrong in them.
    """
    out, folder, where = Path(out), Path(folder), choose_device(device)
    given = {name: value for name, value in (settings or {}).items() if value is not None}
    stored = _stored(out, resume, overwrite)
    chosen = checked(given) if stored is None else _resumed(given, stored)
    data = _read(folder)
    chosen = _resolved(chosen, is_cifar10(folder))
    metadata = {"kind": KIND, "settings": chosen.model_dump(), "class_names": data.class_names, "data": _mark(data)}
    if stored is not None and stored["data"] != metadata["data"]:
        raise ConfigError(f"--resume: {folder} has other pictures than when it began; restore them, or --overwrite")
    model, report = _model(chosen, len(data.class_names), stored is None)
    phases, batches = _phases(chosen), _batches(data, chosen, workers, pinned=where.type == "cuda")
    bf16, model = uses_bf16(chosen.precision, where), model.to(where)
    session = ClassifierSession(
        model, last_layer(model), phases, *batches, out, metadata, where, listener, bf16, chosen.seed
    )
    if stored is not None:
        session.resume()
    else:
        _make_room(out)
    return PreparedClassifier(session, chosen, data.class_names, report)


def is_finished(out: Path) -> bool:
    """Whether a pretraining towards the file `out` has come to its end."""
    return out.is_file() and not state_file(out).exists()


def _stored(out: Path, resume: bool, overwrite: bool) -> Mapping[str, Any] | None:
    """What a pretraining that goes on says of itself; None for one that begins, which needs its file free."""
    state = state_file(out)
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite: give one of them")
    if out.suffix not in (".safetensors", ".pth") or out.is_dir():
        raise ConfigError(f"--out {out}: give the name of a file that ends in .safetensors or .pth")
    if any(place.exists() and not place.is_dir() for place in out.parents):
        raise ConfigError(f"--out {out}: inside of a file; give it a place in a folder")
    if not resume:
        found = next((file for file in (state, out) if file.exists()), None)
        if found and not overwrite:
            raise ConfigError(f"{found}: exists; pass --resume to go on with it, or --overwrite to begin anew")
        return None
    if not state.exists():
        finished = f"{out}: finished" if out.exists() else f"{state}: no such file"
        raise ConfigError(f"{finished}, so there is nothing to go on with; pass --overwrite to begin anew")
    metadata = read_metadata(state)
    if metadata.get("kind") != KIND:
        raise WeightsError(f"{state}: not the state of rcnn pretrain; pass another --out")
    return metadata


def _resumed(given: Mapping[str, object], stored: Mapping[str, Any]) -> PretrainSettings:
    """The settings that it began with; raises ConfigError where others are given."""
    begun = PretrainSettings.model_validate(stored["settings"])
    now = checked(begun.model_dump() | dict(given))
    for name in given:
        before, after = getattr(begun, name), getattr(now, name)
        if before != after:
            option = name.replace("_", "-")
            raise ConfigError(f"--resume: --{option} is {after}, but it began with {before}; resume with that")
    return begun


def _resolved(settings: PretrainSettings, cifar: bool) -> PretrainSettings:
    """The settings with what was left open decided."""
    decided = {
        "frozen_epochs": 2 if _pretrained(settings) else 0,
        "lr": 1e-4 if settings.backbone in FULLY_CONNECTED else 1e-3,  # without norms more makes them diverge
        "size": 64 if cifar else 224,
    }
    given = settings.model_dump(exclude_none=True)
    return settings.model_copy(update={name: value for name, value in decided.items() if name not in given})


def _pretrained(settings: PretrainSettings) -> bool:
    return settings.weights != "none" and (settings.weights is not None or settings.backbone in WEIGHTS)


def _read(folder: Path) -> ClassData:
    """The pictures, each of which has been looked at."""
    data = read_cifar10(folder) if is_cifar10(folder) else read_class_folders(folder)
    findings = check_pictures(Sample(f"{n}/{p.id}", p.picture) for n, p in enumerate((*data.train, *data.val)))
    if findings:
        more = f" (and {len(findings) - 1} more such pictures)" if len(findings) > 1 else ""
        raise DataError(f"{findings[0].file}: {findings[0].detail}{more}")
    return data


def _mark(data: ClassData) -> str:
    """What changes when a picture comes, goes or changes its class or side."""
    parts = [[(p.id, p.label) for p in part] for part in (data.train, data.val)]
    return f"{key_of(json.dumps(parts), *data.class_names):016x}"


def _model(settings: PretrainSettings, classes: int, begins: bool) -> tuple[nn.Module, LoadReport | None]:
    """The classifier, with the weights that it begins with in all but its last layer, which is new."""
    torch.manual_seed(settings.seed)
    model = classifier(settings.backbone, classes)
    report = None
    if begins and _pretrained(settings):
        new = copy.deepcopy(last_layer(model).state_dict())
        report = fill(model, settings.backbone, *_state(settings), option="--weights")
        last_layer(model).load_state_dict(new)
    _check_size(model, settings)
    return model.to(memory_format=torch.channels_last), report  # type: ignore[call-overload]


def _state(settings: PretrainSettings) -> tuple[Mapping[str, Tensor], str]:
    """The weights to begin with, and where they are from."""
    if settings.weights is not None:
        return read_state(Path(settings.weights)), settings.weights
    network = settings.backbone
    return fetch(WEIGHTS[network], network, "--weights FILE or none"), network


def _check_size(model: nn.Module, settings: PretrainSettings) -> None:
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, settings.size or 0, settings.size or 0))
    except RuntimeError as error:
        raise ConfigError(f"--size {settings.size}: too small for {settings.backbone}; give at least 64") from error


def _phases(settings: PretrainSettings) -> list[Phase]:
    rate = settings.lr or 0.0
    return [
        Phase(settings.frozen_epochs or 0, rate, last_only=True),
        Phase(settings.epochs, rate / 10 if _pretrained(settings) else rate, last_only=False),
    ]


def _batches(
    data: ClassData, settings: PretrainSettings, workers: int, pinned: bool
) -> tuple[ClassBatches, ClassBatches]:
    """Those to learn from and those to measure by."""
    size, batch, seed = settings.size or 0, settings.batch, settings.seed
    train = ClassBatches(data.train, size, batch, learning=True, seed=seed, workers=workers, pinned=pinned)
    return train, ClassBatches(data.val, size, batch, learning=False, workers=workers, pinned=pinned)


def _make_room(out: Path) -> None:
    """Remove what another pretraining left, now that all else is in order."""
    out.parent.mkdir(parents=True, exist_ok=True)
    for file in (out, state_file(out)):
        file.unlink(missing_ok=True)
