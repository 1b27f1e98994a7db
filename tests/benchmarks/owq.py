"""Error and time of quantised weights on correlated activations; prints the table of the docs.

Weights are Gaussian with rows of unequal size; activations lie mostly in a subspace of a fifth of
their width, channels differ in size, one stands out. The error is that of the outputs, relative.

    python -m tests.benchmarks.owq
"""

import time

import numpy as np

from narrowgauge.golden.owq import dequantize, second_moment
from narrowgauge.golden.owq_quantize import quantize

ROWS, COLUMNS = 576, 1536


def main() -> None:
    """Every width, with and without outliers and compensation, beside one scale a row."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((ROWS, COLUMNS)) * rng.uniform(0.5, 2, (ROWS, 1))
    mixed = rng.standard_normal((4096, 300)) @ rng.standard_normal((300, COLUMNS))
    x = 0.05 * mixed + 0.5 * rng.standard_normal((4096, COLUMNS))
    x *= np.exp(0.7 * rng.standard_normal(COLUMNS))
    x[:, 5] *= 30
    hessian = second_moment(x)
    whole = float(((weights @ hessian) * weights).sum())

    def loss(values: np.ndarray) -> str:
        error = values - weights
        return f"{float(((error @ hessian) * error).sum()) / whole:.2e}"

    print("| bits | one scale a row | blocks | and bf16 columns | and compensation | seconds |")
    print("| --: | --: | --: | --: | --: | --: |")
    for bits in (3, 4, 5, 7):
        limit = 2 ** (bits - 1) - 1
        scale = np.abs(weights).max(axis=1, keepdims=True) / limit
        cells = [loss(np.rint(weights / scale) * scale)]
        for n, compensate in ((0, False), (4, False), (4, True)):
            start = time.process_time()
            made = quantize(weights, hessian, bits=bits, n=n, compensate=compensate)
            seconds = time.process_time() - start
            cells.append(loss(dequantize(made)))
        print(f"| {bits} | {' | '.join(cells)} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
