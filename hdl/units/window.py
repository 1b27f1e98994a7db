"""The window sum of `golden.units.window` in hardware: aligned terms, conversion, accumulation."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.arith.fp_add import Params as AddParams
from narrowgauge.golden.arith.int_to_fp import Params as ConvertParams
from narrowgauge.hdl.arith.carry_save import CarrySave
from narrowgauge.hdl.arith.fp_add import FpAdd
from narrowgauge.hdl.arith.int_to_fp import IntToFp
from narrowgauge.hdl.arith.shifter import saturated
from narrowgauge.hdl.arith.sorting import largest
from narrowgauge.hdl.stream import StreamUnit

__all__ = ["Accumulator", "Bf16Operand", "align", "any_of", "block_sum", "sum_of_lanes"]


def any_of(bits: list[Value]) -> Value:
    """The OR of a list, 0 of none."""
    return Cat(*bits).any() if bits else Const(0, 1)


def align(
    m: Module, value: Value, width: int, distance: Value, *, high: Value, low: Value, name: str
) -> Signal:
    """`value` at the top of `width` bits, shifted right by `distance`.

    `high` comes in at the top and `low` fills below. A one's complement term with its sign for
    both is cut off towards zero, a two's complement one with its sign and 0 towards minus infinity.
    The small steps come first, where the value is still narrow; any distance may be given.
    """
    steps = width.bit_length()
    amount = Signal(steps, name=f"{name}_amount")
    # As far as all steps go leaves nothing of `width` bits.
    m.d.comb += amount.eq(saturated(distance, steps))
    current = value
    for i in range(steps):
        step = 1 << i
        size = min(width, len(current) + step)
        still = Cat(low.replicate(size - len(current)), current)
        moved = Cat(current, high.replicate(step))[len(current) + step - size :]
        row = Signal(size, name=f"{name}_by{step}")
        m.d.comb += row.eq(Mux(amount[i], moved, still))
        current = row
    return current


class Bf16Operand:
    """A bf16 code taken apart: `sign`, `field` (0 counts as 1), `significand`, class flags."""

    def __init__(self, m: Module, code: Value, name: str) -> None:
        normal = Signal(name=f"{name}_normal")
        fraction = Signal(name=f"{name}_fraction")
        special = Signal(name=f"{name}_special")
        m.d.comb += [
            normal.eq(code[7:15].any()),
            fraction.eq(code[:7].any()),
            special.eq(code[7:15].all()),
        ]
        self.sign = code[15]
        self.field = Cat(code[7] | ~normal, code[8:15])
        self.significand = Cat(code[:7], normal)
        self.zero = ~normal & ~fraction
        self.nan = special & fraction
        self.special = special
        """Inf or NaN."""


def block_sum(total: int) -> data.StructLayout:
    """What `Accumulator` takes: a window of `total` bits, its exponent, its special values."""
    return data.StructLayout(
        {
            "total": signed(total),
            "exponent": 9,
            "nan": 1,
            "pos_inf": 1,
            "neg_inf": 1,
            "last": 1,
        }
    )


class Accumulator(wiring.Component):
    """Windows to FP32, added in order: result = sum of RNE(total * 2^(exponent - 254 - fraction)).

    Two registers, of the converted term and of the sum; the sum is the output's register, so a
    result that waits halts both.

    Parameters
    ----------
    total : bits of the window's total, sign included
    fraction : fraction bits of the window

    Ports
    -----
    i : stream of `block_sum(total)`; `last` ends a dot product
    o : stream of {result: 32}
    """

    def __init__(self, *, total: int, fraction: int) -> None:
        self._total = total
        self._bias = -254 - fraction
        super().__init__(
            {
                "i": In(stream.Signature(block_sum(total))),
                "o": Out(stream.Signature(data.StructLayout({"result": 32}))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Convert, register, add, register."""
        m = Module()
        block = self.i.payload
        m.submodules.convert = convert = IntToFp(
            ConvertParams(int_width=self._total, exp_bits=8, man_bits=23, scale_width=10)
        )
        m.submodules.add = add = FpAdd(AddParams(exp_bits=8, man_bits=23))
        special = Signal()
        quiet = Signal()
        term = Signal(32)
        m.d.comb += [
            convert.i.eq(block.total),
            convert.scale.eq(block.exponent + self._bias),
            quiet.eq(block.nan | (block.pos_inf & block.neg_inf)),
            special.eq(block.nan | block.pos_inf | block.neg_inf),
            term.eq(convert.o),
        ]
        with m.If(special):
            m.d.comb += term.eq(Cat(Const(0, 22), quiet, Const(0xFF, 8), block.neg_inf & ~quiet))

        run = Signal()
        term_valid, term_last = Signal(), Signal()
        term_held = Signal(32, reset_less=True)
        total = Signal(32, reset_less=True)
        # +0 before the first term of a dot product.
        fresh = Signal(init=1)
        done = Signal()
        m.d.comb += [
            run.eq(~done | self.o.ready),
            self.i.ready.eq(run),
            self.o.valid.eq(done),
            self.o.payload.result.eq(total),
            add.a.eq(Mux(fresh, 0, total)),
            add.b.eq(term_held),
        ]
        with m.If(run):
            m.d.sync += [
                term_valid.eq(self.i.valid),
                term_last.eq(block.last),
                term_held.eq(term),
                done.eq(term_valid & term_last),
            ]
            with m.If(term_valid):
                m.d.sync += [total.eq(add.o), fresh.eq(term_last)]
        return m


def sum_of_lanes(
    m: Module,
    unit: StreamUnit,
    lanes: list[Any],
    *,
    operands: tuple[str, str],
    fraction: int,
    scale: Value | None = None,
) -> None:
    """A unit whose beat is one window of products: lanes, their sum, register, accumulator.

    Parameters
    ----------
    unit : streams `i`, with `operands` as arrays and `last`, and `o`
    lanes : components with the inputs `operands` and `reference`, and the outputs `field`, `term`
        in one's complement with its `sign`, `nan`, `pos_inf`, `neg_inf`
    fraction : fraction bits of the window
    scale : E8M0 of the whole beat, of which 255 is NaN
    """
    beat = unit.i.payload
    term = len(lanes[0].term)
    reference = Signal(len(lanes[0].reference))
    size = term + 1 + (len(lanes) - 1).bit_length()
    m.submodules.largest = top = Module()
    m.submodules.sum = adders = Module()
    window = CarrySave(adders, size, "window")
    for i, lane in enumerate(lanes):
        m.submodules[f"lane{i}"] = lane
        m.d.comb += [getattr(lane, name).eq(beat[name][i]) for name in operands]
        m.d.comb += lane.reference.eq(reference)
        # One's complement lacks one in the last place where it is negative.
        window.add(Cat(lane.term, lane.sign).as_signed())
        window.add_bit(lane.sign, 0)
    m.d.comb += reference.eq(largest(top, [lane.field for lane in lanes], "largest"))

    m.submodules.accumulator = accumulator = Accumulator(total=size, fraction=fraction)
    held = Signal.like(accumulator.i.payload, reset_less=True)
    valid = Signal()
    total = window.total()
    run = accumulator.i.ready
    nan = any_of([lane.nan for lane in lanes])
    m.d.comb += [
        unit.i.ready.eq(run),
        accumulator.i.valid.eq(valid),
        accumulator.i.payload.eq(held),
    ]
    with m.If(run):
        m.d.sync += [
            valid.eq(unit.i.valid),
            held.total.eq(total),
            held.exponent.eq(reference if scale is None else reference + scale),
            held.nan.eq(nan if scale is None else scale.all() | nan),
            held.pos_inf.eq(any_of([lane.pos_inf for lane in lanes])),
            held.neg_inf.eq(any_of([lane.neg_inf for lane in lanes])),
            held.last.eq(beat.last),
        ]
    wiring.connect(m, accumulator.o, wiring.flipped(unit.o))
