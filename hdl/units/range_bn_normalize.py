"""Scale and shift of interleaved channels: product, move and sum, register, block.

A code is multiplied before it is moved, as the few bits that it is; the mean is part of the offset.

A cycle from a beat to its answer, one beat a cycle.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib.memory import Memory

from narrowgauge.golden.units.range_bn_normalize import Params
from narrowgauge.hdl.arith.bfp_pack import BfpPack
from narrowgauge.hdl.arith.rounder import add
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.range_bn_parts import multiply, place_product

__all__ = ["RangeBnNormalize"]


class RangeBnNormalize(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.range_bn_normalize.Params`

    Ports
    -----
    i : stream of `params.input`, one beat a cycle
    o : stream of `params.output`, one for each beat of `i` without `load`
    """

    latency = None
    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Address, sums, blocks."""
        m = Module()
        p = self._params
        beat = self.i.payload
        take, value, ends, go = Signal(), Signal(), Signal(), Signal()
        there, last = Signal(), Signal(reset_less=True)
        m.d.comb += [
            go.eq(~there | self.o.ready),
            self.i.ready.eq(beat.load | go),
            take.eq(self.i.valid & self.i.ready),
            value.eq(take & ~beat.load),
            ends.eq(beat.channel_last | beat.last),
            self.o.valid.eq(there),
            self.o.payload.last.eq(last),
        ]
        address = Signal((p.depth - 1).bit_length())
        with m.If(take):
            m.d.sync += address.eq(Mux(ends, 0, address + ~address.all()))
        with m.If(go):
            m.d.sync += there.eq(value)
        with m.If(value):
            m.d.sync += last.eq(beat.last)
        kept = self._memory(m, address, take)

        for g in range(p.lanes // p.group):
            unit, nan = (
                Signal(signed(8), name=f"unit{g}", reset_less=True),
                Signal(name=f"nan{g}", reset_less=True),
            )
            with m.If(value):
                m.d.sync += [unit.eq(kept["unit"][g]), nan.eq(beat.scales[g].all())]
            m.submodules[f"pack{g}"] = pack = BfpPack(p.pack)
            m.d.comb += [
                pack.unit.eq(unit),
                pack.nan.eq(nan),
                self.o.payload.scales[g].eq(pack.scale),
            ]
            for i in range(g * p.group, (g + 1) * p.group):
                m.submodules[f"lane{i}"] = lane = Module()
                total = Signal(signed(p.pack.width), name=f"lane{i}_total", reset_less=True)
                fresh = self._sum(
                    lane,
                    beat.codes[i],
                    beat.scales[g],
                    {name: kept[name][i] for name in ("exponent", "gain", "offset")},
                    f"lane{i}",
                )
                with m.If(value):
                    m.d.sync += total.eq(fresh)
                m.d.comb += [
                    pack.value[i - g * p.group].eq(total),
                    self.o.payload.codes[i].eq(pack.codes[i - g * p.group]),
                ]
        return m

    def _memory(self, m: Module, address: Value, take: Value) -> dict[str, list[Value]]:
        """Constants of the channels at `address`."""
        p, beat = self._params, self.i.payload
        fields = p.constants.fields
        m.submodules.words = words = Memory(
            shape=sum(field.bits for field in fields), depth=p.depth, init=[]
        )
        write, read = words.write_port(), words.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(address),
            write.en.eq(take & beat.load),
            write.data.eq(Cat(Value.cast(beat[field.name]) for field in fields)),
            read.addr.eq(address),
        ]
        found: dict[str, list[Value]] = {}
        offset = 0
        for field in fields:
            parts = [
                read.data[offset + field.width * i :][: field.width]
                for i in range(field.count or 1)
            ]
            found[field.name], offset = parts, offset + field.bits
        return found

    def _sum(
        self, m: Module, code: Value, scale: Value, kept: dict[str, Value], name: str
    ) -> Signal:
        """The product of gain and code in the unit of the offset, and their sum."""
        p, size = self._params, self._params.format.mantissa_bits
        window, width = p.arithmetic.product, p.pack.width
        gain = kept["gain"]
        right = Signal(signed(9), name=f"{name}_right")
        magnitude = Signal(size, name=f"{name}_magnitude")
        m.d.comb += [
            right.eq(kept["exponent"].as_signed() - (scale | ~scale.any())),
            magnitude.eq(code[:size] & (~scale.all()).replicate(size)),
        ]
        product = multiply(m, gain[: p.precision], magnitude, name)
        moved = place_product(m, product, right, window, name)
        minus, wide, other = (
            Signal(name=f"{name}_minus"),
            Signal(width, name=f"{name}_wide"),
            Signal(width, name=f"{name}_offset"),
        )
        m.d.comb += [
            minus.eq(code[size] ^ gain[p.precision]),
            wide.eq(Cat(moved ^ minus.replicate(window), minus.replicate(width - window))),
            other.eq(kept["offset"].as_signed()),
        ]
        return add(m, other, wide, minus, f"{name}_sum")
