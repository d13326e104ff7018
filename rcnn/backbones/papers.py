"""The networks of the R-CNN papers up to conv5, without the pooling after it: total stride 16, five stages.

Their names there: S (CaffeNet), M (VGG_CNN_M_1024), L (VGG16), ZF-5 (Zeiler and Fergus). Names of layers are those of
the published files. How a canvas of 32k pixels a side is covered:

- `caffenet`, `zf`, `vgg16`: 2k cells, cell i around pixel 16i (VGG16: 16i + 7.5).
- `alexnet`: 2k - 1 cells around 16i + 15; `vgg-m`: 2k - 1 cells around 16i + 17, its poolings rounded up as Caffe's
  are. They pad less than they cut. Where a canvas has a side under 288, canvas // cells is more than 16.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import vgg

from rcnn.backbones.trunk import Trunk


class WithinChannelNorm(nn.Module):
    """Local response normalisation over a window of each channel by itself (Caffe's WITHIN_CHANNEL).

    Each value is divided by (1 + alpha * mean of the squares in the window) ** beta; outside the map there are zeros,
    and they count.
    """

    def __init__(self, size: int, alpha: float, beta: float) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The normalised features."""
        mean = F.avg_pool2d(x * x, self.size, stride=1, padding=self.size // 2)
        return x * (1 + self.alpha * mean) ** -self.beta


def caffenet() -> Trunk:
    """S: the AlexNet of Caffe, padded so that its map covers the picture (Fast R-CNN's); conv2, 4, 5 in two groups."""
    layers = {
        **_convolution(1, 3, 96, 11, 4, 5),
        "pool1": nn.MaxPool2d(3, 2, 1),
        "norm1": nn.LocalResponseNorm(5, 1e-4, 0.75),
        **_convolution(2, 96, 256, 5, 1, 2, groups=2),
        "pool2": nn.MaxPool2d(3, 2, 1),
        "norm2": nn.LocalResponseNorm(5, 1e-4, 0.75),
        **_convolution(3, 256, 384),
        **_convolution(4, 384, 384, groups=2),
        **_convolution(5, 384, 256, groups=2),
    }
    return _trunk(layers, {"relu1": (96, 4), "relu2": (256, 8), "relu5": (256, 16)}, _RELUS)


def vgg_m() -> Trunk:
    """M: VGG_CNN_M_1024 (Chatfield et al., arXiv 1405.3531)."""
    layers = {
        **_convolution(1, 3, 96, 7, 2, 0),
        "norm1": nn.LocalResponseNorm(5, 5e-4, 0.75, k=2),
        "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
        **_convolution(2, 96, 256, 5, 2, 1),
        "norm2": nn.LocalResponseNorm(5, 5e-4, 0.75, k=2),
        "pool2": nn.MaxPool2d(3, 2, ceil_mode=True),
        **_convolution(3, 256, 512),
        **_convolution(4, 512, 512),
        **_convolution(5, 512, 512),
    }
    return _trunk(layers, {"pool1": (96, 4), "relu2": (256, 8), "relu5": (512, 16)}, _RELUS)


def zf() -> Trunk:
    """ZF-5, as SPPnet and Faster R-CNN have it: norms within the channel."""
    layers = {
        **_convolution(1, 3, 96, 7, 2, 3),
        "norm1": WithinChannelNorm(3, 5e-5, 0.75),
        "pool1": nn.MaxPool2d(3, 2, 1),
        **_convolution(2, 96, 256, 5, 2, 2),
        "norm2": WithinChannelNorm(3, 5e-5, 0.75),
        "pool2": nn.MaxPool2d(3, 2, 1),
        **_convolution(3, 256, 384),
        **_convolution(4, 384, 384),
        **_convolution(5, 384, 256),
    }
    return _trunk(layers, {"pool1": (96, 4), "relu2": (256, 8), "relu5": (256, 16)}, _RELUS)


def alexnet() -> Trunk:
    """Torchvision's AlexNet: a close relative of S with fewer channels, less padding, neither groups nor norms."""
    taps = {"1": (64, 4), "4": (192, 8), "11": (256, 16)}
    layers = [
        *_convolution(1, 3, 64, 11, 4, 2).values(),
        nn.MaxPool2d(3, 2),
        *_convolution(2, 64, 192, 5, 1, 2).values(),
        nn.MaxPool2d(3, 2),
        *_convolution(3, 192, 384).values(),
        *_convolution(4, 384, 256).values(),
        *_convolution(5, 256, 256).values(),
    ]
    return _trunk({str(place): layer for place, layer in enumerate(layers)}, taps, ("1", "4", "7", "9", "11"))


def vgg16() -> Trunk:
    """L: torchvision's VGG16."""
    taps = {"15": (256, 4), "22": (512, 8), "29": (512, 16)}
    layers = dict(list(vgg.make_layers(vgg.cfgs["D"]).named_children())[:-1])  # without the last pooling
    return _trunk(layers, taps, ("3", "8", "15", "22", "29"))


_RELUS = ("relu1", "relu2", "relu3", "relu4", "relu5")


def _convolution(
    number: int, before: int, after: int, kernel: int = 3, stride: int = 1, padding: int = 1, groups: int = 1
) -> dict[str, nn.Module]:
    convolution = nn.Conv2d(before, after, kernel, stride, padding, groups=groups)
    return {f"conv{number}": convolution, f"relu{number}": nn.ReLU(inplace=True)}


def _trunk(layers: dict[str, nn.Module], taps: dict[str, tuple[int, int]], stages: tuple[str, ...]) -> Trunk:
    """A trunk with random weights that keep the size of the activations; `taps` have channels and stride."""
    for layer in layers.values():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    channels, strides = zip(*taps.values(), strict=True)
    return Trunk(layers, tuple(taps), channels, strides, stages)
