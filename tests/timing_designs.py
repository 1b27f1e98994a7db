"""Netlists that the tests of timing share."""

from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Module, Signal

from narrowgauge.synth.flow import netlists
from narrowgauge.synth.gates import Gates, build
from narrowgauge.synth.library import load

__all__ = ["mac"]


def mac(liberty: str, goal: str, cache: Path) -> Gates:
    """A registered product, an accumulator with enable, and paths of all four groups."""
    m = Module()
    a, b, enable = Signal(5), Signal(5), Signal()
    product, total, busy = Signal(10), Signal(14), Signal()
    m.d.sync += product.eq(a * b)
    with m.If(enable):
        m.d.sync += total.eq(total + product)
    m.d.comb += busy.eq(enable ^ total[-1] ^ (a == 3))
    text = rtlil.convert(m, name="mac", ports=[a, b, enable, total, busy], emit_src=False)
    library = load(liberty)
    made = netlists(name="mac", rtlil=text, library=library, macs=1, parameters={}, cache_dir=cache)
    return build(made.mapped(goal), "mac", library)
