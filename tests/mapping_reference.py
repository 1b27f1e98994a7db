"""Passes of layers in grouped arithmetic, output by output, from their definitions alone."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.formats import Rounding
from narrowgauge.golden.formats.bfp import BFP, encode_values
from narrowgauge.golden.mapping.layers import Convolution, Layer, Product

BITS = (4, 8, 16)

Vector = npt.NDArray[np.float64]
Pairs = Iterator[tuple[Vector, Vector]]
Cut = Callable[..., Sequence[int]]


class Grouped:
    """Sums of products of vectors in groups of `size`."""

    def __init__(self, mode: int, size: int) -> None:
        self.bits, self.size = BITS[mode], size
        self._kept: dict[bytes, tuple[npt.NDArray[np.int64], int]] = {}

    def _code(self, x: Vector) -> tuple[npt.NDArray[np.int64], int]:
        key = x.tobytes()
        if key not in self._kept:
            fmt = BFP(exponent_bits=8, mantissa_bits=self.bits, k=len(x), rounding=Rounding.RTZ)
            codes, fields = encode_values(fmt, x[None])
            self._kept[key] = codes[0], int(fields[0])
        return self._kept[key]

    def terms(self, pairs: Pairs) -> list[np.float32]:
        """FP32 of each group of each pair of vectors, in order."""
        made = []
        for a, b in pairs:
            for low in range(0, len(a), self.size):
                (p, e), (q, f) = self._code(a[low:][: self.size]), self._code(b[low:][: self.size])
                total = float(int(p @ q)) * 2.0 ** (e + f - 254 - 2 * (self.bits - 1))
                made.append(np.float32(total))
        return made

    def sum(self, pairs: Pairs, cuts: Sequence[int]) -> np.float32:
        """The sum in pieces of so many groups, each added up from +0."""
        terms = self.terms(pairs)
        assert sum(cuts) == len(terms), (cuts, len(terms))
        whole = None
        for count in cuts:
            piece = np.float32(0)
            for term in terms[:count]:
                piece = np.float32(piece + term)
            terms = terms[count:]
            whole = piece if whole is None else np.float32(whole + piece)
        assert whole is not None
        return whole


def _pixel(x: Vector, y: int, c: int) -> Vector:
    """Elements (..., y, c), zeros outside."""
    if 0 <= y < x.shape[-2] and 0 <= c < x.shape[-1]:
        return np.ascontiguousarray(x[..., y, c])
    return np.zeros(x.shape[:-2])


def evaluate(
    layer: Layer, direction: str, sums: Grouped, left: Vector, right: Vector, cut: Cut
) -> npt.NDArray[np.float32]:
    """The result of a pass; `cut` gives the groups of each piece for a remainder of (y, x)."""
    if isinstance(layer, Product):
        a, b = {
            "forward": (left, right.swapaxes(1, 2)),
            "dx": (left, right),
            "dw": (left.swapaxes(1, 2), right.swapaxes(1, 2)),
        }[direction]
        made = np.zeros((len(a), a.shape[1], b.shape[1]), np.float32)
        for i, m, n in np.ndindex(made.shape):
            one, two = np.ascontiguousarray(a[i, m]), np.ascontiguousarray(b[i, n])
            made[i, m, n] = sums.sum(iter([(one, two)]), cut(0, 0))
        return made
    return {"forward": _forward, "dx": _dx, "dw": _dw}[direction](layer, sums, left, right, cut)


def _few(pairs: Pairs, channels: int) -> Pairs:
    """One pair of vectors for all taps, where there are less than eight channels."""
    found = list(pairs)
    if channels < 8:
        found = [tuple(np.concatenate(side) for side in zip(*found, strict=True))]  # type: ignore[list-item]
    yield from found


def _forward(
    layer: Convolution, sums: Grouped, x: Vector, w: Vector, cut: Cut
) -> npt.NDArray[np.float32]:
    each, count = layer.channels // layer.groups, layer.outputs // layer.groups
    made = np.zeros((layer.batch, layer.outputs, *layer.made), np.float32)
    for n, o, oy, ox in np.ndindex(made.shape):
        source = x[n, o // count * each :][:each]

        def pairs(o: int = o, oy: int = oy, ox: int = ox, source: Vector = source) -> Pairs:
            for kh, kw in np.ndindex(*layer.kernel):
                y = oy * layer.stride[0] + kh * layer.dilation[0] - layer.padding[0]
                c = ox * layer.stride[1] + kw * layer.dilation[1] - layer.padding[1]
                yield np.ascontiguousarray(w[o, :, kh, kw]), _pixel(source, y, c)

        made[n, o, oy, ox] = sums.sum(_few(pairs(), each), cut(0, 0))
    return made


def _dx(
    layer: Convolution, sums: Grouped, dy: Vector, w: Vector, cut: Cut
) -> npt.NDArray[np.float32]:
    each, count = layer.channels // layer.groups, layer.outputs // layer.groups
    made = np.zeros((layer.batch, layer.channels, *layer.size), np.float32)
    for n, c, y, x in np.ndindex(made.shape):
        group = c // each * count
        found = []
        for kh, kw in np.ndindex(*layer.kernel):
            up = y + layer.padding[0] - kh * layer.dilation[0]
            left = x + layer.padding[1] - kw * layer.dilation[1]
            if up % layer.stride[0] or left % layer.stride[1]:
                continue
            weights = np.ascontiguousarray(w[group:, c % each, kh, kw][:count])
            source = dy[n, group:][:count]
            found.append((weights, _pixel(source, up // layer.stride[0], left // layer.stride[1])))
        if found:
            cuts = cut(y % layer.stride[0], x % layer.stride[1])
            made[n, c, y, x] = sums.sum(_few(iter(found), count), cuts)
    return made


def _dw(
    layer: Convolution, sums: Grouped, x: Vector, dy: Vector, cut: Cut
) -> npt.NDArray[np.float32]:
    each, count = layer.channels // layer.groups, layer.outputs // layer.groups
    made = np.zeros((layer.outputs, each, *layer.kernel), np.float32)
    for o, c, kh, kw in np.ndindex(made.shape):
        source = x[:, o // count * each + c]

        def pairs(o: int = o, kh: int = kh, kw: int = kw, source: Vector = source) -> Pairs:
            for oy, ox in np.ndindex(*layer.made):
                y = oy * layer.stride[0] + kh * layer.dilation[0] - layer.padding[0]
                c = ox * layer.stride[1] + kw * layer.dilation[1] - layer.padding[1]
                yield np.ascontiguousarray(dy[:, o, oy, ox]), _pixel(source, y, c)

        made[o, c, kh, kw] = sums.sum(pairs(), cut(0, 0))
    return made
