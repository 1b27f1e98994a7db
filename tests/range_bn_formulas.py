"""Range batch normalisation in float64, as the paper has it: what the tests hold fixed point to."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.units.range_bn import Layer

__all__ = ["distance", "exact"]

Floats = npt.NDArray[np.float64]


def exact(layer: Layer, x: Floats, g: Floats, gamma: Floats, beta: Floats) -> dict[str, Floats]:
    """The formulas, unrounded, of x and g (positions, channels)."""
    count, chunks = layer.count, layer.chunks
    c = layer.ratio if layer.factor == "normal" else 1 / np.sqrt(2 * np.log(count / chunks))
    chunk = np.arange(count) * chunks // count
    rows = [np.flatnonzero(chunk == k) for k in range(chunks)]
    high = np.array([r[x[r].argmax(axis=0)] for r in rows])
    low = np.array([r[x[r].argmin(axis=0)] for r in rows])
    channels = np.arange(x.shape[1])
    spread = (x[high, channels] - x[low, channels]).mean(axis=0)
    s = 1 / (c * spread + layer.epsilon)
    xhat = (x - x.mean(axis=0)) * s
    d = np.zeros_like(x)
    for k in range(chunks):
        d[high[k], channels] += 1
        d[low[k], channels] -= 1
    dbeta, dgamma = g.sum(axis=0), (g * xhat).sum(axis=0)
    dx = gamma * s * (g - dbeta / count - c / chunks * dgamma * d)
    return {"y": gamma * xhat + beta, "dx": dx, "dbeta": dbeta, "dgamma": dgamma}


def distance(a: Floats, b: Floats) -> float:
    """The root of the mean squared error of a, relative to b."""
    return float(np.sqrt(((a - b) ** 2).sum() / (b**2).sum()))
