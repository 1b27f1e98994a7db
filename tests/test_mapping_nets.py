"""Tables of nets, and the layers that torch models are traced to."""

from dataclasses import replace

import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.mapping.layers import Convolution, Product
from narrowgauge.golden.mapping.nets import make, mobilenet_v2, resnet18, transformer


def test_products_of_the_nets() -> None:
    # The published counts: 1.81 G, 0.30 G; and of the block, 12 width^2 + 2 length width a token.
    assert sum(layer.macs for layer in resnet18(1)) == 1_814_073_344
    assert sum(layer.macs for layer in mobilenet_v2(1)) == 300_774_272
    tokens = 2 * 128
    assert sum(layer.macs for layer in transformer(2)) == tokens * (12 * 512**2 + 2 * 128 * 512)


def test_tables() -> None:
    layers = {layer.name: layer for layer in resnet18(4)}
    assert len(layers) == 21
    stem = layers["conv1"]
    assert isinstance(stem, Convolution)
    assert stem.passes == ("forward", "dw")
    last = layers["layer4.1.conv2"]
    assert isinstance(last, Convolution)
    assert (last.channels, last.outputs, last.size) == (512, 512, (7, 7))
    kinds = [layer.kind for layer in mobilenet_v2(1)]
    assert [kinds.count(k) for k in ("first", "depthwise", "pointwise", "fc")] == [1, 17, 34, 1]
    with pytest.raises(UsageError, match="no net 'vgg'; nets: resnet18, mobilenet_v2, transformer"):
        make("vgg", 1)
    with pytest.raises(UsageError, match="width must be a multiple of heads=7, got 512"):
        transformer(heads=7)


def test_traced_convolutions() -> None:
    torch = pytest.importorskip("torch")
    from torch import nn

    from narrowgauge.golden.training.shapes import trace

    def conv(before: int, after: int, kernel: int, stride: int = 1) -> nn.Module:
        return nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.conv2 = conv(before, after, 3, stride), conv(after, after, 3)
            self.downsample = conv(before, after, 1, stride) if stride > 1 else nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv2(torch.relu(self.conv1(x))) + self.downsample(x)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = conv(3, 64, 7, 2)
            self.pool = nn.MaxPool2d(3, 2, 1)
            sizes = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
            for number, (before, after, stride) in enumerate(sizes, 1):
                blocks = nn.Sequential(Block(before, after, stride), Block(after, after, 1))
                setattr(self, f"layer{number}", blocks)
            self.fc = nn.Linear(512, 1000)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.pool(self.conv1(x))
            for number in range(1, 5):
                x = getattr(self, f"layer{number}")(x)
            return self.fc(x.mean((2, 3)))

    assert trace(Net(), torch.zeros(2, 3, 64, 64)) == resnet18(2, 64)
    with pytest.raises(UsageError, match="plain and of two axes, got one transposed"):
        trace(nn.ConvTranspose2d(2, 3, 3), torch.zeros(1, 2, 4, 4))


def test_products_that_are_not_followed_are_an_error() -> None:
    torch = pytest.importorskip("torch")
    from torch import nn

    from narrowgauge.golden.training.shapes import trace

    with pytest.raises(UsageError, match=r"^model: the products of aten\.mkldnn_rnn_layer"):
        trace(nn.LSTM(4, 5), torch.zeros(3, 2, 4))
    with pytest.raises(UsageError, match=r"^model: the products of aten\._trilinear"):
        trace(nn.Bilinear(3, 3, 4), torch.zeros(2, 3), torch.zeros(2, 3))


def test_traced_attention() -> None:
    torch = pytest.importorskip("torch")
    from torch import nn

    from narrowgauge.golden.training.shapes import trace

    model = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    found = [replace(layer, name="") for layer in trace(model, torch.zeros(2, 8, 32))]
    want = [replace(layer, name="") for layer in transformer(2, 8, 32, 4, 64)]
    products = [layer for layer in want if isinstance(layer, Product)]
    assert [layer for layer in found if isinstance(layer, Product)] == products
    # Torch makes query, key and value in one.
    assert sum(layer.macs for layer in found) == sum(layer.macs for layer in want)
