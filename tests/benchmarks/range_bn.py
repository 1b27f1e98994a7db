"""What each bit of range batch normalisation buys: `python -m tests.benchmarks.range_bn`.

Errors of y, dx and dgamma against the unrounded formulas on the same blocks, relative, root of the
mean square; 4096 normal values of each of 32 channels, gradients of Student's t with 4 degrees of
freedom. The first row is what rounding exact results to the formats alone costs. Channels have
standard deviations within 2^+-`apart`.
"""

import numpy as np
import numpy.typing as npt

from narrowgauge.console import markdown
from narrowgauge.golden.formats import Overflow, Rounding, get, quantize, vector
from narrowgauge.golden.formats.bfp import BFP, decode_values
from narrowgauge.golden.units.range_bn import FP10, Blocks, Layer, RangeBn
from narrowgauge.golden.units.range_bn_gradient import gradients, propagate
from narrowgauge.golden.units.range_bn_passes import constants, normalize, statistics

Floats = npt.NDArray[np.float64]

COUNT, CHANNELS = 4096, 32
VARIED = {
    "window": (8, 10, 12, 14, 16, 20),
    "fraction": (4, 5, 6, 7, 8, 10),
    "precision": (6, 7, 8, 9, 10, 12),
    "gradient_window": (8, 9, 10, 11, 12, 14, 16),
}


def _blocks(x: Floats, fmt: BFP) -> Blocks:
    t = quantize(x, fmt, axis=1)
    codes = t.codes.reshape(len(x), -1).astype(np.int64)
    return Blocks(fmt=fmt, codes=codes, fields=t.scales.astype(np.int64))


def _values(b: Blocks) -> Floats:
    codes = b.codes.reshape(len(b.codes), -1, b.fmt.k)
    return decode_values(b.fmt, codes, b.fields, np.float64).reshape(b.codes.shape)


def _error(made: Floats, exact: Floats) -> float:
    return float(np.sqrt(((made - exact) ** 2).sum() / (exact**2).sum()))


def errors(params: RangeBn, apart: float) -> tuple[list[float], list[float]]:
    """Errors of y, dx and dgamma, and those of rounding alone."""
    rng = np.random.default_rng(5)
    deviation = 2.0 ** rng.uniform(-apart, apart, CHANNELS)
    x = _blocks(rng.normal(rng.normal(size=CHANNELS), 1, (COUNT, CHANNELS)) * deviation,
                params.forward)  # fmt: skip
    g = _blocks(rng.standard_t(4, (COUNT, CHANNELS)) * 2.0**-8 / deviation, params.backward)
    gamma = vector.encode(
        FP10, rng.uniform(0.3, 2, CHANNELS), rounding=Rounding.RNE, overflow=Overflow.SATURATE
    )
    fp32 = get("fp32")
    beta = vector.encode(
        fp32, rng.normal(size=CHANNELS), rounding=Rounding.RNE, overflow=Overflow.SATURATE
    )
    layer = Layer(count=COUNT, chunks=params.chunks)
    stats = statistics(params, layer, x)
    made = constants(params, layer, stats, gamma, beta)
    sums = gradients(params, made, x, g)
    y = normalize(params, made, x)
    dx = propagate(params, layer, stats, made, sums, g)

    xv, gv, scale = _values(x), _values(g), vector.decode(FP10, gamma)
    parts = xv.reshape(params.chunks, -1, CHANNELS)
    spread = (parts.max(axis=1) - parts.min(axis=1)).mean(axis=0)
    c = 1 / np.sqrt(2 * np.log(COUNT / params.chunks))
    s = 1 / (c * spread + layer.epsilon)
    xhat = (xv - xv.mean(axis=0)) * s
    d = np.zeros_like(parts)
    channels = np.arange(CHANNELS)
    for k, part in enumerate(parts):
        d[k, part.argmax(axis=0), channels] += 1
        d[k, part.argmin(axis=0), channels] -= 1
    dgamma = (gv * xhat).sum(axis=0)
    exact_y = scale * xhat + vector.decode(fp32, beta)
    patches = c / params.chunks * dgamma * d.reshape(xv.shape)
    exact_dx = scale * s * (gv - gv.mean(axis=0) - patches)
    return (
        [
            _error(_values(y), exact_y),
            _error(_values(dx), exact_dx),
            _error(vector.decode(fp32, sums.dgamma), dgamma),
        ],
        [
            _error(_values(_blocks(exact_y, params.forward)), exact_y),
            _error(_values(_blocks(exact_dx, params.backward)), exact_dx),
            0.0,
        ],
    )


def main() -> None:
    """Print the table."""
    rows = []
    for apart in (0.0, 3.0, 6.0):
        least = errors(RangeBn(), apart)[1]
        rows.append([f"{apart:g}", "rounding alone", "", *(f"{e:.4f}" for e in least)])
        for name, values in VARIED.items():
            for value in values:
                found = errors(RangeBn(**{name: value}), apart)[0]
                rows.append([f"{apart:g}", f"`{name}`", str(value), *(f"{e:.4f}" for e in found)])
    print(markdown(["apart", "parameter", "bits", "y", "dx", "dgamma"], rows))


if __name__ == "__main__":
    main()
