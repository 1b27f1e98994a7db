"""Lanes that make all passes of range batch normalisation, and what tells them what to do.

Extremes, totals and constants lie in registers of the lanes, which passes share; they are given and
taken a lane at a time, so that no more than one lane's constants cross the ports. A beat's sums are
in registers after a cycle, and the blocks that are rounded from them follow without another.

One beat a cycle in every pass, and one cycle more for a beat with patches. A chunk's answer takes a
beat a lane, in which nothing is taken. LOAD and PLACES wait until what is under way has left, as
does a pass that another one is before.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed

from narrowgauge.golden.units.range_bn_array import Params
from narrowgauge.hdl.arith.bfp_pack import BfpPack
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.range_bn_lane import Block, Lane, Steps

__all__ = ["RangeBnArray"]


class RangeBnArray(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.range_bn_array.Params`

    Ports
    -----
    i : stream of `params.input`
    o : stream of `params.output`
    """

    latency = None
    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Control, blocks, lanes, answers."""
        m = Module()
        p, beat = self._params, self.i.payload
        data, scales, backward = beat.mode[1], beat.mode[0], beat.mode[2]
        take = Signal()
        m.d.comb += take.eq(self.i.valid & self.i.ready)

        # The pass that is under way; and whether the next beat begins one in any case.
        scaling, going_back, ended = Signal(), Signal(), Signal(init=1)
        same, fresh, begins = Signal(), Signal(), Signal()
        begin = Signal(reset_less=True)
        position = Signal(p.position_bits, reset_less=True)
        here = Signal(p.position_bits)
        m.d.comb += [
            same.eq((scales == scaling) & (backward == going_back)),
            fresh.eq(ended | ~same),
            begins.eq(fresh | begin),
            here.eq(position & (~fresh).replicate(p.position_bits)),
        ]
        with m.If(take & data):
            m.d.sync += [
                scaling.eq(scales),
                going_back.eq(backward),
                ended.eq(beat.last),
                begin.eq(beat.chunk_last),
                position.eq(here + 1),
            ]
        with m.Elif(take & ~scales):
            m.d.sync += ended.eq(1)

        there, giving, patching = Signal(), Signal(), Signal()
        leaves, idle, flows = Signal(), Signal(), Signal()
        there_last = Signal(reset_less=True)
        m.d.comb += [
            leaves.eq(~there | (self.o.ready & ~patching)),
            idle.eq(~there & ~giving),
            flows.eq(~giving & data & same & leaves),
            self.i.ready.eq(idle | flows),
        ]
        gather, multiply = Signal(), Signal()
        m.d.comb += [
            gather.eq(take & data & ~scales),
            multiply.eq(take & data & (scales | backward)),
        ]
        steps = Steps(
            load=take & ~data & ~scales,
            places=take & ~data & scales,
            gather=gather,
            statistics=gather & ~backward,
            multiply=multiply,
            patching=patching,
            backward=backward,
            propagate=backward & scales,
            gradients=backward & ~scales,
            fresh=fresh,
            begins=begins,
            position=here,
        )
        lanes, seen, packs = self._lanes(m, steps, data, going_back)
        with m.If(leaves):
            m.d.sync += [there.eq(take & data & scales), there_last.eq(beat.last)]
        m.d.sync += patching.eq(multiply & Cat(lane.hit for lane in lanes).any())
        # What was gathered, a lane at a time.
        place, final = Signal(range(p.lanes)), Signal(reset_less=True)
        # Whether the pass had a chunk before, at its next beat and at what is answered.
        chunked, later = Signal(reset_less=True), Signal(reset_less=True)
        done = Signal()
        m.d.comb += done.eq(place == p.lanes - 1)
        with m.If(gather & (beat.last | (beat.chunk_last & ~backward))):
            m.d.sync += [giving.eq(1), final.eq(beat.last), later.eq(chunked & ~fresh)]
        with m.Elif(giving & self.o.ready):
            m.d.sync += [giving.eq(~done), place.eq(Mux(done, 0, place + 1))]
        with m.If(gather):
            m.d.sync += chunked.eq(beat.chunk_last | (chunked & ~fresh))
        out = self.o.payload
        chosen = [giving & (place == i) for i in range(p.lanes)]
        forward = [each & ~going_back for each in chosen]
        spread = self._spread(m, lanes, forward, later)
        m.d.comb += [
            self.o.valid.eq(giving | (there & ~patching)),
            out.total.eq(_picked(chosen, [lane.total[: p.total_bits] for lane in lanes])),
            out.spread.eq(spread),
            out.largest.eq(_picked(forward, [lane.largest for lane in lanes])),
            out.least.eq(_picked(forward, [lane.least for lane in lanes])),
            out.moment.eq(
                _picked(
                    [each & going_back for each in chosen],
                    [lane.result[: p.moment_bits] for lane in lanes],
                )
            ),
            out.clipped.eq(_picked(chosen, [lane.clipped for lane in lanes])),
            out.nan.eq(_picked(chosen, [seen[i // p.group] for i in range(p.lanes)])),
            out.last.eq(Mux(giving, final & done, there_last)),
        ]
        for g, pack in enumerate(packs):
            m.d.comb += out.scales[g].eq(pack.scale & there.replicate(len(pack.scale)))
            for i in range(p.group):
                code = Value.cast(pack.codes[i])
                m.d.comb += out.codes[g * p.group + i].eq(code & there.replicate(len(code)))
        return m

    def _spread(self, m: Module, lanes: list[Lane], chosen: list[Value], later: Value) -> Signal:
        """The ranges of a lane's chunks, that of the one that is answered among them."""
        p = self._params
        size = p.window + 1
        top, bottom = Signal(size, name="top"), Signal(size, name="bottom")
        before, spread = Signal(p.spread_bits, name="spread_before"), Signal(p.spread_bits)
        m.d.comb += [
            top.eq(_picked(chosen, [lane.top[:size] for lane in lanes])),
            bottom.eq(_picked(chosen, [lane.bottom[:size] for lane in lanes])),
            before.eq(
                _picked(
                    [each & later for each in chosen],
                    [lane.spread[: p.spread_bits] for lane in lanes],
                )
            ),
            # Never negative; a negative value has one less than it is worth.
            spread.eq(
                before + (top.as_signed() - bottom.as_signed() + top[-1] - bottom[-1])[:size]
            ),
        ]
        given = Cat(self.i.payload.gain, self.i.payload.exponent)
        for pick, lane in zip(chosen, lanes, strict=True):
            with m.If(lane.load | (pick & self.o.ready)):
                m.d.sync += lane.spread.eq(Mux(lane.load, given, spread))
        return spread

    def _lanes(
        self, m: Module, steps: Steps, data: Value, going_back: Value
    ) -> tuple[list[Lane], list[Signal], list[BfpPack]]:
        """Lanes; what blocks have seen of NaN; and the packers behind them."""
        p, beat = self._params, self.i.payload
        positions = []
        for name in ("largest", "least"):
            at = Signal(p.position_bits, name=f"{name}_at")
            m.d.comb += at.eq(Mux(data, steps.position, beat[name]))
            positions.append(at)
        lanes: list[Lane] = []
        seen: list[Signal] = []
        packs = []
        size = p.backward.exponent_bits
        for g in range(p.lanes // p.group):
            x_scale, g_scale = beat.x_scales[g], beat.g_scales[g]
            below = Signal(signed(size + 1), name=f"block{g}_below")
            scale = Signal(size, name=f"block{g}_scale")
            field = Signal(size, name=f"block{g}_field")
            apart = Signal(signed(size + 2), name=f"block{g}_apart")
            nan, bad = Signal(name=f"block{g}_nan"), Signal(name=f"block{g}_bad")
            m.d.comb += [
                scale.eq(Mux(steps.backward, g_scale, x_scale)),
                # Field 0 stands where field 1 does.
                below.eq((beat.base | ~beat.base.any()) - (scale | ~scale.any())),
                field.eq((x_scale | ~x_scale.any()) & (~steps.propagate).replicate(size)),
                apart.eq(Mux(steps.backward, below, 0) - field),
                nan.eq(Mux(steps.backward, g_scale.all(), x_scale.all())),
                bad.eq(nan | (steps.gradients & x_scale.all())),
            ]
            block = Block(right=below[:size], over=below[-1], nan=nan, apart=apart, bad=bad)
            own = range(g * p.group, (g + 1) * p.group)
            for i in own:
                m.submodules[f"lane{i}"] = lane = Module()
                lanes.append(Lane(lane, p, beat, steps, block, i, (positions[0], positions[1])))

            unit = Signal(signed(8), name=f"unit{g}", reset_less=True)
            now = Signal(name=f"nan{g}", reset_less=True)
            with m.If(steps.load & (beat.lane == own[-1])):
                m.d.sync += unit.eq(beat.unit)
            # Passes that gather keep it, the others take it along.
            with m.If(steps.gather | steps.multiply):
                m.d.sync += now.eq(bad | (now & steps.gather & ~steps.fresh))
            seen.append(now)
            m.submodules[f"pack{g}"] = pack = BfpPack(p.pack)
            m.d.comb += [pack.unit.eq(unit), pack.nan.eq(now), pack.alt.eq(going_back)]
            for i in range(p.group):
                result = lanes[g * p.group + i].result
                m.d.comb += pack.value[i].eq(result[: p.pack.width].as_signed())
            packs.append(pack)
        return lanes, seen, packs


def _picked(chosen: list[Value], values: list[Signal]) -> Value:
    """The value that is chosen, or 0."""
    parts = [value & pick.replicate(len(value)) for pick, value in zip(chosen, values, strict=True)]
    return reduce(or_, parts)
