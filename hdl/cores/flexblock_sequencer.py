"""Operands of `flexblock_core`: the addresses of a RUN's beats, one generator for all elements.

The address of B is one register and one adder: at each beat it moves by one, or by what the host
has worked out for the counter that goes on. Counters are 0 between RUNs.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.cores.flexblock_core import Params

__all__ = ["Sequencer"]

_COUNTERS = ("beats", "t2", "t1", "n2", "n1")
"""From the inner one outwards."""


class Sequencer(wiring.Component):
    """See the module.

    Parameters
    ----------
    params : of the core

    Ports
    -----
    word : In, a beat of the input stream
    come : In, it is that part of a RUN's description
    start : In, the final one, and the RUN begins
    shared : In, the RUN's elements read the same words of B
    group : Out, beats of a group, less one, as they are with this part
    go : In, operands can be read
    running : Out, there are more to be read
    a_row, b : Out, row of A; address of B
    end, last, final : Out, they are the final ones of a group, of a column, of the RUN
    beyond : Out, an address of the RUN so far was beyond its memory
    """

    def __init__(self, params: Params) -> None:
        p = self._params = params
        super().__init__(
            {
                "word": In(p.input["word"].bits),
                "come": In(p.run_beats),
                **{name: In(1) for name in ("start", "shared", "go")},
                "group": Out(p.group_bits),
                **{name: Out(1) for name in ("running", "end", "last", "final", "beyond")},
                "a_row": Out(p.row_bits[0]),
                "b": Out(p.address_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Counters and addresses."""
        m = Module()
        p = self._params
        step = Signal()
        m.d.comb += step.eq(self.running & self.go)
        with m.If(self.start):
            m.d.sync += self.running.eq(1)
        with m.Elif(step & self.final):
            m.d.sync += self.running.eq(0)

        # From the inner counter outwards: it and all within are at their end.
        ends: list[Signal] = []
        for name in _COUNTERS:
            most = self._held(m, name)
            count = Signal(p.count_bits, name=f"count_{name}")
            within = ends[-1] if ends else None
            ends.append(Signal(name=f"end_{name}"))
            here = count == most
            m.d.comb += ends[-1].eq(here if within is None else here & within)
            with m.If(step if within is None else step & within):
                m.d.sync += count.eq(Mux(here, 0, count + 1))
        in_group, group = Signal(p.group_bits), self._held(m, "group")
        m.d.comb += [
            self.group.eq(self._with(group, "group")),
            self.end.eq(ends[0] | (in_group == group)),
            self.last.eq(ends[2]),
            self.final.eq(ends[4]),
        ]
        with m.If(step):
            m.d.sync += in_group.eq(Mux(self.end, 0, in_group + 1))
        self._addresses(m, step, ends)
        return m

    def _addresses(self, m: Module, step: Value, ends: list[Signal]) -> None:
        p = self._params
        a_bits, b_bits = p.row_bits[0], p.address_bits
        first = self._held(m, "a")
        a, b = Signal(a_bits + 1, name="a_next"), Signal(b_bits + 1, name="b_next")
        move = Signal(b_bits + 1)
        m.d.comb += move.eq(1)
        for end, name in zip(ends, ("t2", "t1", "n2", "n1"), strict=False):
            held = self._held(m, f"move_{name}")
            with m.If(end):
                m.d.comb += move.eq(held)
        with m.If(step):
            m.d.sync += [a.eq(Mux(self.last, first, a + 1)), b.eq(b + move)]
        self._load(m, a, "a")
        self._load(m, b, "b")
        before, now = Signal(), Signal()
        m.d.comb += [
            self.a_row.eq(a),
            self.b.eq(b),
            now.eq(a[-1] | b[-1] | (~self.shared & b[p.row_bits[1] :].any())),
            self.beyond.eq(before | now),
        ]
        with m.If(self.start):
            m.d.sync += before.eq(0)
        with m.Elif(step):
            m.d.sync += before.eq(self.beyond)

    # -- what describes the RUN -----------------------------------------------------------------

    def _places(self, name: str) -> list[tuple[int, int]]:
        """Of each bit of a field, the beat that brings it and its place there."""
        p = self._params
        offset = 0
        for field in p.run.fields:
            if field.name == name:
                break
            offset += field.width
        return [divmod(offset + i, len(self.word)) for i in range(p.run[name].width)]

    def _load(self, m: Module, register: Signal, name: str) -> None:
        """A register takes a field when its bits come; what it has above them is 0 then."""
        places = self._places(name)
        for part in range(self._params.run_beats):
            bits = [i for i, place in enumerate(places) if place[0] == part]
            if not bits:
                continue
            low, high = bits[0], bits[-1] + 1
            start = places[low][1]
            top = len(register) if high == len(places) else high
            with m.If(self.come[part]):
                m.d.sync += register[low:top].eq(self.word[start : start + high - low])

    def _held(self, m: Module, name: str) -> Signal:
        """A register for a field."""
        register = Signal(self._params.run[name].width, name=f"held_{name}", reset_less=True)
        self._load(m, register, name)
        return register

    def _with(self, register: Signal, name: str) -> Value:
        """A field with what the final beat brings of it."""
        final = self._params.run_beats - 1
        return Cat(
            self.word[place] if part == final else register[i]
            for i, (part, place) in enumerate(self._places(name))
        )
