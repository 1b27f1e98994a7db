"""Where the taps of a convolution find their elements, axis by axis, forward and back."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.mapping.layers import Convolution

__all__ = ["Class", "along", "classes", "extent", "window"]

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, kw_only=True)
class Class:
    """Outputs first, first + every, ... of an axis, which are summed over the same taps.

    Tap `taps[t]` of output number m is at source element `start + t * next + m * step`.
    """

    first: int
    every: int
    count: int
    taps: tuple[int, ...]
    start: int
    next: int
    step: int

    @property
    def spare(self) -> tuple[int, int]:
        """The lowest element, and the one behind the highest."""
        ends = (0, (len(self.taps) - 1) * self.next)
        return self.start + min(ends), self.start + max(ends) + (self.count - 1) * self.step + 1

    @property
    def starts(self) -> tuple[int, ...]:
        """The element of output 0 at each tap; one outside of the source is zero."""
        return tuple(self.start + number * self.next for number in range(len(self.taps)))


def along(
    kernel: int, made: int, *, stride: int, padding: int, dilation: int, back: bool
) -> list[Class]:
    """Of the outputs of an axis, `made` of them; back, of the inputs, those without taps left out.

    Back there is a class for each remainder by the stride, so that nothing is multiplied by zeros
    that were put between pixels.
    """
    if not back:
        return [
            Class(
                first=0, every=1, count=made, taps=tuple(range(kernel)),
                start=-padding, next=dilation, step=stride,
            )
        ]  # fmt: skip
    found = []
    for first in range(min(stride, made)):
        met = [k for k in range(kernel) if (first + padding - k * dilation) % stride == 0]
        if met:
            starts = [(first + padding - k * dilation) // stride for k in met]
            found.append(
                Class(
                    first=first, every=stride, count=len(range(first, made, stride)),
                    taps=tuple(met), start=starts[0],
                    next=starts[1] - starts[0] if len(met) > 1 else 0, step=1,
                )
            )  # fmt: skip
    return found


def classes(layer: Convolution, axis: int, back: bool) -> list[Class]:
    """Of an axis of a layer."""
    return along(
        layer.kernel[axis],
        layer.size[axis] if back else layer.made[axis],
        stride=layer.stride[axis],
        padding=layer.padding[axis],
        dilation=layer.dilation[axis],
        back=back,
    )


def window(source: Array, rows: Class, columns: Class) -> tuple[Array, tuple[int, int]]:
    """The part of (..., height, width) that classes reach, zeros outside, and its steps.

    Where only every so many-th pixel is read, the others are left out.
    """
    made = source
    steps = []
    for axis, each in ((-2, rows), (-1, columns)):
        low, high = each.spare
        size = made.shape[axis]
        pads = [(0, 0)] * made.ndim
        pads[axis] = (max(0, -low), max(0, high - size))
        index = [slice(None)] * made.ndim
        every = each.step if len(each.taps) == 1 else 1
        index[axis] = slice(low + pads[axis][0], high + pads[axis][0], every)
        made = np.pad(made, pads)[tuple(index)]
        steps.append(each.step // every)
    return made, (steps[0], steps[1])


def extent(rows: Class, columns: Class) -> tuple[int, int]:
    """Height and width of what `window` gives."""
    each = []
    for axis in (rows, columns):
        low, high = axis.spare
        each.append(-(-(high - low) // (axis.step if len(axis.taps) == 1 else 1)))
    return each[0], each[1]
