"""Range batch normalisation in FP32: one multiplier and three adders a lane, in any pass.

    u -> + shift -> [d] -> x gain or 1 -> [product] -> + offset -> y
    v -> + total                  ^
    v -> [gain] -----------------/

The register of the gain is that of v where products are added, and of the largest value, as shift
is of the least with its sign turned: both are found by the same comparison, and their range is made
by the adder before the multiplier, which multiplies it by one.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from narrowgauge.golden.units.fp32_range_bn import Params
from narrowgauge.hdl.units.fp32_lanes import (
    Control,
    Fp32LanesUnit,
    chosen,
    fp32_add,
    fp32_multiply,
)

__all__ = ["Fp32RangeBn"]

_ONE = 0x3F800000


class Fp32RangeBn(Fp32LanesUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.fp32_range_bn.Params`

    Ports
    -----
    i : stream of `params.input`, one beat a cycle
    o : stream of `params.output`, one for each beat of values, chunk or pass
    """

    def __init__(self, params: Params) -> None:
        self._lanes = params.lanes
        self._bits = params.position_bits
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Handshake, chunks, positions, lanes."""
        m = Module()
        beat = self.i.payload
        c = self.control(m)
        statistics, propagates = Signal(), Signal()
        # A chunk has ended, its extremes stand; the next value begins one.
        ended, start = Signal(), Signal(reset_less=True)
        position = Signal(self._bits)
        m.d.comb += [
            statistics.eq(c.sums & c.mode[0]),
            propagates.eq(~c.sums & c.mode[0]),
            c.end.eq(beat.last | (statistics & beat.chunk_last)),
            c.enter.eq(Mux(statistics, ended, c.take)),
            c.answers.eq(~c.sums | c.mode[0] | c.last[1]),
        ]
        m.d.sync += ended.eq(c.take & statistics & c.end)
        with m.If(c.load.any()):
            m.d.sync += start.eq(1)
        with m.Elif(c.take):
            m.d.sync += start.eq(c.end)
        # Values are compared with extremes where they come in, positions a stage later.
        with m.If(c.load[0]):
            m.d.sync += position.eq(0)
        with m.Elif(Mux(statistics, c.take, c.leave[0] & propagates)):
            m.d.sync += position.eq(position + 1)
        for i in range(self._lanes):
            m.submodules[f"lane{i}"] = lane = Module()
            self._lane(lane, c, i, statistics, propagates, start, position)
        return m

    def _lane(
        self,
        m: Module,
        c: Control,
        i: int,
        statistics: Value,
        propagates: Value,
        start: Value,
        position: Value,
    ) -> None:
        """One channel."""
        u, v = self.i.payload.u[i], self.i.payload.v[i]
        answer = self.o.payload

        def word(name: str, width: int = 32) -> Signal:
            return Signal(width, name=f"lane{i}_{name}", reset_less=True)

        shift, gain, offset, total = map(word, ("shift", "gain", "offset", "total"))
        d, product = word("d"), word("product")
        largest, least = word("largest", self._bits), word("least", self._bits)
        keep, turn = word("keep", 1), word("turn", 1)

        # The negative of the least value is the largest negative.
        minus = Cat(v[:31], ~v[31])
        above, below = Signal(name=f"lane{i}_above"), Signal(name=f"lane{i}_below")
        m.d.comb += [
            above.eq(c.take & statistics & (start | _greater(m, v, gain, f"lane{i}_above"))),
            below.eq(c.take & statistics & (start | _greater(m, minus, shift, f"lane{i}_below"))),
        ]
        with m.If(c.load[0] | above | (c.take & c.mode[1] & ~c.mode[0])):
            m.d.sync += gain.eq(v)
        with m.If(c.load[0]):
            m.d.sync += shift.eq(u)
        with m.Elif(below):
            m.d.sync += shift.eq(minus)
        for hit, place, loaded in ((above, largest, u), (below, least, v)):
            with m.If(c.load[2]):
                m.d.sync += place.eq(loaded)
            with m.Elif(hit):
                m.d.sync += place.eq(position)

        shifted = fp32_add(m, Mux(statistics, gain, u), shift, "shift_add")
        with m.If(c.enter):
            m.d.sync += d.eq(shifted)
        factor = chosen(m, f"lane{i}_factor", (~statistics, gain), (statistics, Const(_ONE, 32)))
        made = fp32_multiply(m, factor, d, "gain_multiply")
        top, bottom = Signal(name=f"lane{i}_top"), Signal(name=f"lane{i}_bottom")
        m.d.comb += [top.eq(position == largest), bottom.eq(position == least)]
        with m.If(c.leave[0]):
            m.d.sync += [
                product.eq(made),
                keep.eq(~propagates | (top ^ bottom)),
                turn.eq(propagates & bottom),
            ]

        # Nothing is added as -0, which changes no number.
        addend = Signal(32, name=f"lane{i}_addend")
        m.d.comb += addend.eq(Cat(offset[:31] & keep.replicate(31), (offset[31] ^ turn) | ~keep))
        y = fp32_add(m, product, addend, "offset_add")
        with m.If(c.load[1]):
            m.d.sync += offset.eq(u)
        with m.Elif(c.leave[1] & c.sums):
            m.d.sync += offset.eq(y)

        summed = fp32_add(m, v, total, "total_add")
        with m.If(c.load[1]):
            m.d.sync += total.eq(v)
        with m.Elif(c.take & c.sums):
            m.d.sync += total.eq(summed)
        m.d.comb += [
            answer.y[i].eq(y),
            answer.total[i].eq(total),
            answer.largest[i].eq(largest),
            answer.least[i].eq(least),
        ]


def _greater(m: Module, a: Value, b: Value, name: str) -> Signal:
    """Whether a number is above another, -0 below 0, NaN beyond Inf."""
    result, more = Signal(name=f"{name}_greater"), Signal(name=f"{name}_more")
    m.d.comb += [
        # Of two negative ones that with the smaller magnitude: not the larger, and not equal.
        more.eq(Cat(a[31], a[:31]) > Cat(Const(0, 1), b[:31])),
        result.eq(Mux(a[31] ^ b[31], b[31], more ^ a[31])),
    ]
    return result
