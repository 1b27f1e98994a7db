"""Conventional batch normalisation in FP32: two multipliers and three adders a lane, in any pass.

    u -> + shift -> [d] -> x gain or d -> [product] -> + -> y
    v -> x slope -> [w] -> + offset -----> [addend] ---^
    v -----------------> (sums)

`addend` is w + offset, and in a pass of sums the products so far. There the sums of v take the
register of the offset and v that of the gain, and the multiplier by the slope is kept quiet.
"""

from amaranth.hdl import Module, Mux, Signal

from narrowgauge.golden.units.fp32_bn import Params
from narrowgauge.hdl.units.fp32_lanes import (
    Control,
    Fp32LanesUnit,
    fp32_add,
    fp32_multiply,
)

__all__ = ["Fp32Bn"]


class Fp32Bn(Fp32LanesUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.fp32_bn.Params`

    Ports
    -----
    i : stream of `params.input`, one beat a cycle
    o : stream of `params.output`, one for each beat of values, or for each pass that adds up
    """

    def __init__(self, params: Params) -> None:
        self._lanes = params.lanes
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Handshake, lanes."""
        m = Module()
        c = self.control(m)
        m.d.comb += [
            c.end.eq(self.i.payload.last),
            c.enter.eq(c.take),
            c.answers.eq(~c.sums | c.last[1]),
        ]
        for i in range(self._lanes):
            m.submodules[f"lane{i}"] = lane = Module()
            self._lane(lane, c, i)
        return m

    def _lane(self, m: Module, c: Control, i: int) -> None:
        """One channel."""
        u, v = self.i.payload.u[i], self.i.payload.v[i]

        def word(name: str) -> Signal:
            return Signal(32, name=f"lane{i}_{name}", reset_less=True)

        shift, gain, offset, slope = map(word, ("shift", "gain", "offset", "slope"))
        d, w, product, addend = map(word, ("d", "w", "product", "addend"))

        shifted = fp32_add(m, u, shift, "shift_add")
        sloped = fp32_multiply(m, v & (~c.sums).replicate(32), slope, "slope_multiply")
        with m.If(c.load[0]):
            m.d.sync += shift.eq(u)
        with m.If(c.load[0] | (c.take & c.sums & ~c.mode[0])):
            m.d.sync += gain.eq(v)
        with m.If(c.load[1]):
            m.d.sync += slope.eq(v)
        with m.If(c.take):
            m.d.sync += d.eq(shifted)
        with m.If(c.take & ~c.sums):
            m.d.sync += w.eq(sloped)

        made = fp32_multiply(m, Mux(c.mode[0], d, gain), d, "gain_multiply")
        raised = fp32_add(m, Mux(c.sums, v, w), offset, "offset_add")
        with m.If(c.leave[0]):
            m.d.sync += product.eq(made)
        with m.If(c.load[1]):
            m.d.sync += offset.eq(u)
        with m.Elif(c.take & c.sums):
            m.d.sync += offset.eq(raised)

        y = fp32_add(m, product, addend, "product_add")
        with m.If(c.load.any()):
            m.d.sync += addend.eq(0)
        with m.Elif(Mux(c.sums, c.leave[1], c.leave[0])):
            m.d.sync += addend.eq(Mux(c.sums, y, raised))
        m.d.comb += [self.o.payload.y[i].eq(y), self.o.payload.total[i].eq(offset)]
