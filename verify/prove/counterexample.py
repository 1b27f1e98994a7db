"""A counterexample from the bits of one transaction: decoded lines, and the batch that replays."""

from typing import Any

import numpy as np

from narrowgauge.golden.payload import Batch, Payload
from narrowgauge.verify.prove.claims import Counterexample
from narrowgauge.verify.scoreboard import differences, show

__all__ = ["from_bits", "unpacked"]


def unpacked(payload: Payload, bits: int) -> Batch:
    """The fields of one beat whose payload, lowest field first, is `bits`."""
    size = -(-payload.width // 8)
    raw = np.frombuffer((bits & ((1 << payload.width) - 1)).to_bytes(size, "little"), np.uint8)
    return payload.unpack(raw.reshape(1, size))


def from_bits(
    params: Any, given: int, want: int, got: int, *, subject: str = "RTL"
) -> Counterexample:
    """What shows that a design without state is wrong.

    Parameters
    ----------
    params : with the payloads `input` and `output`
    given : the input payload's bits
    want, got : TDATA by the specification and by the subject, padding included
    subject : what gave `got`
    """
    inputs = unpacked(params.input, given)
    expected, actual = (unpacked(params.output, bits) for bits in (want, got))
    lines = [", ".join(show(field, inputs[field.name][0]) for field in params.input.fields)]
    for field in params.output.fields:
        lines += differences(field, expected[field.name][0], actual[field.name][0])
    padding = (want ^ got) >> params.output.width
    if padding:
        lines.append(f"    padding of TDATA is not zero: {got:#x}")
    if subject != "RTL":
        lines.append(f"    (got from the {subject})")
    batch = {name: array.tolist() for name, array in inputs.items()}
    return Counterexample(text="\n".join(lines), batch=batch)
