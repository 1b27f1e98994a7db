"""All inputs of up to 24 bits: the gates, or the golden model, beside a specification in Python.

No solver and no compiler is trusted: a net is a NumPy array with one bit an input, and every input
is there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, Payload
from narrowgauge.verify.prove.claims import Claim, Context, Proof, Stopwatch
from narrowgauge.verify.prove.counterexample import from_bits
from narrowgauge.verify.prove.gates import Words
from narrowgauge.verify.prove.wires import Datapath, datapath

__all__ = ["MOST_BITS", "Exhaustive"]

MOST_BITS = 24
"""Input bits that are still tried one by one."""

_CHUNK = 18
"""Inputs evaluated at a time, as a power of two: what bounds the memory."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Exhaustive(Claim):
    """Subject = specification, by trying all inputs.

    Parameters
    ----------
    specification : batch in, batch out, as a golden model's but written apart from it
    subject : "RTL", or "golden model"
    """

    specification: Callable[[Batch], Batch]
    subject: Literal["RTL", "golden model"] = "RTL"

    def settle(self, context: Context) -> Proof:
        """Try all inputs, a chunk at a time."""
        watch = Stopwatch()
        given, result = context.params.input, context.params.output
        if given.width > MOST_BITS:
            raise UsageError(f"at most {MOST_BITS} bits of input can be tried, got {given.width}")
        path = datapath(context) if self.subject == "RTL" else None
        if path is not None and path.reason:
            return self.proof("unknown", watch.seconds, reason=path.reason)
        for codes in _chunks(given.width):
            batch = _unpack(given, codes)
            want = _pack(result, self.specification(batch))
            if path is None:
                got = _pack(result, context.golden.model(context.params, batch))
            else:
                got = _evaluate(path, codes)
            wrong = np.flatnonzero(want != got)
            if len(wrong):
                first = wrong[0]
                shown = from_bits(
                    context.params,
                    int(codes[first]),
                    int(want[first]),
                    int(got[first]),
                    subject=self.subject,
                )
                return self.proof("refuted", watch.seconds, counterexample=shown)
        return self.proof("proved", watch.seconds)


def _chunks(bits: int) -> Iterator[Ints]:
    size = 1 << min(bits, _CHUNK)
    for start in range(0, 1 << bits, size):
        yield np.arange(start, start + size, dtype=np.int64)


def _unpack(payload: Payload, codes: Ints) -> Batch:
    """Field values of whole payloads; a field of this size is a scalar of at most 24 bits."""
    batch: Batch = {}
    for field in payload.fields:
        part = codes & ((1 << field.bits) - 1)
        codes = codes >> field.bits
        if field.count is None:
            batch[field.name] = field.from_bits(part)
        else:
            steps = np.arange(field.count, dtype=np.int64) * field.width
            lanes = (part[:, None] >> steps) & ((1 << field.width) - 1)
            batch[field.name] = field.from_bits(lanes)
    return batch


def _pack(payload: Payload, batch: Batch) -> Ints:
    """Whole payloads of field values, up to 62 bits."""
    checked = payload.check(batch)
    codes = np.zeros(len(next(iter(checked.values()))), np.int64)
    offset = 0
    for field in payload.fields:
        bits = field.to_bits(checked[field.name]).reshape(len(codes), -1)
        for lane in range(bits.shape[1]):
            codes |= bits[:, lane] << offset
            offset += field.width
    return codes


def _evaluate(path: Datapath, codes: Ints) -> Ints:
    """TDATA of every input, padding included."""
    count = len(codes)
    size = -(-count // 64)
    driven: dict[int, Words] = {}
    for bit, net in enumerate(path.inputs):
        column = np.zeros(size * 64, np.uint8)
        column[:count] = (codes >> bit) & 1
        driven[net] = np.packbits(column, bitorder="little").view(np.uint64)
    result = np.zeros(count, np.int64)
    for bit, words in enumerate(path.gates.evaluate(driven, path.outputs)):
        column = np.unpackbits(words.view(np.uint8), bitorder="little")[:count]
        result |= column.astype(np.int64) << bit
    return result
