"""A channel of `range_bn_array`: its registers, and the logic that all passes share.

What a pass gathers and what it is given lie in the same registers:

    register     STATISTICS  GRADIENTS  NORMALIZE       PROPAGATE
    total        sum x       sum g      offset          offset
    top, bottom  extremes                               patch
    spread       ranges      exponent   exponent, gain  exponent, gain
    largest      position                               position
    least        position                               position
    result                   sum g x    y               dx

One product of a code with a gain, or of two codes, is moved and added to offset or result. A patch
is added in a cycle of its own: there are few, and adders of three terms would be in every lane.
"""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from narrowgauge.golden.units.range_bn_array import Params
from narrowgauge.hdl.arith.rounder import add
from narrowgauge.hdl.units.range_bn_parts import multiply, place, place_product

__all__ = ["Block", "Lane", "Steps"]


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What all lanes are told; every member is a bit but `position`.

    Parameters
    ----------
    load, places : a lane's constants, its positions come
    gather : a beat of STATISTICS or GRADIENTS is taken
    statistics : a beat of STATISTICS is taken
    multiply : a beat of the other passes is taken
    patching : the result gets its patches
    backward, propagate, gradients : of the beat
    fresh, begins : the beat is the first of its pass, of its chunk
    position : of the beat
    """

    load: Value
    places: Value
    gather: Value
    statistics: Value
    multiply: Value
    patching: Value
    backward: Value
    propagate: Value
    gradients: Value
    fresh: Value
    begins: Value
    position: Value


@dataclass(frozen=True, kw_only=True)
class Block:
    """What the lanes of a block share.

    Parameters
    ----------
    right, over, nan : of the value that is placed: places to the right of the window's top, above
        it, NaN
    apart : what the exponent is added to for a product's places to the right, signed
    bad : a product's block is NaN
    """

    right: Value
    over: Value
    nan: Value
    apart: Value
    bad: Value


class Lane:
    """Registers and logic of one channel, added to a module.

    Parameters
    ----------
    m : module that gets them
    params : of the array
    beat : payload of the input
    steps : of this beat
    block : of this lane's block
    index : number of the lane
    positions : what largest and least take, from the beat or its position

    Attributes
    ----------
    total, top, bottom, spread, largest, least, clipped, result : registers; `spread` is driven
        from outside, where one adder serves all lanes
    load : the beat brings this lane's constants
    hit : the beat's position has a patch
    """

    def __init__(
        self,
        m: Module,
        params: Params,
        beat: Any,
        steps: Steps,
        block: Block,
        index: int,
        positions: tuple[Value, Value],
    ) -> None:
        self._params, self._steps, self._name = params, steps, f"lane{index}"
        p, window = params, params.window + 1
        pick, places = self._signal("pick"), self._signal("places")
        self.load = self._signal("load")
        m.d.comb += [
            pick.eq(beat.lane == index),
            self.load.eq(steps.load & pick),
            places.eq(self.load | (steps.places & pick)),
        ]
        self.total = self._signal("total", max(p.total_bits, p.offset_bits), kept=True)
        self.top = self._signal("top", window, kept=True)
        self.bottom = self._signal("bottom", max(window, p.patch_bits - window), kept=True)
        self.spread = self._signal("spread", max(p.spread_bits, p.precision + 8), kept=True)
        self.largest = self._signal("largest", p.position_bits, kept=True)
        self.least = self._signal("least", p.position_bits, kept=True)
        self.clipped = self._signal("clipped", kept=True)
        self.result = self._signal("result", max(p.moment_bits, p.pack.width), kept=True)

        x, g = beat.x_codes[index], beat.g_codes[index]
        # Of the shorter code the magnitude ends at the top where the longer does.
        size, short = p.forward.mantissa_bits, p.backward.mantissa_bits
        g = Cat(Const(0, size - short), g[:short], g[short])
        code = self._signal("code", size + 1)
        m.d.comb += code.eq(Mux(steps.backward, g, x))
        value, above = place(
            m,
            code,
            block.right,
            block.over,
            block.nan,
            p.window,
            self._name,
            fine=~steps.backward,
            coarse=p.gradient_window,
        )
        self._gather(m, beat, value, above, places, positions)
        self._multiply(m, x, g, block)

    def _signal(self, what: str, width: int = 1, *, kept: bool = False) -> Signal:
        return Signal(width, name=f"{self._name}_{what}", reset_less=kept)

    def _gather(
        self,
        m: Module,
        beat: Any,
        value: Value,
        above: Value,
        places: Value,
        positions: tuple[Value, Value],
    ) -> None:
        """Total, extremes and their positions, clipped."""
        p, steps, size = self._params, self._steps, len(self.total)
        wide, base = self._signal("wide", size), self._signal("base", size)
        # Without a beat nothing is added, which costs less than to keep what there is.
        m.d.comb += [
            wide.eq(value.as_signed() & steps.gather.replicate(len(value)).as_signed()),
            base.eq(self.total & (~(steps.fresh & steps.gather)).replicate(size)),
        ]
        summed = add(m, base, wide, wide[-1], f"{self._name}_sum")
        m.d.sync += self.total.eq(_either(self.load, beat.offset, summed))
        with m.If(steps.gather):
            m.d.sync += self.clipped.eq(above | (self.clipped & ~steps.fresh))

        window = p.window + 1
        bottom = self.bottom[:window]
        higher, lower = self._signal("higher"), self._signal("lower")
        m.d.comb += [
            higher.eq(steps.begins | (value.as_signed() > self.top.as_signed())),
            lower.eq(steps.begins | (value.as_signed() < bottom.as_signed())),
        ]
        for register, position, given, other, at in (
            (self.top, self.largest, beat.patch[:window], higher, positions[0]),
            (self.bottom, self.least, beat.patch[window:], lower, positions[1]),
        ):
            with m.If(self.load | (steps.statistics & other)):
                m.d.sync += register.eq(_either(steps.load, given, value))
            with m.If(places | (steps.statistics & other)):
                m.d.sync += position.eq(at)

    def _multiply(self, m: Module, x: Value, g: Value, block: Block) -> None:
        """A product, moved; what it is added to; the patch."""
        p, steps = self._params, self._steps
        bits, size, window = p.precision, p.forward.mantissa_bits, p.arithmetic.product
        gain, exponent = self.spread[: bits + 1], self.spread[bits + 1 : bits + 8]
        # Of two codes one stands where the gain does, at its top.
        high = Cat(Const(0, bits - size), g)
        factor, code = self._signal("factor", bits + 1), self._signal("multiplied", size + 1)
        m.d.comb += [
            factor.eq(Mux(steps.gradients, high, gain)),
            code.eq(Mux(steps.propagate, g, x)),
        ]
        part = Module()
        m.submodules.product = part
        magnitude = code[:size] & (~block.bad).replicate(size)
        product = multiply(part, factor[:bits], magnitude, self._name)
        right = self._signal("right", len(block.apart) + 1)
        part.d.comb += right.eq(exponent.as_signed() + block.apart.as_signed())
        moved = place_product(part, product, right.as_signed(), window, self._name)

        at_largest, at_least = self._signal("at_largest"), self._signal("at_least")
        self.hit = self._signal("hit")
        hit, minus = self._signal("patched", kept=True), self._signal("minus", kept=True)
        m.d.comb += [
            at_largest.eq(self.largest == steps.position),
            at_least.eq(self.least == steps.position),
            self.hit.eq(steps.propagate & (at_largest ^ at_least)),
        ]
        with m.If(steps.multiply):
            m.d.sync += [hit.eq(self.hit), minus.eq(at_least)]

        width, whole = len(self.result), p.pack.width
        patch = Cat(self.top, self.bottom)[: p.patch_bits] ^ minus.replicate(p.patch_bits)
        patch = patch & hit.replicate(p.patch_bits)
        sign = self._signal("sign")
        carry, keep, give = self._signal("carry"), self._signal("keep"), self._signal("give")
        fill = self._signal("fill")
        m.d.comb += [
            sign.eq(code[size] ^ factor[bits]),
            carry.eq(Mux(steps.patching, minus & hit, sign & steps.multiply)),
            fill.eq(Mux(steps.patching, patch[-1], sign & steps.multiply)),
            keep.eq(~steps.multiply | (steps.gradients & ~steps.fresh)),
            give.eq(steps.multiply & ~steps.gradients),
        ]
        low = max(window, p.patch_bits)
        term, other = self._signal("term", width), self._signal("other", width)
        flipped = Cat(moved ^ sign.replicate(window), sign.replicate(low - window))
        wide = Cat(patch, patch[-1].replicate(low - p.patch_bits))
        offset = self.total[: p.offset_bits]
        offset = Cat(offset, offset[-1].replicate(whole - p.offset_bits))
        m.d.comb += [
            # Without a beat or a patch nothing is added.
            term.eq(
                Cat(
                    (wide & steps.patching.replicate(low))
                    | (flipped & steps.multiply.replicate(low)),
                    fill.replicate(width - low),
                )
            ),
            other.eq(
                (self.result & keep.replicate(width)) | (offset & give.replicate(len(offset)))
            ),
        ]
        total = add(m, other, term, carry, f"{self._name}_next")
        m.d.sync += self.result.eq(total)


def _either(load: Value, given: Value, other: Value) -> Value:
    """What is given, or the other; above the shorter one the bits of the longer."""
    size = min(len(given), len(other))
    longer = given if len(given) > size else other
    return Cat(Mux(load, given.as_unsigned()[:size], other[:size]), longer[size:])
