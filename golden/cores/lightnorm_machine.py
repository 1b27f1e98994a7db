"""The model of `lightnorm`: packets one after the other, memories between them."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores.lightnorm_commands import (
    Kind,
    Opcode,
    State,
    Table,
)
from narrowgauge.golden.cores.lightnorm_memory import Memory
from narrowgauge.golden.cores.lightnorm_order import refused
from narrowgauge.golden.cores.lightnorm_packets import fields_of
from narrowgauge.golden.cores.packets import Status, split
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.units import range_bn_array, range_bn_constants
from narrowgauge.golden.units.range_bn import wrapped
from narrowgauge.golden.units.range_bn_modes import Mode

if TYPE_CHECKING:
    from narrowgauge.golden.cores.lightnorm import Params

__all__ = ["Machine", "Run"]

Ints = npt.NDArray[np.int64]


class Run:
    """A pass that is under way.

    Parameters
    ----------
    opcode, block : of the pass
    beats : of the array, so far: LOAD of every lane, positions
    done : positions that came
    answered : of the array's answers those that were used
    """

    def __init__(self, opcode: Opcode, block: int, beats: Batch) -> None:
        self.opcode, self.block, self.beats = opcode, block, beats
        self.done = 0
        self.answered = 0


class Machine:
    """A core as after a reset.

    Parameters
    ----------
    params : of the core

    Attributes
    ----------
    states : of each block
    memory : the tables
    layer : the fields of the last LAYER, or None
    under_way : the pass that is, or None
    """

    def __init__(self, params: "Params") -> None:
        p = self.params = params
        self.states = [State.EMPTY] * p.blocks
        self.layer: dict[str, int] | None = None
        self.under_way: Run | None = None
        self.memory = Memory(p)
        self._constants = p.constants.beats(p.channels)
        self._channels = p.kept.beats(p.channels)
        self._bad = np.zeros(p.channels, np.int64)

    def run(self, beats: Batch, where: str = "program") -> Batch:
        """The answers to packets; the final one must have ended."""
        if not len(beats["last"]) or not beats["last"][-1]:
            raise UsageError(f"{where} ends within a packet")
        parts = [self.params.output.beats(0)]
        parts += [self.packet(part) for part in split(beats)]
        return join(parts)

    def packet(self, beats: Batch) -> Batch:
        """The answer to one packet; none to NOP."""
        p = self.params
        header = {name: int(v[0]) for name, v in fields_of(p.header, beats["word"][:1]).items()}
        words = beats["word"][1:]
        if header["opcode"] == Opcode.NOP:
            return p.output.beats(0)
        status = refused(self, header)
        if status != Status.OK:
            return self._bare(status)
        opcode = Opcode(header["opcode"])
        if opcode == Opcode.LAYER:
            return self._bare(self._layer(header, words))
        if opcode == Opcode.CONSTANTS:
            self._solve(header["block"], Kind(header["kind"]), bool(header["average"]))
            return self._bare(Status.OVERRUN if len(words) else Status.OK)
        if opcode == Opcode.READ:
            return self._reads(header, Status.OVERRUN if len(words) else Status.OK)
        if opcode == Opcode.WRITE:
            return self._bare(self._writes(header, words))
        return self._tile(opcode, header, words)

    def _bare(self, status: Status) -> Batch:
        return self.params.output.beats(1, status=status, last=1)

    def _layer(self, header: dict[str, int], words: Ints) -> Status:
        if not len(words):
            return Status.CUT
        if len(words) > 1:
            return Status.OVERRUN
        p = self.params
        layer = {name: int(v[0]) for name, v in fields_of(p.layer, words).items()}
        least = 2 << layer["chunk_bits"]
        most = 1 << p.position_bits
        if 1 << layer["chunk_bits"] > p.chunks or not least <= layer["length"] <= most:
            return Status.ILLEGAL
        self.layer, self.under_way = layer, None
        if header["forget"]:
            self.states = [State.EMPTY] * p.blocks
        return Status.OK

    # -- tables ---------------------------------------------------------------------------------

    def _sent(self, table: Table, block: int) -> Ints:
        """The records that READ and WRITE bring."""
        chunks = 1 << self.layer["chunk_bits"] if self.layer else 1
        return self.memory.rows(table, block, chunks)

    def _reads(self, header: dict[str, int], status: Status) -> Batch:
        table = Table(header["table"])
        raw = self.memory.raw(table, self._sent(table, header["block"]))
        made = self.params.output.beats(len(raw))
        made["data"][:, : raw.shape[1]] = raw
        made["status"][-1], made["last"][-1] = status, 1
        return made

    def _writes(self, header: dict[str, int], words: Ints) -> Status:
        table, block = Table(header["table"]), header["block"]
        rows = self._sent(table, block)
        if table == Table.SUMS:
            self.states[block] = State.EMPTY
        count = min(len(words), len(rows))
        self.memory.put_words(table, rows[:count], words[:count])
        if len(words) < len(rows):
            return Status.CUT
        if table == Table.SUMS:
            self.states[block] = State.SUMMED
        return Status.OVERRUN if len(words) > len(rows) else Status.OK

    # -- between the passes ---------------------------------------------------------------------

    def _solve(self, block: int, kind: Kind, average: bool) -> None:
        """CONSTANTS."""
        p = self.params
        assert self.layer is not None
        rows = self.memory.rows(Table.WEIGHTS, block)
        fields: dict[str, npt.ArrayLike] = {name: self.layer[name] for name in p.engine_fields}
        if kind == Kind.BACKWARD:
            fields |= self._backward(rows)
        else:
            fields |= self._forward(rows, kind, average) | self.memory.get(Table.WEIGHTS, rows)
        made = range_bn_constants.model(p.engine, p.engine.input.beats(p.lanes, **fields))
        gain = self._channels["slope"][rows] if kind == Kind.BACKWARD else made["gain"]
        for name in ("exponent", "offset", "patch", "unit"):
            self._constants[name][rows] = made[name]
        self._constants["gain"][rows] = gain
        if kind == Kind.BACKWARD:
            results = {name: made[name] for name in ("dbeta", "dgamma")}
            self.memory.put(Table.RESULTS, rows, bad=self._bad[rows], **results)
            self.states[block] = State.SOLVED
            return
        self._bad[rows] = made["bad"]
        for name, held in self._channels.items():
            held[rows] = made[name]
        self.states[block] = State.READY if kind == Kind.FORWARD else State.INFERRING

    def _forward(self, rows: Ints, kind: Kind, average: bool) -> dict[str, npt.ArrayLike]:
        p = self.params
        assert self.layer is not None
        if kind == Kind.INFERENCE:
            held = self.memory.get(Table.AVERAGES, rows)
            total, spread = held["total"] >> p.guard, held["spread"] >> p.guard
        else:
            sums = self.memory.get(Table.SUMS, rows)
            total, spread = sums["total"], sums["second"] & ((1 << p.array.spread_bits) - 1)
            if average:
                held = self.memory.get(Table.AVERAGES, rows)
                moved = {
                    name: (held[name] * ((1 << p.momentum) - 1) + (new << p.guard)) >> p.momentum
                    for name, new in (("total", total), ("spread", spread))
                }
                self.memory.put(Table.AVERAGES, rows, **moved)
        return {"total": total, "spread": spread, "base": self.layer["base"]}

    def _backward(self, rows: Ints) -> dict[str, npt.ArrayLike]:
        p = self.params
        assert self.layer is not None
        sums = self.memory.get(Table.SUMS, rows)
        return {
            # The array's sum of g is in the unit of x's window.
            "total": sums["total"] >> (p.window - p.gradient_window),
            "moment": wrapped(sums["second"], p.array.moment_bits),
            "base": self.layer["gradient_base"],
            "backward": 1,
            **{name: held[rows] for name, held in self._channels.items()},
        }

    # -- passes ---------------------------------------------------------------------------------

    def _begin(self, opcode: Opcode, block: int) -> Run:
        """A pass's LOADs; its block's state."""
        p = self.params
        rows = self.memory.rows(Table.WEIGHTS, block)
        held = {name: values[rows] for name, values in self._constants.items()}
        if opcode == Opcode.PROPAGATE:
            held |= self.memory.get(Table.PLACES, self.memory.rows(Table.PLACES, block))
        if opcode == Opcode.STATISTICS:
            self.states[block] = State.EMPTY
        lanes = np.arange(p.lanes)
        return Run(opcode, block, p.array.input.beats(p.lanes, mode=Mode.LOAD, lane=lanes, **held))

    def _tile(self, opcode: Opcode, header: dict[str, int], words: Ints) -> Batch:
        """Positions of a pass."""
        p = self.params
        assert self.layer is not None
        need = header["positions"]
        if header["first"]:
            self.under_way = self._begin(opcode, header["block"])
        run = self.under_way
        assert run is not None
        status = Status.OK
        if len(words) != need:
            status = Status.CUT if len(words) < need else Status.OVERRUN
        beats = self._positions(run, words[:need])
        run.beats = join([run.beats, beats])
        made = range_bn_array.model(p.array, run.beats)
        fresh = {name: values[run.answered :] for name, values in made.items()}
        run.answered = len(made["last"])
        run.done += min(len(words), need)
        over = run.done == self.layer["length"]
        if status == Status.CUT or over:
            self.under_way = None
        if opcode in (Opcode.NORMALIZE, Opcode.PROPAGATE):
            if not len(words):
                return self._bare(status)
            answer = p.output.beats(len(fresh["last"]))
            raw = p.answer.pack({f.name: fresh[f.name] for f in p.answer.fields})
            answer["data"][:, : raw.shape[1]] = raw
            answer["status"][-1], answer["last"][-1] = status, 1
            return answer
        self._gathered(run, fresh, over)
        return self._bare(status)

    def _positions(self, run: Run, words: Ints) -> Batch:
        """Beats of the array for positions, and where chunks follow their places."""
        p, layer = self.params, self.layer
        assert layer is not None
        count = layer["length"]
        position = run.done + np.arange(len(words))
        chunk = (np.arange(count + 1) << layer["chunk_bits"]) // count
        backward = run.opcode in (Opcode.GRADIENTS, Opcode.PROPAGATE)
        beats = p.array.input.beats(
            len(words),
            mode=Mode(int(run.opcode)),
            base=layer["gradient_base" if backward else "base"],
            chunk_last=np.diff(chunk)[position],
            last=position == count - 1,
            **fields_of(p.position, words),
        )
        if run.opcode != Opcode.PROPAGATE:
            return beats
        parts = []
        for number in range(len(words)):
            parts.append({name: values[number : number + 1] for name, values in beats.items()})
            if beats["chunk_last"][number] and not beats["last"][number]:
                start = int(chunk[position[number] + 1]) * p.lanes
                rows = self.memory.rows(Table.PLACES, run.block) + start
                held = self.memory.get(Table.PLACES, rows)
                lanes = np.arange(p.lanes)
                parts.append(p.array.input.beats(p.lanes, mode=Mode.PLACES, lane=lanes, **held))
        return join([p.array.input.beats(0), *parts])

    def _gathered(self, run: Run, fresh: Batch, over: bool) -> None:
        """Answers to the ends of chunks, or of the pass, to memory."""
        p = self.params
        rows = self.memory.rows(Table.SUMS, run.block)
        statistics = run.opcode == Opcode.STATISTICS
        second = fresh["spread" if statistics else "moment"] & ((1 << p.sums["second"].width) - 1)
        for start in range(0, len(fresh["last"]), p.lanes):
            part = slice(start, start + p.lanes)
            names = ("total", "clipped", "nan")
            given = {name: fresh[name][part] for name in names}
            self.memory.put(Table.SUMS, rows, second=second[part], **given)
            if statistics:
                chunk = (run.answered - len(fresh["last"]) + start) // p.lanes
                where = self.memory.rows(Table.PLACES, run.block) + chunk * p.lanes
                places = {f.name: fresh[f.name][part] for f in p.places.fields}
                self.memory.put(Table.PLACES, where, **places)
        if over:
            self.states[run.block] = State.SUMMED if statistics else State.GATHERED
