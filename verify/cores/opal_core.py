"""Coverage of `opal_core`: commands, modes, statuses, how they follow each other; its claims.

Programs differ in what they are answered with, and a packet's answer depends on those before it:
of the streams' claims the rules of the handshake hold.
"""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores.opal_core import Params
from narrowgauge.golden.cores.opal_work import Work, parsed
from narrowgauge.golden.cores.packets import Opcode, Out, Status
from narrowgauge.golden.payload import Batch
from narrowgauge.verify.prove.stream import HANDSHAKE, StreamClaim
from narrowgauge.verify.prove.stream import claims as of_streams

__all__ = ["claims", "coverage"]

Bins = dict[str, npt.NDArray[np.bool_]]


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """What holds of a design whose answers depend on what came before."""
    return of_streams(params, HANDSHAKE)


def _bins(params: Params) -> dict[str, None]:
    """The names of all bins, of which `_hits` has those that a program hits."""
    names: dict[str, None] = {}
    for opcode in (Opcode.LOAD, Opcode.PASS, Opcode.MATVEC, Opcode.ATTEND):
        own = (Status.OK, Status.ILLEGAL, Status.CUT, Status.OVERRUN)
        statuses = own if opcode == Opcode.PASS else (*own, Status.ORDER)
        names |= dict.fromkeys(f"{opcode.name}_{status.name}" for status in statuses)
    names |= dict.fromkeys(f"MATVEC_a{a}_w{w}" for a in (0, 1) for w in (0, 1))
    for opcode in (Opcode.MATVEC, Opcode.ATTEND):
        names |= dict.fromkeys(f"{opcode.name}_{out.name}" for out in Out)
        names |= dict.fromkeys((f"{opcode.name}_release", f"{opcode.name}_kept"))
    names |= dict.fromkeys(f"LOAD_high{h}_plain{p}" for h in (0, 1) for p in (0, 1))
    names |= dict.fromkeys(("PASS_bf16", "PASS_blocks", "unknown_opcode", "cut_at_the_header"))
    names |= dict.fromkeys(("cut_within_a_row", "cut_between_rows", "cut_in_keys", "cut_in_values"))
    names |= dict.fromkeys(("vector_longest", "vector_of_one_beat", "tail_block", "two_loaded"))
    names |= dict.fromkeys(("head_widest", "head_narrower", "many_rows", "results_nan"))
    return names


def _hits(params: Params, works: list[Work]) -> set[str]:
    """Names of the bins that one program hits."""
    hits: set[str] = set()
    before = None
    for work in works:
        c = work.command
        header, status = c.header, c.status
        if header.opcode not in list(Opcode):
            hits.add("unknown_opcode")
            continue
        name = Opcode(header.opcode).name
        hits.add(f"{name}_{status.name}")
        if status == Status.CUT and not c.begun:
            hits.add("cut_at_the_header")
        if not c.begun:
            continue
        beats = len(c.data["last"])
        if header.opcode == Opcode.LOAD:
            hits.add(f"LOAD_high{header.high}_plain{header.plain}")
            if header.length == params.vector:
                hits.add("vector_longest")
            if header.length <= params.q_lanes:
                hits.add("vector_of_one_beat")
            if header.length % params.k:
                hits.add("tail_block")
            if before == Opcode.LOAD and status == Status.OK:
                hits.add("two_loaded")
        elif header.opcode == Opcode.PASS:
            hits.add("PASS_blocks" if header.out else "PASS_bf16")
        else:
            assert c.vector is not None
            hits.add(f"{name}_{Out(header.out).name}")
            hits.add(f"{name}_{'release' if header.release else 'kept'}")
            if header.opcode == Opcode.MATVEC:
                hits.add(f"MATVEC_a{c.vector.high}_w{header.high}")
                if status == Status.CUT:
                    hits.add("cut_within_a_row" if c.row_open else "cut_between_rows")
                if c.rows_whole > params.q_lanes:
                    hits.add("many_rows")
            else:
                hits.add("head_widest" if header.length == params.head else "head_narrower")
                if status == Status.CUT:
                    row = -(-c.vector.length // (params.lanes // 4))
                    hits.add("cut_in_keys" if beats <= header.rows * row else "cut_in_values")
        before = header.opcode
    return hits


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a program."""
    programs = parsed(params, batch)
    bins = {name: np.zeros(len(programs), np.bool_) for name in _bins(params)}
    for number, works in enumerate(programs):
        for name in _hits(params, works):
            bins[name][number] = True
    nan: npt.NDArray[np.bool_] = np.any((outputs["data"] & 0x7FFF) > 0x7F80, axis=1)
    starts = np.cumsum(outputs["answered"]) - outputs["answered"]
    for number, (start, count) in enumerate(zip(starts, outputs["answered"], strict=True)):
        bins["results_nan"][number] = nan[start : start + count].any()
    return bins
