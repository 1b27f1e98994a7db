"""What each bit of range batch normalisation buys: `python -m tests.benchmarks.range_bn`.

Errors of y, dx and dgamma against the unrounded formulas on the same blocks, relative, root of the
mean square; 4096 normal values of each of 32 channels, gradients of Student's t with 4 degrees of
freedom. The first row is what rounding exact results to the formats alone costs. Channels have
standard deviations within 2^+-`apart`.
"""

import numpy as np

from narrowgauge.console import markdown
from narrowgauge.golden.formats import Overflow, Rounding, get, vector
from narrowgauge.golden.units.range_bn import FP10, Blocks, Layer, RangeBn
from narrowgauge.golden.units.range_bn_gradient import gradients, propagate
from narrowgauge.golden.units.range_bn_passes import constants, normalize, statistics
from tests.range_bn_formulas import distance, exact

COUNT, CHANNELS = 4096, 32
VARIED = {
    "window": (8, 10, 12, 14, 16, 20),
    "fraction": (7, 8, 9, 10, 11, 12, 13, 16),
    "precision": (6, 7, 8, 9, 10, 12),
    "gradient_window": (8, 9, 10, 11, 12, 14, 16),
}


def errors(params: RangeBn, apart: float) -> tuple[list[float], list[float]]:
    """Errors of y, dx and dgamma, and those of rounding alone."""
    rng = np.random.default_rng(5)
    deviation = 2.0 ** rng.uniform(-apart, apart, CHANNELS)
    x = Blocks.of(rng.normal(rng.normal(size=CHANNELS), 1, (COUNT, CHANNELS)) * deviation,
                params.forward)  # fmt: skip
    g = Blocks.of(rng.standard_t(4, (COUNT, CHANNELS)) * 2.0**-8 / deviation, params.backward)
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

    want = exact(
        layer, x.values(), g.values(), vector.decode(FP10, gamma), vector.decode(fp32, beta)
    )
    dgamma = vector.decode(fp32, sums.dgamma)
    made_of = {"y": y.values(), "dx": dx.values(), "dgamma": dgamma}
    rounded = {
        "y": Blocks.of(want["y"], params.forward).values(),
        "dx": Blocks.of(want["dx"], params.backward).values(),
        "dgamma": want["dgamma"],
    }
    return (
        [distance(each, want[name]) for name, each in made_of.items()],
        [distance(each, want[name]) for name, each in rounded.items()],
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
