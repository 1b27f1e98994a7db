"""A counterexample looked for among the golden model's own vectors, where a proof did not end."""

import numpy as np
import numpy.typing as npt

from narrowgauge.verify.prove.claims import Context, Counterexample
from narrowgauge.verify.prove.counterexample import from_bits
from narrowgauge.verify.prove.wires import datapath

__all__ = ["search"]


def search(context: Context) -> Counterexample | None:
    """The first vector of level `full` at which the gates and the golden model differ, or None."""
    params = context.params
    path = datapath(context)
    if path.reason:
        return None
    batch = context.golden.vectors(params, "full", 1)
    given = params.input.pack(batch)
    want = params.output.pack(context.golden.model(params, batch))
    bits = np.unpackbits(given, axis=1, bitorder="little")
    padding = -len(bits) % 64
    bits = np.concatenate([bits, np.zeros((padding, bits.shape[1]), np.uint8)])
    driven = {
        net: np.packbits(bits[:, bit], bitorder="little").view(np.uint64)
        for bit, net in enumerate(path.inputs)
    }
    columns = [
        np.unpackbits(words.view(np.uint8), bitorder="little")[: len(given)]
        for words in path.gates.evaluate(driven, path.outputs)
    ]
    got = np.packbits(np.stack(columns, axis=1), axis=1, bitorder="little")
    whole = np.zeros_like(got)
    whole[:, : want.shape[1]] = want
    wrong = np.flatnonzero((whole != got).any(axis=1))
    if not len(wrong):
        return None
    first = int(wrong[0])
    return from_bits(params, _number(given[first]), _number(whole[first]), _number(got[first]))


def _number(row: npt.NDArray[np.uint8]) -> int:
    return int.from_bytes(row.tobytes(), "little")
