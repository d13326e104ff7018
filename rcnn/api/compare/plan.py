"""What is compared: the settings of each method, and how a study's runs differ from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rcnn.api.compare.record import Settings
from rcnn.api.data import Data
from rcnn.api.loading import Precision
from rcnn.backbones.classifier import FULLY_CONNECTED
from rcnn.backbones.networks import has_weights, network
from rcnn.backbones.timm_networks import PREFIX
from rcnn.backbones.weights import read_state
from rcnn.config import Config
from rcnn.data import Format, Policy
from rcnn.errors import ConfigError, WeightsError
from rcnn.presets.family import METHODS, check_names
from rcnn.presets.overrides import OPTIONS, override, preset
from rcnn.presets.sources import config_of
from rcnn.proposals.selective_search import Mode
from rcnn.runs import RunFolder, read_metadata

SEARCHING = ("rcnn", "sppnet", "fast-rcnn")
"""Methods that need regions from outside."""
NUMBERS: dict[Mode, tuple[int, ...]] = {
    "fast": (50, 100, 200, 300, 500, 1000, 1500, 2000),
    "quality": (50, 100, 200, 300, 500, 1000, 1500, 2000, 3000, 5000, 10_000),
}
"""Of proposals a picture that are studied: as many as a mode of selective search finds."""
NAMES = {"rcnn": "R-CNN", "sppnet": "SPPnet", "fast-rcnn": "Fast R-CNN", "faster-rcnn": "Faster R-CNN"}
_MODERN = ("rcnn-mobilenet", "sppnet-mobilenet", "fast-rcnn-mobilenet-fpn", "faster-rcnn-mobilenet-fpn")
_PAPERS = {
    "alexnet": ("rcnn-alexnet", "sppnet-zf", "fast-rcnn-alexnet", "faster-rcnn-zf"),
    "caffenet": ("rcnn-alexnet", "sppnet-zf", "fast-rcnn-alexnet", "faster-rcnn-zf"),
    "vgg-m": ("rcnn-alexnet", "sppnet-zf", "fast-rcnn-vgg-m", "faster-rcnn-zf"),
    "zf": ("rcnn-alexnet", "sppnet-zf", "fast-rcnn-alexnet", "faster-rcnn-zf"),
    "vgg16": ("rcnn-vgg16", "sppnet-zf", "fast-rcnn-vgg16", "faster-rcnn-vgg16"),
}
"""The presets that the methods begin with, in the order of METHODS: with a network of the papers, the papers' own."""


@dataclass(frozen=True)
class Recipe:
    """A run: its name, which is also its folder's, and its settings."""

    name: str
    config: Config

    @property
    def method(self) -> str:
        """The method that it trains."""
        return self.config.model.method


@dataclass(frozen=True)
class Asked:
    """What a comparison is asked for, as the command line has it; `sets` are texts as "training.lr=0.01"."""

    methods: Sequence[str] = METHODS
    studies: Sequence[str] = ()
    backbone: str = "mobilenet-v2"
    backbone_weights: Path | str | None = None
    given: Mapping[str, Path] = field(default_factory=dict)
    """Runs that are taken instead of trained, by method."""
    epochs: int | None = None
    size: int | None = None
    seed: int | None = None
    workers: int | None = None
    sets: Sequence[str] = ()
    sets_for: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Settings of one method alone."""
    split: str = "test"
    train_split: str | None = None
    val_split: str | None = None
    proposals: Path | None = None
    device: str = "auto"
    precision: Precision | None = None
    """Of training, as each method's settings say unless given; and of measuring, fp32 unless given."""
    bad_boxes: Policy = "fail"
    format: Format | None = None
    search_workers: int = 0
    timed: int = 5
    repeats: int = 3


@dataclass(frozen=True)
class Plan:
    """A comparison that can begin."""

    data: Data
    out: Path
    asked: Asked
    configs: Mapping[str, Config]
    """By method, in the papers' order."""

    @property
    def methods(self) -> tuple[str, ...]:
        """What is compared, in the papers' order."""
        return tuple(self.configs)

    def base(self, method: str) -> Recipe:
        """The run of a method itself."""
        return Recipe(method, self.configs[method])

    def variant(self, name: str, method: str, settings: Mapping[str, object]) -> Recipe:
        """A method's run with other settings; the run of the method itself where they are no others."""
        config = override(self.configs[method], None, (), settings)
        return self.base(method) if config == self.configs[method] else Recipe(name, config)

    def folder(self, recipe: Recipe) -> RunFolder:
        """Where a run is, or will be."""
        given = self.asked.given.get(recipe.name)
        return RunFolder(given or self.out / recipe.name)

    @property
    def settings(self) -> Settings:
        """What the plan depends on, as plain values."""
        asked = self.asked
        return Settings(
            data=str(self.data) if isinstance(self.data, Path | str) else "samples",
            backbone=asked.backbone,
            backbone_weights=None if asked.backbone_weights is None else str(asked.backbone_weights),
            split=asked.split,
            train_split=asked.train_split,
            val_split=asked.val_split,
            proposals=None if asked.proposals is None else str(asked.proposals),
            device=asked.device,
            precision=asked.precision,
            timed=asked.timed,
            repeats=asked.repeats,
            given={method: str(run) for method, run in asked.given.items()},
            configs={method: config.model_dump(mode="json") for method, config in self.configs.items()},
        )


def make_plan(data: Data, out: Path, asked: Asked) -> Plan:
    """The settings of each method; raises an error for what does not go together, before anything is written."""
    check_names(asked.methods, asked.given, asked.sets_for, asked.backbone)
    _check_backbone(asked)
    if asked.proposals is not None and not asked.proposals.is_file():
        raise ConfigError(f"{asked.proposals}: no such file; give --proposals a file of rcnn propose, or leave it out")
    methods = [method for method in METHODS if method in asked.methods]
    configs = {m: _given(m, asked) if m in asked.given else _trained(m, asked) for m in methods}
    _check_modes({method: config for method, config in configs.items() if method not in asked.given})
    return Plan(data, out, asked, configs)


def _check_backbone(asked: Asked) -> None:
    name, weights = asked.backbone, asked.backbone_weights
    if set(asked.methods) <= set(asked.given):
        return
    if name.startswith(PREFIX):
        network(name)  # timm is asked now, not after hours of search
    if weights is None and not has_weights(name):
        raise ConfigError(
            f"--backbone {name}: no pretrained weights of it can be downloaded; pass --backbone-weights FILE, "
            "which rcnn pretrain makes, or none for random ones"
        )
    if weights not in (None, "none") and not Path(str(weights)).is_file():
        raise WeightsError(f"{weights}: no such file; give --backbone-weights a file of weights, or none")
    if weights not in (None, "none"):
        read_state(Path(str(weights)))  # before hours of search: what cannot be read is told now


def _check_modes(configs: Mapping[str, Config]) -> None:
    """Regions are searched for once, for all methods that need some."""
    modes = {method: config.model.proposals.mode for method, config in configs.items() if method in SEARCHING}
    if len(set(modes.values())) > 1:
        told = ", ".join(f"{mode} of {method}" for method, mode in modes.items())
        raise ConfigError(f"model.proposals.mode: {told}; all methods share one search, so give one mode for all")


def _trained(method: str, asked: Asked) -> Config:
    """The settings of a method that is trained here."""
    presets = _PAPERS.get(asked.backbone, _MODERN)
    base = override(preset(presets[METHODS.index(method)]), None, (), _network(asked.backbone))
    options: dict[str, object] = {
        "training.epochs": asked.epochs,
        "training.seed": asked.seed,
        "training.workers": asked.workers,
        "training.precision": asked.precision,
    }
    if asked.size is not None:
        options |= {"input.short": asked.size, "input.long": asked.size * 5 // 3}
    shared = override(base, None, asked.sets, options, OPTIONS)
    config = override(shared, None, asked.sets_for.get(method, ()), {})
    if config.model.method != method or config.model.backbone != asked.backbone:
        raise ConfigError("--set model.method, model.backbone: are what --methods and --backbone say; leave them out")
    return config


def _network(backbone: str) -> dict[str, object]:
    """A network as a preset takes it: a network of the papers with fully connected layers of its own size."""
    layers = FULLY_CONNECTED.get(backbone)
    sizes = {"model.head.widths": list(layers.widths), "model.head.pool": layers.grid} if layers else {}
    return {"model.backbone": backbone, **sizes}


def _given(method: str, asked: Asked) -> Config:
    """The settings of a run that is taken as it is."""
    run = asked.given[method]
    if not run.is_dir():
        raise ConfigError(f"--run {method}={run}: no such folder; give one that rcnn train made")
    config = config_of(read_metadata(RunFolder(run).best), RunFolder(run).best)
    if config.model.method != method:
        raise ConfigError(f"--run {method}={run}: its method is {config.model.method}; give it under that name")
    if config.model.backbone != asked.backbone:
        raise ConfigError(
            f"--run {method}={run}: its backbone is {config.model.backbone} and the comparison's {asked.backbone}; "
            f"pass --backbone {config.model.backbone}, or another run"
        )
    if asked.sets_for.get(method):
        raise ConfigError(f"--set-for {method}: its run is given, with settings of its own; leave one of the two out")
    return config
