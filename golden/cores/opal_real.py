"""Programs of `opal_core` out of real tensors."""

from typing import TYPE_CHECKING

import numpy as np

from narrowgauge.golden import samples
from narrowgauge.golden.cores import opal_packets, packets
from narrowgauge.golden.cores.opal_packets import Rows
from narrowgauge.golden.cores.packets import Out
from narrowgauge.golden.formats import MXOpal, quantize
from narrowgauge.golden.payload import Batch, join

if TYPE_CHECKING:
    from narrowgauge.golden.cores.opal_core import Params

__all__ = ["real"]


def real(params: "Params", rng: np.random.Generator) -> Batch:
    """Of each captured tensor some tokens: weights low and high, attention among the tokens."""
    p = params
    sample = samples.load()
    programs = []
    for name in sorted(sample.activations):
        tokens = sample.activations[name]
        width = min(tokens.shape[1], p.vector)
        weights = sample.weights[name][:, :width]
        rows = Rows.of(quantize(weights, MXOpal(k=p.k, b=p.low, n=0), axis=1), p.n)
        head = tokens[1:, : p.head].astype(np.uint16)
        high = p.dot.high
        keys = quantize(head, MXOpal(k=p.k, b=high, n=p.n), axis=1)
        values = quantize(head, MXOpal(k=p.k, b=high, n=0), axis=1)
        for token in np.sort(rng.permutation(np.arange(1, len(tokens)))[:8]):
            parts = []
            x = tokens[token, :width].astype(np.int64)
            for a_high, count in zip((False, True), packets.REAL_ROWS, strict=True):
                # The sample has fewer: they come in turn.
                index = np.arange(count) % len(rows.scales)
                chosen = Rows(
                    codes=rows.codes[index],
                    scales=rows.scales[index],
                    outliers=rows.outliers[index],
                    positions=rows.positions[index],
                )
                parts.append(opal_packets.load(p, x, high=a_high))
                parts.append(
                    opal_packets.matvec(
                        p,
                        chosen,
                        0x3F80,
                        length=width,
                        a_high=a_high,
                        out=Out.BF16 if a_high else Out.LOW,
                    )
                )
            seen = min(len(head), p.length, _POSITIONS)
            parts.append(opal_packets.load(p, head[token - 1].astype(np.int64), high=True))
            part = keys.codes[:seen], keys.scales[:seen], keys.outliers[:seen]
            parts.append(
                opal_packets.attend(
                    p,
                    Rows(
                        codes=part[0].astype(np.int64),
                        scales=part[1].astype(np.int64),
                        outliers=part[2].astype(np.int64),
                        positions=keys.positions[:seen].astype(np.int64),
                    ),
                    values.codes[:seen, 0, : head.shape[1]].astype(np.int64),
                    values.scales[:seen, 0].astype(np.int64),
                )
            )
            programs.append(join(parts))
    size = max(len(program["last"]) for program in programs)
    return packets.batch([packets.program(p.input, [program], size) for program in programs])


_POSITIONS = 48
