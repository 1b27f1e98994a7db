"""Comparison of recorded beats with the golden model's, and the text of the first difference."""

from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import get
from narrowgauge.golden.formats.vector import decode
from narrowgauge.golden.payload import Batch, Field
from narrowgauge.verify.beats import Beats, Raw

__all__ = ["compare", "differences", "show"]

_SHOWN = 8
"""Elements of a vector field that are printed."""


def _value(field: Field, code: int) -> str:
    """A code in hex and, where the field names a format, as a number."""
    bits = int(field.to_bits(np.array([code]))[0])
    text = f"0x{bits:0{-(-field.width // 4)}x}"
    if field.format is not None:
        try:
            return f"{text} ({float(decode(get(field.format), np.array([bits]))[0])!r})"
        except UsageError:
            return text
    return f"{text} ({code})" if field.encoding != "unsigned" or field.width > 3 else text


def show(field: Field, value: npt.NDArray[np.int64]) -> str:
    """`name = value` of one field of a beat, decoded; long vectors are cut."""
    if field.count is None:
        return f"{field.name} = {_value(field, int(value))}"
    shown = ", ".join(_value(field, int(code)) for code in value[:_SHOWN])
    more = f", and {field.count - _SHOWN} more" if field.count > _SHOWN else ""
    return f"{field.name} = [{shown}{more}]"


def differences(field: Field, want: npt.NDArray[np.int64], got: npt.NDArray[np.int64]) -> list[str]:
    """Lines for one output field; nothing where it agrees."""
    lines = []
    for index in np.flatnonzero(np.atleast_1d(want != got))[:_SHOWN]:
        name = field.name if field.count is None else f"{field.name}[{index}]"
        expected = _value(field, int(np.atleast_1d(want)[index]))
        actual = _value(field, int(np.atleast_1d(got)[index]))
        lines.append(f"    {name}: expected {expected}, got {actual}")
    return lines


def _kind(want: Raw, got: Raw, beat: int) -> str:
    """What the sequence from the first difference on looks like; "" where it is just a value."""
    window = 4
    ahead = want[beat + 1 : beat + 1 + window]
    here = got[beat : beat + window]
    if len(ahead) >= 2 and len(here) >= len(ahead) and (here[: len(ahead)] == ahead).all():
        return "; from here the beats are those expected one later: one was dropped"
    behind = want[beat : beat + window]
    later = got[beat + 1 : beat + 1 + window]
    count = min(len(behind), len(later))
    repeated = beat > 0 and (got[beat] == got[beat - 1]).all()
    if repeated and (count == 0 or (behind[:count] == later[:count]).all()):
        return "; the previous beat came twice"
    pair = want[beat : beat + 2], got[beat : beat + 2]
    if len(pair[0]) == len(pair[1]) == 2 and (pair[0] == pair[1][::-1]).all():
        return "; this beat and the next have changed places"
    return ""


def compare(run: dict[str, Any], inputs: Beats, outputs: Beats, want: Raw, got: Raw) -> str | None:
    """The first wrong beat of a run, over several lines; None where all that came is right.

    `got` holds the beats that the run received, `want` those it should have; beats that are
    missing or too many are the harness's to report.
    """
    count = min(len(want), len(got))
    wrong = np.flatnonzero((want[:count] != got[:count]).any(axis=1))
    if not len(wrong):
        return None
    beat = int(wrong[0])
    number, _ = outputs.transaction(beat)
    lines = [
        f"pattern {run['name']}: transaction {number}, output beat {beat} is wrong; "
        f"{len(wrong)} of {count} beats compared differ" + _kind(want, got, beat)
    ]
    source = inputs.beats_of(number)
    for position in source[:_SHOWN]:
        fields = (
            show(field, inputs.batch[field.name][position]) for field in inputs.payload.fields
        )
        lines.append(f"  input beat {position}: " + ", ".join(fields))
    if len(source) > _SHOWN:
        lines.append(f"  and {len(source) - _SHOWN} more input beats")
    decoded: Batch = outputs.decode(got[beat : beat + 1])
    lines.append(f"  output beat {beat}:")
    found = []
    for field in outputs.payload.fields:
        found += differences(field, outputs.batch[field.name][beat], decoded[field.name][0])
    lines += found or [f"    padding of TDATA is not zero: {got[beat][::-1].tobytes().hex()}"]
    return "\n".join(lines)
