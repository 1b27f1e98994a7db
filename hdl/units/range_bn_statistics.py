"""Statistics of interleaved channels: a memory word a beat, read and written in the same cycle.

Extremes are kept and compared with their negative values in ones' complement, so that no value is
negated: for sums the one that is missing is the adder's carry. What a tensor or chunk has before
its first position is not read, so that nothing is ever cleared.

An answer leaves in the cycle of its beat: latency 0, one beat a cycle. Registers behind it would
cost three quarters of the unit once more and shorten no path, since the memory takes the same.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib.memory import Memory

from narrowgauge.golden.units.range_bn_statistics import Params
from narrowgauge.hdl.arith.rounder import add
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.range_bn_parts import place

__all__ = ["RangeBnStatistics"]


class RangeBnStatistics(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.range_bn_statistics.Params`

    Ports
    -----
    i : stream of `params.input`, one beat a cycle
    o : stream of `params.output`, one for each beat of `i` that ends a chunk
    """

    latency = 0
    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Places of the beat, groups, lanes, memory, answer."""
        m = Module()
        p = self._params
        beat, answer = self.i.payload, self.o.payload
        take, pixel, end = Signal(), Signal(), Signal()
        m.d.comb += [
            end.eq(beat.chunk_last | beat.last),
            pixel.eq(beat.channel_last | beat.last),
            self.o.valid.eq(self.i.valid & end),
            self.i.ready.eq(~end | self.o.ready),
            take.eq(self.i.valid & self.i.ready),
        ]
        address, fresh, start, position, ragged = self._follow(m, take, pixel)

        lanes, groups = p.lanes, p.lanes // p.group
        sizes = {
            **{"total": (p.total_bits, lanes), "spread": (p.spread_bits, lanes)},
            **{"top": (p.window + 1, lanes), "bottom": (p.window + 1, lanes)},
            **{"largest": (p.position_bits, lanes), "least": (p.position_bits, lanes)},
            **{"clipped": (1, lanes), "nan": (1, groups)},
        }
        width = sum(size * count for size, count in sizes.values())
        m.submodules.words = words = Memory(shape=width, depth=p.depth, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        m.d.comb += [read.addr.eq(address), write.addr.eq(address), write.en.eq(take)]
        old: dict[str, list[Value]] = {}
        offset = 0
        for name, (size, count) in sizes.items():
            old[name] = [read.data[offset + size * i :][:size] for i in range(count)]
            offset += size * count

        new: dict[str, list[Value]] = {name: [] for name in sizes}
        for g in range(groups):
            right, over, nan = self._group(m, beat.scales[g], beat.base, f"group{g}")
            seen = Signal(name=f"group{g}_seen")
            m.d.comb += seen.eq(nan | (old["nan"][g] & ~fresh))
            new["nan"].append(seen)
            for i in range(g * p.group, (g + 1) * p.group):
                m.submodules[f"lane{i}"] = lane = Module()
                kept = {name: old[name][i] for name in sizes if name != "nan"}
                value, clipped = place(lane, beat.codes[i], right, over, nan, p.window, f"lane{i}")
                made = self._lane(
                    lane, kept, value, clipped, position, fresh, start, end, f"lane{i}"
                )
                for name, each in made.items():
                    new[name].append(each)
        m.d.comb += write.data.eq(Cat(*(Cat(*parts) for parts in new.values())))

        for name in ("total", "spread", "largest", "least", "clipped", "nan"):
            m.d.comb += answer[name].eq(Cat(*new[name]))
        m.d.comb += [answer.ragged.eq(ragged), answer.last.eq(beat.last)]
        return m

    def _follow(
        self, m: Module, take: Value, pixel: Value
    ) -> tuple[Value, Signal, Signal, Signal, Signal]:
        """Address, first position of the tensor, of the chunk, position, ragged up to this beat."""
        p = self._params
        beat = self.i.payload
        bits = (p.depth - 1).bit_length()
        fresh, begin, uneven = Signal(init=1), Signal(), Signal()
        position = Signal(p.position_bits)
        start, ragged, full = Signal(), Signal(), Signal()
        address, top = Signal(bits), Signal(bits, reset_less=True)
        limit = Signal(bits)
        m.d.comb += [
            start.eq(fresh | begin),
            limit.eq(Mux(fresh, p.depth - 1, top)),
            full.eq(address == limit),
            ragged.eq(uneven | Mux(pixel, ~fresh & ~full, full)),
        ]
        with m.If(take):
            m.d.sync += [
                fresh.eq(beat.last | (fresh & ~pixel)),
                uneven.eq(ragged & ~beat.last),
            ]
            with m.If(pixel):
                m.d.sync += [
                    address.eq(0),
                    begin.eq(beat.chunk_last),
                    position.eq(Mux(beat.last, 0, position + 1)),
                ]
                with m.If(fresh):
                    m.d.sync += top.eq(address)
            with m.Elif(~full):
                m.d.sync += address.eq(address + 1)
        return address, fresh, start, position, ragged

    def _group(
        self, m: Module, scale: Value, base: Value, name: str
    ) -> tuple[Signal, Signal, Signal]:
        """How far a block's codes move to the right; whether it is above the window; NaN."""
        p = self._params
        bits = p.format.exponent_bits
        below = Signal(signed(bits + 1), name=f"{name}_below")
        over, nan = Signal(name=f"{name}_over"), Signal(name=f"{name}_nan")
        m.d.comb += [
            # Field 0 stands where field 1 does.
            below.eq((base | ~base.any()) - (scale | ~scale.any())),
            over.eq(below[-1]),
            nan.eq(scale.all()),
        ]
        right = Signal(bits, name=f"{name}_right")
        m.d.comb += right.eq(below[:bits])
        return right, over, nan

    def _lane(
        self,
        m: Module,
        old: dict[str, Value],
        value: Value,
        clipped: Value,
        position: Value,
        fresh: Value,
        start: Value,
        end: Value,
        name: str,
    ) -> dict[str, Value]:
        """The word of a channel with one more value."""
        p = self._params

        def signal(what: str, width: int) -> Signal:
            return Signal(width, name=f"{name}_{what}")

        sign = value[-1]
        total, base = signal("total", p.total_bits), signal("total_before", p.total_bits)
        wide = signal("wide", p.total_bits)
        m.d.comb += [
            base.eq(old["total"] & (~fresh).replicate(p.total_bits)),
            wide.eq(value.as_signed()),
            total.eq(add(m, base, wide, sign, f"{name}_sum")),
        ]
        above, below = signal("above", 1), signal("below", 1)
        top, bottom = signal("top", p.window + 1), signal("bottom", p.window + 1)
        largest, least = signal("largest", p.position_bits), signal("least", p.position_bits)
        m.d.comb += [
            above.eq(start | (value.as_signed() > old["top"].as_signed())),
            below.eq(start | (value.as_signed() < old["bottom"].as_signed())),
            top.eq(Mux(above, value, old["top"])),
            bottom.eq(Mux(below, value, old["bottom"])),
            largest.eq(Mux(above, position, old["largest"])),
            least.eq(Mux(below, position, old["least"])),
        ]
        # The range is never negative; a negative value has one less than it is worth.
        before, range_of = signal("spread_before", p.spread_bits), signal("range", p.window + 2)
        spread = signal("spread", p.spread_bits)
        m.d.comb += [
            before.eq(old["spread"] & (~fresh).replicate(p.spread_bits)),
            range_of.eq(top.as_signed() - bottom.as_signed() + top[-1] - bottom[-1]),
            spread.eq(before + (range_of[: p.window + 1] & end.replicate(p.window + 1))),
        ]
        seen = signal("seen", 1)
        m.d.comb += seen.eq(clipped | (old["clipped"] & ~fresh))
        return {
            "total": total,
            "spread": spread,
            "top": top,
            "bottom": bottom,
            "largest": largest,
            "least": least,
            "clipped": seen,
        }
