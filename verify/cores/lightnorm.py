"""Coverage of `lightnorm`: commands, statuses, states, tiles, and how passes end; its claims.

Programs differ in what they are answered with, and a packet's answer depends on those before it:
of the streams' claims the rules of the handshake hold.
"""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores.lightnorm import Params
from narrowgauge.golden.cores.lightnorm_commands import (
    PASSES,
    READABLE,
    WRITABLE,
    Kind,
    Opcode,
    State,
    Table,
)
from narrowgauge.golden.cores.lightnorm_machine import Machine
from narrowgauge.golden.cores.lightnorm_packets import fields_of
from narrowgauge.golden.cores.packets import Status, split
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
    for opcode in PASSES:
        own = [status for status in Status if (opcode, status) != (Opcode.NOP, Status.OK)]
        names |= dict.fromkeys(f"{opcode.name}_{status.name}" for status in own)
        names |= dict.fromkeys(
            f"{opcode.name}_{what}"
            for what in ("one_tile", "tiles", "once_more", "left", "cut_at_the_header")
        )
    for opcode, statuses in (
        (Opcode.LAYER, (Status.OK, Status.ILLEGAL, Status.CUT, Status.OVERRUN)),
        (Opcode.CONSTANTS, (Status.OK, Status.ILLEGAL, Status.ORDER, Status.OVERRUN)),
        (Opcode.WRITE, (Status.OK, Status.ILLEGAL, Status.CUT, Status.OVERRUN)),
        (Opcode.READ, (Status.OK, Status.ILLEGAL, Status.ORDER, Status.OVERRUN)),
    ):
        names |= dict.fromkeys(f"{opcode.name}_{status.name}" for status in statuses)
    names |= dict.fromkeys(f"CONSTANTS_{kind.name}" for kind in Kind)
    names |= dict.fromkeys(f"WRITE_{table.name}" for table in WRITABLE)
    names |= dict.fromkeys(f"READ_{table.name}" for table in READABLE)
    names |= dict.fromkeys(f"state_{state.name}" for state in State)
    names |= dict.fromkeys(("unknown_opcode", "NOP", "forget", "averages_move", "two_blocks"))
    names |= dict.fromkeys(("chunks_one", "chunks_most", "chunks_unequal", "chunks_shortest"))
    names |= dict.fromkeys(("read_within_a_pass", "constants_within_a_pass"))
    return names


def _packet(machine: Machine, part: Batch) -> set[str]:
    """Names of the bins that one packet hits, which is carried out."""
    p = machine.params
    read = fields_of(p.header, part["word"][:1])
    header = {name: int(values[0]) for name, values in read.items()}
    before, opcode = machine.under_way, header["opcode"]
    answer = machine.packet(part)
    if opcode not in list(Opcode):
        return {"unknown_opcode"}
    if opcode == Opcode.NOP:
        return {"NOP"}
    name, status = Opcode(opcode).name, Status(int(answer["status"][-1]))
    hits = {f"{name}_{status.name}"} | {f"state_{state.name}" for state in machine.states}
    whole = status in (Status.OK, Status.OVERRUN)
    if opcode in PASSES:
        if status == Status.CUT and len(part["last"]) == 1:
            hits.add(f"{name}_cut_at_the_header")
        if whole and machine.under_way is None:
            hits.add(f"{name}_{'one_tile' if header['first'] else 'tiles'}")
        if whole and header["first"] and before is not None:
            again = (before.opcode, before.block) == (opcode, header["block"])
            hits.add(f"{name}_once_more" if again else f"{before.opcode.name}_left")
    elif whole and opcode == Opcode.CONSTANTS:
        hits.add(f"CONSTANTS_{Kind(header['kind']).name}")
        if header["average"] and header["kind"] == Kind.FORWARD:
            hits.add("averages_move")
    elif whole and opcode in (Opcode.READ, Opcode.WRITE):
        hits.add(f"{name}_{Table(header['table']).name}")
    elif status == Status.OK and machine.layer is not None:
        count, chunks = machine.layer["length"], 1 << machine.layer["chunk_bits"]
        hits |= {"forget"} if header["forget"] else set()
        hits |= {"chunks_one"} if chunks == 1 else set()
        hits |= {"chunks_most"} if chunks == p.chunks else set()
        hits.add("chunks_unequal" if count % chunks else "chunks_equal")
        hits |= {"chunks_shortest"} if count == 2 * chunks else set()
    if before is not None and before is machine.under_way:
        hits |= {"read_within_a_pass"} if opcode == Opcode.READ else set()
        hits |= {"constants_within_a_pass"} if opcode == Opcode.CONSTANTS else set()
    if sum(state != State.EMPTY for state in machine.states) > 1:
        hits.add("two_blocks")
    return hits


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a program."""
    programs = len(batch["final"])
    bins = {name: np.zeros(programs, np.bool_) for name in _bins(params)}
    if params.blocks == 1:
        del bins["two_blocks"]
    if params.chunks == 1:
        del bins["chunks_unequal"]
    for number in range(programs):
        beats = {name: values[number] for name, values in batch.items()}
        beats["last"] = beats.pop("final")
        machine = Machine(params)
        for part in split(beats):
            for name in _packet(machine, part) & bins.keys():
                bins[name][number] = True
    return bins
