"""Between the passes of `lightnorm`: a block's channels through the engine, and running averages.

A channel's records are read, stand at the memories' outputs until the engine has taken them, and
what it answers is written. Passes over other blocks go on meanwhile.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.cores.lightnorm import Params
from narrowgauge.hdl.cores.lightnorm_commands import Kind
from narrowgauge.hdl.payload import layout
from narrowgauge.hdl.units.range_bn_constants import RangeBnConstants

__all__ = ["Between"]


class Between(wiring.Component):
    """See the module.

    Parameters
    ----------
    params : of the core

    Ports
    -----
    start, kind, average, block : In, CONSTANTS of a block; `average`: its averages move
    layer : In, of the layer
    weights, sums, averages, channel : In, the records that were read
    busy, at : Out, channels are under way, of the block `at`
    fetch, lane : Out, records of this lane are to be read
    move, averaged : Out, the lane's averages become these
    done, done_lane : Out, the engine's answer is to be written
    constants, made : Out, what a pass is given; what is kept of the channel, or its results, and
        at the top whether gamma or beta was bad
    """

    def __init__(self, params: Params) -> None:
        p = self._params = params
        lane_bits = (p.lanes - 1).bit_length()
        block_bits = (p.blocks - 1).bit_length()
        super().__init__(
            {
                "start": In(1),
                "kind": In(2),
                "average": In(1),
                "block": In(block_bits),
                "layer": In(layout(p.layer)),
                "weights": In(layout(p.weights)),
                "sums": In(layout(p.sums)),
                "averages": In(layout(p.averages)),
                "channel": In(p.channel_bits),
                "busy": Out(1),
                "at": Out(block_bits),
                "fetch": Out(1),
                "lane": Out(lane_bits),
                "move": Out(1),
                "averaged": Out(layout(p.averages)),
                "done": Out(1),
                "done_lane": Out(lane_bits),
                "constants": Out(layout(p.constants)),
                "made": Out(p.channel_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Feed, engine, averages, answers."""
        m = Module()
        p = self._params
        m.submodules.engine = engine = RangeBnConstants(p.engine)
        given, made = engine.i.payload, engine.o.payload
        backward, inference, average = Signal(), Signal(), Signal()
        feeding = Signal()
        with m.If(self.start):
            m.d.sync += [
                backward.eq(self.kind == Kind.BACKWARD),
                inference.eq(self.kind == Kind.INFERENCE),
                average.eq(self.average & (self.kind == Kind.FORWARD)),
                self.at.eq(self.block),
                self.busy.eq(1),
                self.fetch.eq(1),
            ]
        with m.If(self.fetch):
            m.d.sync += [self.fetch.eq(0), feeding.eq(1)]
        taken = Signal()
        m.d.comb += [taken.eq(feeding & engine.i.ready), engine.i.valid.eq(feeding)]
        with m.If(taken):
            # Wraps at the last lane.
            m.d.sync += [
                feeding.eq(0),
                self.lane.eq(self.lane + 1),
                self.fetch.eq(self.lane != p.lanes - 1),
            ]
        with m.If(engine.o.valid):
            m.d.sync += self.done_lane.eq(self.done_lane + 1)
            with m.If(self.done_lane == p.lanes - 1):
                m.d.sync += self.busy.eq(0)

        guard, low = p.guard, p.window - p.gradient_window
        total, spread = self.sums.total, self.sums.second[: p.array.spread_bits]
        m.d.comb += [
            # The array's sum of g is in the unit of x's window.
            given.total.eq(
                Mux(
                    backward,
                    total >> low,
                    Mux(inference, self.averages.total >> guard, total),
                )
            ),
            given.spread.eq(Mux(inference, self.averages.spread >> guard, spread)),
            given.moment.eq(self.sums.second),
            given.base.eq(Mux(backward, self.layer.gradient_base, self.layer.base)),
            given.backward.eq(backward),
            given.gamma.eq(self.weights.gamma),
            given.beta.eq(self.weights.beta),
            engine.o.ready.eq(1),
        ]
        for name in p.engine_fields:
            m.d.comb += given[name].eq(self.layer[name])
        kept = data.View(layout(p.kept), self.channel[: p.kept.width])
        for field in p.kept.fields:
            m.d.comb += given[field.name].eq(kept[field.name])

        for name, new in (("total", total), ("spread", spread)):
            before = self.averages[name]
            # 2^momentum times it, less itself, and the sum: divided, what is cut off goes down.
            wide = (before << p.momentum) - before + (new << guard)
            m.d.comb += self.averaged[name].eq(wide >> p.momentum)
        m.d.comb += self.move.eq(taken & average)

        # The engine answers with 0 in what is of the other direction.
        forward = Cat(made[field.name] for field in p.kept.fields)
        results = Cat(made.dbeta, made.dgamma)
        m.d.comb += self.made.eq(
            Cat(
                (forward | results)[: p.channel_bits - 1],
                made.bad | (backward & self.channel[-1]),
            )
        )
        m.d.comb += [
            self.done.eq(engine.o.valid),
            *(
                self.constants[name].eq(made[name])
                for name in ("exponent", "offset", "patch", "unit")
            ),
            self.constants.gain.eq(Mux(backward, kept.slope, made.gain)),
        ]
        return m
