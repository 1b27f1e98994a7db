"""Accumulators of `shift_attend`: a chain of registers, or lanes that share a memory of them.

A lane shifts the magnitude of its element, complements it by its sign and adds it to what it has.
Where there is nothing to add the amount is beyond the window and the sign is masked.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.units.shift_attend import Params
from narrowgauge.hdl.arith.rounder import add
from narrowgauge.hdl.units.window import align

__all__ = ["Chain", "Shared"]


class _Lane(wiring.Component):
    """One element added.

    Ports
    -----
    v : In, sign and magnitude
    live : In, there is something to add
    amount : In, places to the right, all ones for nothing
    acc : In, the sum so far
    total : Out, with the element
    """

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(
            {
                "v": In(params.v_bits),
                "live": In(1),
                "amount": In((params.fraction + 1).bit_length()),
                "acc": In(params.width),
                "total": Out(params.width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Shift, complement, add."""
        m = Module()
        p = self._params
        nothing = Const(0, 1)
        term = align(
            m,
            self.v[:-1],
            p.fraction + 1,
            self.amount,
            high=nothing,
            low=nothing,
            name="term",
        )
        sign = Signal()
        turned = Signal(p.width)
        m.d.comb += [
            sign.eq(self.v[-1] & self.live),
            turned.eq(Cat(term ^ sign.replicate(len(term)), sign.replicate(p.width - len(term)))),
            self.total.eq(add(m, self.acc, turned, sign, "sum")),
        ]
        return m


class _Lanes(wiring.Component):
    """What both have.

    Ports
    -----
    v : In, a position's elements
    work : In, a position is offered; it stays until `whole`
    live, amount : In, for the lanes, while `work`
    whole : Out, all elements of the offered position are added in this cycle
    step : In, the next element is wanted at `acc`
    acc : Out, the element that leaves next, from the cycle after the last position on
    """

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(
            {
                "v": In(params.v_bits * params.lanes),
                "work": In(1),
                "live": In(1),
                "amount": In((params.fraction + 1).bit_length()),
                "whole": Out(1),
                "step": In(1),
                "acc": Out(params.width),
            }
        )

    def _lane(self, m: Module, number: int, v: Value) -> _Lane:
        lane = _Lane(self._params)
        m.submodules[f"lane{number}"] = lane
        m.d.comb += [lane.v.eq(v), lane.live.eq(self.live), lane.amount.eq(self.amount)]
        return lane


class Chain(_Lanes):
    """An accumulator a lane; an idle one holds by adding zero and needs no multiplexer.

    The accumulators are a chain that moves by one place with each element that leaves. Zeros
    follow, which makes ready for the next row; after a reset the chain has to be filled so once.
    """

    def elaborate(self, platform: object) -> Module:
        """Lanes and their registers."""
        m = Module()
        p = self._params
        held = [Signal(p.width, name=f"acc{e}", reset_less=True) for e in range(p.lanes)]
        m.d.comb += [self.whole.eq(1), self.acc.eq(held[0])]
        for e, acc in enumerate(held):
            lane = self._lane(m, e, self.v.word_select(e, p.v_bits))
            before = held[e + 1] if e + 1 < p.lanes else Const(0, p.width)
            m.d.comb += lane.acc.eq(acc)
            m.d.sync += acc.eq(Mux(self.step, before, lane.total))
        return m


class Shared(_Lanes):
    """A lane serves `share` elements, whose accumulators are words of a memory.

    A word is asked for a cycle ahead; what was added to it `share` cycles before is there by then.
    The first position of a row adds to zero, so nothing has to be cleared.
    """

    def elaborate(self, platform: object) -> Module:
        """Lanes, memory, the place in both."""
        m = Module()
        p = self._params
        count = p.lanes // p.share
        m.submodules.memory = memory = Memory(shape=count * p.width, depth=p.share, init=[])
        write, read = memory.write_port(), memory.read_port()
        part, ahead = Signal(range(p.share)), Signal(range(p.share))
        place = Signal(range(count))
        first = Signal(init=1)
        turn, end = Signal(), Signal()
        chosen = Signal(count * p.v_bits)
        m.d.comb += [
            end.eq(part == p.share - 1),
            self.whole.eq(end),
            turn.eq(self.work | (self.step & (place == count - 1))),
            ahead.eq(Mux(turn, Mux(end, 0, part + 1), part)),
            chosen.eq(self.v.word_select(part, count * p.v_bits)),
            read.addr.eq(ahead),
            # The word stays on the port until another one is wanted.
            read.en.eq(turn),
            write.addr.eq(part),
            write.en.eq(self.work),
            self.acc.eq(read.data.word_select(place, p.width)),
        ]
        m.d.sync += part.eq(ahead)
        with m.If(self.step):
            m.d.sync += [place.eq(Mux(place == count - 1, 0, place + 1)), first.eq(1)]
        with m.Elif(self.work & end):
            m.d.sync += first.eq(0)
        totals = []
        for e in range(count):
            lane = self._lane(m, e, chosen.word_select(e, p.v_bits))
            m.d.comb += lane.acc.eq(read.data.word_select(e, p.width) & (~first).replicate(p.width))
            totals.append(lane.total)
        m.d.comb += write.data.eq(Cat(totals))
        return m
