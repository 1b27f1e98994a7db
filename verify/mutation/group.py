"""A group of mutants from fault to fate: the bench first, then a solver on those that live."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from narrowgauge.golden.formats import get
from narrowgauge.golden.formats.vector import decode
from narrowgauge.golden.payload import Field, Payload
from narrowgauge.hdl.emit import Emitted
from narrowgauge.verify.mutation import trials
from narrowgauge.verify.mutation.equivalence import Settled, settle
from narrowgauge.verify.mutation.faults import Fault
from narrowgauge.verify.mutation.outcome import Outcome
from narrowgauge.verify.stage import Stage

__all__ = ["run"]


def _code(field: Field, code: int) -> str:
    """A code as hex and, where the field has a number format, as a number."""
    bits = int(field.to_bits(np.array([code]))[0])
    text = f"0x{bits:0{-(-field.width // 4)}x}"
    if field.format is None:
        return f"{text} ({code})"
    return f"{text} ({float(decode(get(field.format), np.array([bits]))[0])!r})"


def _input(payload: Payload, settled: Settled) -> str:
    """The input that tells a mutant apart, by field."""
    data = payload.data
    size = -(-data.width // 8)
    value = (settled.tdata or 0) & ((1 << data.width) - 1)
    raw = np.frombuffer(value.to_bytes(size, "little"), np.uint8).reshape(1, size)
    batch = data.unpack(raw)
    parts = []
    for field in data.fields:
        codes = np.atleast_1d(batch[field.name][0])
        parts.append(f"{field.name} = {', '.join(_code(field, int(code)) for code in codes)}")
    return "; ".join(parts)


def run(
    *,
    design: Emitted,
    flat_rtlil: str,
    faults: Sequence[Fault],
    made: Stage,
    folder: Path,
    limit: float,
) -> list[Outcome]:
    """The fate of every fault, in order; `limit` is the solver's, in seconds a mutant that lives.

    `made` holds the vectors and patterns of the design.

    Raises what `trials.run` raises.
    """
    tried = trials.run(
        design=design,
        flat_rtlil=flat_rtlil,
        faults=faults,
        made=made,
        folder=folder,
    )
    living = [index for index, trial in enumerate(tried) if trial.kill is None]
    verdicts = settle(
        flat_rtlil=flat_rtlil,
        top=design.name,
        faults=[faults[index] for index in living],
        given=made.inputs.payload,
        made=made.outputs.payload,
        folder=folder / "equivalence",
        limit=limit,
    )
    settled = dict(zip(living, verdicts, strict=True))
    outcomes = []
    for index, (fault, trial) in enumerate(zip(faults, tried, strict=True)):
        fate: str = trial.kill or "survived"
        reason = trial.reason
        if index in settled:
            verdict = settled[index]
            reason = verdict.reason
            fate = "equivalent" if verdict.status == "equivalent" else "survived"
            if verdict.tdata is not None:
                reason += f": {_input(made.inputs.payload, verdict)}"
        outcomes.append(Outcome(mutation=fault.text, fate=fate, reason=reason))
    return outcomes
