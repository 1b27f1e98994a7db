"""Which commands `lightnorm` refuses: those that there are not, and those that come too early."""

from typing import TYPE_CHECKING

from narrowgauge.golden.cores.lightnorm_commands import (
    PASSES,
    READABLE,
    WRITABLE,
    Kind,
    Opcode,
    State,
    Table,
)
from narrowgauge.golden.cores.packets import Status

if TYPE_CHECKING:
    from narrowgauge.golden.cores.lightnorm_machine import Machine

__all__ = ["refused"]


def refused(machine: "Machine", header: dict[str, int]) -> Status:
    """The status of a command that is not carried out, or OK."""
    opcode, block, kind = header["opcode"], header["block"], header["kind"]
    table = header["table"]
    wrong = {
        Opcode.LAYER: False,
        Opcode.CONSTANTS: kind not in list(Kind),
        Opcode.WRITE: table not in WRITABLE,
        Opcode.READ: table not in READABLE,
    } | dict.fromkeys(PASSES, header["positions"] == 0)
    if opcode not in wrong or wrong[Opcode(opcode)]:
        return Status.ILLEGAL
    if opcode == Opcode.LAYER:
        return Status.OK
    if block >= machine.params.blocks:
        return Status.ILLEGAL
    state = machine.states[block]
    if opcode in (Opcode.READ, Opcode.WRITE) and table == Table.PLACES and machine.layer is None:
        return Status.ORDER
    if opcode == Opcode.WRITE:
        return Status.OK
    if opcode == Opcode.READ:
        none = state in (State.EMPTY, State.INFERRING)
        empty = none and table in (Table.SUMS, Table.PLACES)
        early = state != State.SOLVED and table == Table.RESULTS
        return Status.ORDER if empty or early else Status.OK
    if machine.layer is None:
        return Status.ORDER
    if opcode == Opcode.CONSTANTS:
        may = {
            Kind.FORWARD: (State.SUMMED, State.READY),
            Kind.BACKWARD: (State.GATHERED,),
            Kind.INFERENCE: tuple(State),
        }
        return Status.OK if state in may[Kind(kind)] else Status.ORDER
    left = machine.layer["length"]
    if header["first"]:
        if state not in PASSES[Opcode(opcode)]:
            return Status.ORDER
    else:
        run = machine.under_way
        if run is None or (run.opcode, run.block) != (opcode, block):
            return Status.ORDER
        left -= run.done
    return Status.OK if header["positions"] <= left else Status.ILLEGAL
