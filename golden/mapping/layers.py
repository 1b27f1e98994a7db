"""Layers: convolutions of two axes, of which fully connected ones are a case, and products.

A convolution sums y[n, o, oy, ox] over the channels of its group and the taps (kh, kw); a fully
connected layer has one tap and one pixel, and as many images as vectors. A product is that of
attention: `instances` of (rows x inner) times (inner x columns), no operand of which is a weight.
"""

from dataclasses import dataclass, fields
from typing import ClassVar

from narrowgauge.golden.errors import UsageError

__all__ = ["PASSES", "Convolution", "Layer", "Product", "linear"]

PASSES = ("forward", "dx", "dw")
"""Outputs; gradient of the input; gradient of the weights. Of a product: of its two operands."""


def _positive(layer: "Layer") -> None:
    for field in fields(layer):
        value = getattr(layer, field.name)
        each = value if isinstance(value, tuple) else (value,)
        if field.name in ("name", "first"):
            continue
        least = 0 if field.name == "padding" else 1
        for number in each:
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise UsageError(
                    f"{layer.name}: {field.name} must be at least {least}, got {number!r}"
                )
        if isinstance(value, tuple) and len(value) != 2:
            raise UsageError(f"{layer.name}: {field.name} must be of two axes, got {value}")


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A convolution.

    Parameters
    ----------
    name : of the layer, unique in its net
    batch : images
    channels, outputs : of the input and of the output, multiples of groups
    size : height and width of the input
    kernel, stride, padding, dilation : of both axes
    groups : of channels; as many as channels make a depthwise layer
    first : nothing asks for the gradient of its input
    """

    name: str
    batch: int
    channels: int
    outputs: int
    size: tuple[int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    first: bool = False

    def __post_init__(self) -> None:
        _positive(self)
        for name in ("channels", "outputs"):
            if getattr(self, name) % self.groups:
                raise UsageError(
                    f"{self.name}: {name} must be a multiple of groups={self.groups}, "
                    f"got {getattr(self, name)}"
                )
        if min(self.made) < 1:
            raise UsageError(
                f"{self.name}: a kernel of {self.kernel} does not fit into {self.size}"
            )

    @property
    def made(self) -> tuple[int, int]:
        """Height and width of the output."""
        each = zip(self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        high, wide = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in each)
        return high, wide

    @property
    def taps(self) -> int:
        """Taps of the kernel."""
        return self.kernel[0] * self.kernel[1]

    @property
    def kind(self) -> str:
        """The type of layer: depthwise, grouped, fc, pointwise, or kxk."""
        if self.groups > 1:
            return "depthwise" if self.groups == self.channels == self.outputs else "grouped"
        if self.taps == 1:
            return "fc" if self.size == (1, 1) else "pointwise"
        return "first" if self.first else "conv"

    @property
    def macs(self) -> int:
        """Products of a pass, those with padding included."""
        high, wide = self.made
        each = self.channels // self.groups * self.taps
        return self.batch * self.outputs * high * wide * each

    @property
    def passes(self) -> tuple[str, ...]:
        """The passes of a step of training."""
        return tuple(p for p in PASSES if p != "dx" or not self.first)


@dataclass(frozen=True, kw_only=True)
class Product:
    """Products of matrices, none of which is a weight.

    Parameters
    ----------
    name : of the layer
    instances : products, batch times heads
    rows, inner, columns : (rows x inner) times (inner x columns)
    """

    name: str
    instances: int
    rows: int
    inner: int
    columns: int
    kind: ClassVar[str] = "attention"
    passes: ClassVar[tuple[str, ...]] = PASSES

    def __post_init__(self) -> None:
        _positive(self)

    @property
    def macs(self) -> int:
        """Products of numbers of a pass."""
        return self.instances * self.rows * self.inner * self.columns


Layer = Convolution | Product


def linear(name: str, vectors: int, inputs: int, outputs: int) -> Convolution:
    """A fully connected layer of so many vectors."""
    return Convolution(name=name, batch=vectors, channels=inputs, outputs=outputs, size=(1, 1))
