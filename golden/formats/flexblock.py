"""FB12, FB16 and FB24: block floating point whose groups are boxes of a tensor.

A group shares an exponent of 8 bits; an element has a sign and 4, 8 or 16 bits of magnitude, the
leading one explicit. With M the largest biased exponent of the group and e an element's own,

    magnitude = significand, its leading one in the top bit, shifted right by M - e, cut off

so that nothing is left where M - e + 1 > bits. That is `BFP` with e = 8, m = bits and rounding RTZ,
whose rules hold for the rest: subnormals stand on the grid of exponent field 1, NaN and Inf make
field 255, RNE and stochastic rounding clip at the largest magnitude.

A group is a box, `group` elements along each of the tensor's last axes; other axes are not shared.
Boxes begin at index 0, do not overlap, and are filled up with zeros where the tensor ends inside
one. In memory boxes lie in C order, and so do the elements of each.

Source: Noh et al., "FlexBlock: A Flexible DNN Training Accelerator with Multi-Mode Block Floating
Point Support", IEEE Trans. Computers 2023, whose simulator truncates and has the groups of
`FB12`, `FB16` and `FB24`. Subnormals, NaN, Inf, ends of tensors and memory layout are ours.
"""

import math
import re
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats.bfp import BFP
from narrowgauge.golden.formats.element import Rounding
from narrowgauge.golden.formats.tensor import BlockTensor, bf16_values, dequantize, quantize

__all__ = [
    "FB12",
    "FB16",
    "FB24",
    "BoxBFP",
    "BoxTensor",
    "dequantize_boxes",
    "get_box",
    "quantize_boxes",
    "zero_setting",
]

Ints = npt.NDArray[np.int64]

_NAME = re.compile(r"fb(12|16|24)(?:_g(\d+(?:x\d+)*))?(?:_(rne|rna|rtz|stochastic))?")


@dataclass(frozen=True, kw_only=True)
class BoxBFP:
    """See the module.

    Parameters
    ----------
    bits : bits of a magnitude, 4, 8 or 16
    group : elements of a group along each of the last axes of a tensor
    rounding : any of `Rounding`
    """

    bits: int
    group: tuple[int, ...]
    rounding: Rounding = Rounding.RTZ

    def __post_init__(self) -> None:
        if self.bits not in (4, 8, 16):
            raise UsageError(f"bits must be 4, 8 or 16, got {self.bits}")
        if not self.group or min(self.group) < 1:
            raise UsageError(f"group must be sizes of at least 1, got {self.group}")
        _ = self.block

    @property
    def name(self) -> str:
        """What `get_box` takes."""
        name = f"fb{self.bits + 8}_g{'x'.join(map(str, self.group))}"
        return name if self.rounding is Rounding.RTZ else f"{name}_{self.rounding}"

    @property
    def block(self) -> BFP:
        """The format of a group."""
        return BFP(
            exponent_bits=8,
            mantissa_bits=self.bits,
            k=math.prod(self.group),
            rounding=self.rounding,
        )

    @property
    def bits_per_element(self) -> float:
        """Bits of a whole group over its elements."""
        return self.block.bits_per_element

    def boxes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Groups along each axis of a tensor."""
        if len(shape) < len(self.group):
            raise UsageError(f"a tensor of {self.name} has {len(self.group)} axes, got {shape}")
        return tuple(-(-n // g) for n, g in zip(shape, self._sizes(len(shape)), strict=True))

    def _sizes(self, axes: int) -> tuple[int, ...]:
        return (1,) * (axes - len(self.group)) + self.group

    def split(self, x: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """A tensor as its groups, (groups, k), zeros where it ends."""
        boxes, sizes = self.boxes(x.shape), self._sizes(x.ndim)
        spare = [b * g - n for b, g, n in zip(boxes, sizes, x.shape, strict=True)]
        filled = np.pad(x, [(0, each) for each in spare])
        paired = filled.reshape([n for pair in zip(boxes, sizes, strict=True) for n in pair])
        order = [*range(0, 2 * x.ndim, 2), *range(1, 2 * x.ndim, 2)]
        return np.ascontiguousarray(paired.transpose(order)).reshape(-1, math.prod(sizes))

    def join(
        self, rows: npt.NDArray[np.generic], shape: tuple[int, ...]
    ) -> npt.NDArray[np.generic]:
        """The tensor of its groups, the reverse of `split`."""
        boxes, sizes = self.boxes(shape), self._sizes(len(shape))
        axes = len(shape)
        order = [i for pair in zip(range(axes), range(axes, 2 * axes), strict=True) for i in pair]
        paired = rows.reshape(*boxes, *sizes).transpose(order)
        filled = paired.reshape([b * g for b, g in zip(boxes, sizes, strict=True)])
        return np.ascontiguousarray(filled[tuple(slice(n) for n in shape)])


FB12 = BoxBFP(bits=4, group=(24, 3, 3))
"""216 elements: 24 channels of 3 x 3."""
FB16 = BoxBFP(bits=8, group=(12, 3, 3))
"""108 elements."""
FB24 = BoxBFP(bits=16, group=(6, 3, 3))
"""54 elements."""


def get_box(name: str) -> BoxBFP:
    """The format of a name `fb12|fb16|fb24[_g<a>x<b>...][_rne|_rna|_stochastic]`."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise UsageError(
            f"no format {name!r}; formats: fb12, fb16, fb24, with "
            "[_g<a>x<b>...][_rne|_rna|_stochastic]"
        )
    width, group, rounding = match.groups()
    made = {"12": FB12, "16": FB16, "24": FB24}[width]
    if group:
        made = replace(made, group=tuple(int(size) for size in group.split("x")))
    return replace(made, rounding=Rounding(rounding or "rtz"))


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxTensor:
    """A tensor in groups.

    Parameters
    ----------
    fmt : the format
    shape : shape of the tensor, what fills boxes not counted
    rows : its groups, a block tensor of shape (groups, k) along axis 1: codes, scales, `bits`,
        `pack` and `pack_tight`
    """

    fmt: BoxBFP
    shape: tuple[int, ...]
    rows: BlockTensor

    def __post_init__(self) -> None:
        want = (math.prod(self.fmt.boxes(self.shape)), self.fmt.block.k)
        if self.rows.shape != want or self.rows.fmt != self.fmt.block or self.rows.axis != 1:
            raise UsageError(
                f"rows must be {self.fmt.block.name} of shape {want} along axis 1, "
                f"got {self.rows.fmt.name} of shape {self.rows.shape}"
            )

    @property
    def boxes(self) -> tuple[int, ...]:
        """Groups along each axis."""
        return self.fmt.boxes(self.shape)

    @property
    def scales(self) -> npt.NDArray[np.uint8]:
        """Exponent fields, (*boxes)."""
        return self.rows.scales.reshape(self.boxes)

    @property
    def bits_per_element(self) -> float:
        """Storage over the elements of `shape`."""
        return self.rows.bits / math.prod(self.shape)


def quantize_boxes(
    x: npt.ArrayLike,
    fmt: BoxBFP,
    *,
    random: npt.ArrayLike | None = None,
    random_bits: int | None = None,
) -> BoxTensor:
    """Convert a tensor.

    Parameters
    ----------
    x : float32 or float64, or uint16, which are bf16 codes
    random, random_bits : words of that many bits, of the shape of x, for stochastic rounding
    """
    array = np.asarray(x)
    words = None if random is None else np.asarray(random)
    if words is not None and words.shape != array.shape:
        raise UsageError(f"random must have the shape {array.shape} of x, got {words.shape}")
    rows = quantize(
        fmt.split(array),
        fmt.block,
        axis=1,
        random=None if words is None else fmt.split(words),
        random_bits=random_bits,
    )
    return BoxTensor(fmt=fmt, shape=array.shape, rows=rows)


def dequantize_boxes(
    t: BoxTensor, dtype: type[np.float32 | np.float64] = np.float32
) -> npt.NDArray[np.float32 | np.float64]:
    """Values of a tensor, exact in either type."""
    made: npt.NDArray[np.float32 | np.float64]
    made = t.fmt.join(dequantize(t.rows, dtype), t.shape)  # type: ignore[assignment]
    return made


def zero_setting(x: npt.ArrayLike, fmt: BoxBFP) -> Ints:
    """Elements of each group that alignment sets to zero, (*boxes): M - e + 1 > bits.

    Zeros and subnormals are not counted, and none of a group with NaN or Inf. Over the elements of
    the tensor this is the zero-setting error, by which precision is chosen. Rounding says nothing.

    Parameters
    ----------
    x : float32, or uint16, which are bf16 codes
    """
    array = np.asarray(x)
    if array.dtype == np.uint16:
        array = bf16_values(array)
    if array.dtype != np.float32:
        raise UsageError(f"x must be float32, or uint16 holding bf16 codes, got {array.dtype}")
    field = (np.ascontiguousarray(array).view(np.uint32) >> 23).astype(np.uint8)
    rows = fmt.split(field).astype(np.uint8, copy=False)
    top = rows.max(axis=1, keepdims=True)
    gone = (rows > 0) & (top < 255) & (top - rows >= fmt.bits)
    count: Ints = gone.sum(axis=1, dtype=np.int64)
    return count.reshape(fmt.boxes(array.shape))
