"""Processing element for block floating point: exact group sums, FP32 between the groups.

    slots -> products, sums of one weight -> fused -> + total, one an output
    total, or the others one after the other -> FP32 -> + sum of the output -> result

A beat is multiplied and added to its group's totals in one cycle (`arith.fused_mul`). Of a complete
group the first total is converted in the next cycle while the others step aside, and these follow a
cycle each, so that the next group starts at once; only its end waits for them. One converter and
one FP32 adder serve all outputs, whose sums go round in a ring.

Latency 3 from the final beat to the first result.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from narrowgauge.golden.arith.fp_add import Params as AddParams
from narrowgauge.golden.arith.int_to_fp import Params as ConvertParams
from narrowgauge.golden.units.bfp_pe import Params
from narrowgauge.hdl.arith.carry_save import CarrySave
from narrowgauge.hdl.arith.fp_add import FpAdd
from narrowgauge.hdl.arith.fused_mul import add_fused, slot_sums
from narrowgauge.hdl.arith.int_to_fp import IntToFp
from narrowgauge.hdl.arith.multimode_mul import or_all
from narrowgauge.hdl.arith.multiplier import add_product
from narrowgauge.hdl.stream import StreamUnit

__all__ = ["BfpPe"]

_FLAGS = ("fused", "wide", "last")

_POINT = 254 + 2 * 15
"""A sum of FB24 weighs 2^-_POINT with both fields 0."""

_NAN = 0x7FC00000

_LATE = 40
"""Arrival of a sum of products, in half gates."""


class BfpPe(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.bfp_pe.Params`

    Ports
    -----
    i : stream of `params.input`, one beat a cycle
    o : stream of `params.output`, one or four for every `last`
    """

    latency = None
    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Totals of the group, their turns, conversion, sums of the outputs."""
        m = Module()
        three = self._params.modes == 3
        beat = self.i.payload
        # Moves what is behind the totals; a result that waits halts it.
        run = Signal()
        taken, close, first = Signal(), Signal(), Signal(init=1)
        # A group is complete; which of its totals has its turn, and whether that is the last one.
        full, closing = Signal(name="full"), Signal(name="closing")
        turn, final = Signal(2, name="turn"), Signal(name="final")
        fused, wide, last = (Signal(name=f"held_{x}", reset_less=True) for x in _FLAGS)
        m.d.comb += [
            close.eq(beat.end | beat.last),
            taken.eq(self.i.valid & self.i.ready),
            final.eq(turn.all() | fused if three else 1),
            closing.eq(full & run & final),
            # The first turn frees the totals, the last one what is held beside them.
            self.i.ready.eq(
                ~full | Mux(close, closing, run | turn.any()) if three else ~full | run
            ),
        ]
        held = {
            name: [
                Signal(8, name=f"held_{name}{i}", reset_less=True) for i in range(len(beat[name]))
            ]
            for name in ("a_scale", "b_scale")
        }
        with m.If(taken):
            m.d.sync += first.eq(close)
        with m.If(taken & close):
            m.d.sync += [full.eq(1), last.eq(beat.last)]
            for name, fields in held.items():
                m.d.sync += [field.eq(x) for field, x in zip(fields, beat[name], strict=True)]
            if three:
                m.d.sync += [fused.eq(beat.mode.any()), wide.eq(beat.mode[1])]
        with m.Elif(closing):
            m.d.sync += full.eq(0)
        if three:
            with m.If(full & run):
                m.d.sync += turn.eq(turn + ~fused)

        totals = self._totals(m, taken, first)
        m.submodules.convert = convert = IntToFp(
            ConvertParams(int_width=self._params.sum_width, exp_bits=8, man_bits=23, scale_width=10)
        )
        if three:
            total = _in_turn(m, totals, full, turn, full & run)
            a, b = (Signal(8, name=f"{side}_field") for side in "ab")
            m.d.comb += [
                a.eq(Mux(turn[1], held["a_scale"][1], held["a_scale"][0])),
                b.eq(Mux(turn[0], held["b_scale"][1], held["b_scale"][0])),
            ]
            # What the narrower modes have fewer bits below the point, twice.
            least: Value = Cat(Const(0, 3), ~fused, ~wide)
        else:
            total = totals[0] & full.replicate(len(totals[0]))
            a, b = held["a_scale"][0], held["b_scale"][0]
            least = Const(0, 1)
        nan = Signal()
        term = Signal(32)
        m.d.comb += [
            convert.i.eq(total),
            # Field 0 is field 1.
            convert.scale.eq((a | _none(a)) + (b | _none(b)) + least - _POINT),
            nan.eq(a.all() | b.all()),
            term.eq(Mux(nan, _NAN, convert.o)),
        ]
        self._accumulate(m, run, full, term, ~fused if three else None, final, last)
        return m

    def _totals(self, m: Module, taken: Value, first: Value) -> list[Signal]:
        """Registers of the exact sums of the group so far, one an output."""
        p = self._params
        beat = self.i.payload
        m.submodules.array = array = Module()
        widths = [p.sum_width, *[p.rest_width] * (p.outputs - 1)]
        totals = [
            Signal(signed(width), name=f"total{i}", reset_less=True)
            for i, width in enumerate(widths)
        ]
        trees = [CarrySave(array, width, f"total{i}") for i, width in enumerate(widths)]
        for tree, total in zip(trees, totals, strict=True):
            tree.add((total & (~first).replicate(len(total))).as_unsigned())
        if p.modes == 1:
            for i, (a, b) in enumerate(zip(beat.a, beat.b, strict=True)):
                add_product(array, trees[0], a[:-1], b[:-1], a[-1] ^ b[-1], f"product{i}")
        else:
            sums = slot_sums(array, list(beat.a), list(beat.b))
            add_fused(array, trees[0], sums, beat.mode.any(), beat.mode[1])
            for tree, parts in zip(trees[1:], sums[1:], strict=True):
                for part in parts:
                    tree.add(part, arrival=_LATE)
        with m.If(taken):
            m.d.sync += [total.eq(tree.total()) for total, tree in zip(totals, trees, strict=True)]
        return totals

    def _accumulate(
        self,
        m: Module,
        run: Signal,
        full: Value,
        term: Value,
        four: Value | None,
        final: Value,
        last: Value,
    ) -> None:
        """Register the term, add it to the sum of its output, register and offer that.

        The sums go round: the one that was changed last is the output's register, and `ring` has
        those before it. A group of one output changes the former and turns nothing.
        """
        valid, done = Signal(name="term_valid"), Signal(name="done")
        held = Signal(32, name="held_term", reset_less=True)
        flags = {
            name: (Signal(name=f"term_{name}", reset_less=True), value)
            for name, value in (("four", four), ("final", final), ("last", last))
            if value is not None
        }
        result = Signal(32, reset_less=True)
        ended = Signal(reset_less=True)
        # +0 before the first group of a dot product; the ring's sums may still be as it began.
        fresh = Signal(init=1)
        fresh_ring = Signal(init=1)
        m.submodules.add = add = FpAdd(AddParams(exp_bits=8, man_bits=23))
        before: Value = result
        none: Value = fresh
        ring: list[Signal] = []
        if four is not None:
            ring = [Signal(32, name=f"ring{i}", reset_less=True) for i in range(3)]
            before = Mux(flags["four"][0], ring[0], result)
            none = Mux(flags["final"][0], fresh, fresh_ring)
        m.d.comb += [
            run.eq(~done | self.o.ready),
            self.o.valid.eq(done),
            self.o.payload.result.eq(result),
            self.o.payload.last.eq(ended),
            add.a.eq(before & (~none).replicate(32)),
            add.b.eq(held),
        ]
        with m.If(run):
            m.d.sync += [valid.eq(full), held.eq(term), done.eq(valid & flags["last"][0])]
            m.d.sync += [flag.eq(value) for flag, value in flags.values()]
            with m.If(valid):
                m.d.sync += [result.eq(add.o), ended.eq(flags["final"][0])]
                with m.If(flags["final"][0]):
                    m.d.sync += fresh.eq(flags["last"][0])
                if four is not None:
                    with m.If(flags["final"][0] & (flags["last"][0] | flags["four"][0])):
                        m.d.sync += fresh_ring.eq(flags["last"][0])
                    with m.If(flags["four"][0]):
                        m.d.sync += Cat(*ring).eq(Cat(*ring[1:], result))


def _none(field: Value) -> Value:
    return ~field.any()


def _in_turn(m: Module, totals: Sequence[Signal], full: Value, turn: Value, step: Value) -> Signal:
    """The total whose turn it is, 0 where no group is complete, on the width of the first.

    The others are kept aside from the first turn on, as the next group is added where they were.
    """
    size = len(totals[1])
    kept = [Signal(size, name=f"kept{i}", reset_less=True) for i in range(1, 4)]
    with m.If(step & ~turn.any()):
        m.d.sync += [x.eq(total) for x, total in zip(kept, totals[1:], strict=True)]
    now = [Signal(name=f"turn{i}") for i in range(4)]
    m.d.comb += [x.eq(full & (turn == i)) for i, x in enumerate(now)]
    low, sign = Signal(size, name="turn_low"), Signal(name="turn_sign")
    rest = totals[0][size:]
    chosen = Signal(signed(len(totals[0])), name="total")
    values = [totals[0][:size], *kept]
    m.d.comb += [
        low.eq(or_all([x & gate.replicate(size) for x, gate in zip(values, now, strict=True)])),
        sign.eq(or_all([x[-1] & gate for x, gate in zip(kept, now[1:], strict=True)])),
        chosen.eq(Cat(low, (rest & now[0].replicate(len(rest))) | sign.replicate(len(rest)))),
    ]
    return chosen
