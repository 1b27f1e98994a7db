"""Scale and shift of interleaved channels: difference, register, product and sum, register, block.

Constants are words of two memories, one for each stage that reads them, so that no constant is
carried from stage to stage: the second memory's read port is the register between them.

Two cycles from a beat to its answer, one beat a cycle.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib.memory import Memory

from narrowgauge.golden.units.range_bn_normalize import Params
from narrowgauge.hdl.arith.bfp_pack import BfpPack
from narrowgauge.hdl.arith.carry_save import CarrySave
from narrowgauge.hdl.arith.rounder import add
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.range_bn_parts import clipped, moved, product

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
        """Address, differences, sums, blocks."""
        m = Module()
        p = self._params
        beat = self.i.payload
        take, value, ends = Signal(), Signal(), Signal()
        first, second = Signal(name="first_valid"), Signal(name="second_valid")
        first_go, second_go = Signal(name="first_go"), Signal(name="second_go")
        m.d.comb += [
            second_go.eq(~second | self.o.ready),
            first_go.eq(~first | second_go),
            self.i.ready.eq(beat.load | first_go),
            take.eq(self.i.valid & self.i.ready),
            value.eq(take & ~beat.load),
            ends.eq(beat.channel_last | beat.last),
        ]
        address = Signal((p.depth - 1).bit_length())
        with m.If(take):
            m.d.sync += address.eq(Mux(ends, 0, address + ~address.all()))
        early = self._memory(m, "early", ("exponent", "minus_mean"), address, take, None)
        late = self._memory(m, "late", ("gain", "offset", "unit"), address, take, value)

        differences, sums = [], []
        for i in range(p.lanes):
            m.submodules[f"lane{i}"] = lane = Module()
            name = f"lane{i}"
            fresh = self._difference(
                lane,
                beat.codes[i],
                beat.scales[i // p.group],
                early["exponent"][i],
                early["minus_mean"][i],
                name,
            )
            difference = Signal(signed(p.difference_bits), name=f"{name}_held", reset_less=True)
            total = Signal(signed(p.pack.width), name=f"{name}_total", reset_less=True)
            summed = Signal(signed(p.pack.width), name=f"{name}_sum")
            lane.d.comb += summed.eq(
                self._sum(lane, difference, late["gain"][i], late["offset"][i], name)
            )
            with m.If(value):
                m.d.sync += difference.eq(fresh)
            with m.If(first & second_go):
                m.d.sync += total.eq(summed)
            differences.append(difference)
            sums.append(total)

        groups = p.lanes // p.group
        nan, last = (
            [Signal(groups, reset_less=True, name=f"nan{s}") for s in "12"],
            [Signal(reset_less=True, name=f"last{s}") for s in "12"],
        )
        units = [Signal(signed(8), name=f"unit{g}", reset_less=True) for g in range(groups)]
        with m.If(first_go):
            m.d.sync += first.eq(value)
        with m.If(value):
            m.d.sync += [
                nan[0].eq(Cat(scale.all() for scale in beat.scales)),
                last[0].eq(beat.last),
            ]
        with m.If(second_go):
            m.d.sync += second.eq(first)
        with m.If(first & second_go):
            m.d.sync += [nan[1].eq(nan[0]), last[1].eq(last[0])]
            m.d.sync += [unit.eq(late["unit"][g]) for g, unit in enumerate(units)]

        for g, unit in enumerate(units):
            m.submodules[f"pack{g}"] = pack = BfpPack(p.pack)
            m.d.comb += [pack.unit.eq(unit), pack.nan.eq(nan[1][g])]
            for i in range(p.group):
                m.d.comb += [
                    pack.value[i].eq(sums[g * p.group + i]),
                    self.o.payload.codes[g * p.group + i].eq(pack.codes[i]),
                ]
            m.d.comb += self.o.payload.scales[g].eq(pack.scale)
        m.d.comb += [self.o.valid.eq(second), self.o.payload.last.eq(last[1])]
        return m

    def _memory(
        self,
        m: Module,
        name: str,
        fields: tuple[str, ...],
        address: Value,
        take: Value,
        enable: Value | None,
    ) -> dict[str, list[Value]]:
        """Constants of every address; the word at `address`, in the next cycle where enabled."""
        p = self._params
        beat = self.i.payload
        sizes = {field.name: field for field in p.constants.fields if field.name in fields}
        width = sum(field.bits for field in sizes.values())
        m.submodules[name] = memory = Memory(shape=width, depth=p.depth, init=[])
        write = memory.write_port()
        read = memory.read_port(domain="comb" if enable is None else "sync")
        m.d.comb += [
            write.addr.eq(address),
            write.en.eq(take & beat.load),
            write.data.eq(Cat(Value.cast(beat[each]) for each in sizes)),
            read.addr.eq(address),
        ]
        if enable is not None:
            m.d.comb += read.en.eq(enable)
        found: dict[str, list[Value]] = {}
        offset = 0
        for each, field in sizes.items():
            parts = [
                read.data[offset + field.width * i :][: field.width].as_signed()
                for i in range(field.count or 1)
            ]
            found[each], offset = parts, offset + field.bits
        return found

    def _sum(self, m: Module, value: Value, gain: Value, offset: Value, name: str) -> Value:
        """A product and an offset: rows of Booth digits and the offset in one tree."""
        tree = CarrySave(m, self._params.pack.width, f"{name}_tree")
        tree.add(offset)
        product(m, tree, value, gain, name)
        return tree.total()

    def _difference(
        self, m: Module, code: Value, scale: Value, exponent: Value, mean: Value, name: str
    ) -> Signal:
        """A code in its channel's unit, and the mean taken off; clipped twice."""
        p, window = self._params, self._params.value_bits - 1
        magnitude, sign = moved(
            m,
            code,
            scale,
            exponent,
            fmt=p.format,
            fraction=p.fraction,
            window=window,
            name=name,
        )
        # Negated by ones' complement, with the one that is missing as the carry.
        wide, other = (
            Signal(window + 2, name=f"{name}_wide"),
            Signal(window + 2, name=f"{name}_mean"),
        )
        m.d.comb += [
            wide.eq(Cat(magnitude ^ sign.replicate(window), sign, sign)),
            other.eq(mean),
        ]
        difference = add(m, wide, other, sign, f"{name}_apart")
        return clipped(m, difference, p.difference_bits - 1, name)
