"""Random weights that find things, under detectron2's names: those of torchvision's detector, and of a C4 one."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from rcnn.bench.calibrated import calibrated, resized, tensor
from rcnn.bench.pictures import Picture
from rcnn.bench.predict import untrained
from rcnn.compat.fitting import Rename, renamed_by

Sides = tuple[int, int]
"""The short side of a resized picture, and the longest that its long side may be, in pixels."""
USUAL: Sides = (800, 1333)


def random_state(classes: int, picture: Picture, sides: Sides = USUAL) -> dict[str, Tensor]:
    """R-50 and its pyramid, which find objects of many classes in such a picture."""
    return renamed(_torchvisions(classes, picture, sides).state_dict())


@torch.no_grad()
def random_c4_state(classes: int, picture: Picture, sides: Sides = USUAL) -> dict[str, Tensor]:
    """R-50 cut after its fourth stage, its last stage looking at each region, which find things too."""
    theirs = _torchvisions(classes, picture, sides)
    body = theirs.backbone.body
    images, _ = theirs.transform([tensor(picture)])
    shared = images.tensors
    for name, layer in body.named_children():
        shared = shared if name == "layer4" else layer(shared)
    names = {name: value for name, value in theirs.state_dict().items() if name.startswith("backbone.body.")}
    parts = {_c4_name(name): value for name, value in renamed(names).items()}
    generator = torch.Generator().manual_seed(0)
    return parts | _random_rpn(shared, generator) | _random_predictor(shared, body.layer4, classes, generator)


def _torchvisions(classes: int, picture: Picture, sides: Sides) -> Any:
    return calibrated(resized(untrained("fasterrcnn_resnet50_fpn", classes), *sides), [picture])


def _c4_name(name: str) -> str:
    return name.replace("backbone.bottom_up.res5.", "roi_heads.res5.").replace("backbone.bottom_up.", "backbone.")


def _random_rpn(shared: Float[Tensor, "1 C h w"], generator: torch.Generator) -> dict[str, Tensor]:
    """A network of 15 anchors a cell whose scores spread."""
    channels = shared.shape[1]
    conv = torch.randn(channels, channels, 3, 3, generator=generator) * (2 / (9 * channels)) ** 0.5
    hidden = F.relu(F.conv2d(shared, conv, padding=1))
    rows = hidden.flatten(2)[0].T  # [cells, C]
    prefix = "proposal_generator.rpn_head."
    state = {f"{prefix}conv.weight": conv, f"{prefix}conv.bias": torch.zeros(channels)}
    for name, outputs, spread in (("objectness_logits", 15, 1.5), ("anchor_deltas", 60, 0.03)):
        weight, bias = _spread(rows, outputs, spread, generator)
        state |= {f"{prefix}{name}.weight": weight[:, :, None, None], f"{prefix}{name}.bias": bias}
    return state


def _random_predictor(
    shared: Float[Tensor, "1 C h w"], stage: nn.Module, classes: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Class and box layers whose outputs spread over regions all over the picture."""
    height, width = shared.shape[2:]
    corner = torch.rand(60, 2, generator=generator) * torch.tensor([width, height]) * 0.7
    side = 2 + torch.rand(60, 2, generator=generator) * torch.tensor([width, height]) * 0.4
    boxes = torch.cat((corner, corner + side), dim=1)
    rows = stage(roi_align(shared, [boxes], 14, 1.0, 2, aligned=True)).mean((2, 3))
    state: dict[str, Tensor] = {}
    for name, outputs, spread in (("cls_score", classes + 1, 0.5), ("bbox_pred", 4 * classes, 0.03)):
        weight, bias = _spread(rows, outputs, spread, generator)
        state |= {f"roi_heads.box_predictor.{name}.{kind}": v for kind, v in (("weight", weight), ("bias", bias))}
    return state


def _spread(
    rows: Float[Tensor, "N C"], outputs: int, spread: float, generator: torch.Generator
) -> tuple[Float[Tensor, "K C"], Float[Tensor, "K"]]:
    """Random weights and the bias for which what they make of some rows has mean 0 and the given deviation."""
    weight = torch.randn(outputs, rows.shape[1], generator=generator)
    made = rows @ weight.T
    weight = weight * (spread / made.std(dim=0))[:, None]
    return weight, -(rows @ weight.T).mean(dim=0)


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Torchvision's state dict as detectron2 has it: blue, green, red to 255; the background last, without deltas."""
    spread = torch.tensor((0.229, 0.224, 0.225))[:, None, None] * 255
    changes: Mapping[str, Callable[[Tensor], Tensor]] = {
        "backbone.body.conv1.weight": lambda weight: (weight / spread).flip(1),
        "roi_heads.box_predictor.cls_score.weight": lambda weight: weight.roll(-1, 0),
        "roi_heads.box_predictor.cls_score.bias": lambda bias: bias.roll(-1, 0),
        "roi_heads.box_predictor.bbox_pred.weight": lambda weight: weight[4:],
        "roi_heads.box_predictor.bbox_pred.bias": lambda bias: bias[4:],
    }
    kept = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    return {
        renamed_by(name, _RENAMES): changes[name](value) if name in changes else value for name, value in kept.items()
    }


_RENAMES: tuple[Rename, ...] = (
    (r"^backbone\.body\.layer(\d)\.", lambda found: f"backbone.bottom_up.res{int(found[1]) + 1}."),
    (r"^backbone\.body\.", "backbone.bottom_up.stem."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
    (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"^backbone\.fpn\.inner_blocks\.(\d)\.0\.", lambda found: f"backbone.fpn_lateral{int(found[1]) + 2}."),
    (r"^backbone\.fpn\.layer_blocks\.(\d)\.0\.", lambda found: f"backbone.fpn_output{int(found[1]) + 2}."),
    (r"^rpn\.head\.conv\.0\.0\.", "proposal_generator.rpn_head.conv."),
    (r"^rpn\.head\.cls_logits\.", "proposal_generator.rpn_head.objectness_logits."),
    (r"^rpn\.head\.bbox_pred\.", "proposal_generator.rpn_head.anchor_deltas."),
    (r"^roi_heads\.box_head\.fc(\d)\.", lambda found: f"roi_heads.box_head.fc{int(found[1]) - 5}."),
)
