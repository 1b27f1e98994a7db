"""Operand banks of `flexblock_core`: which bits each memory holds, and words for the elements.

A word of FB24 has each nibble in two slots: of A in (d, r) for both d0, of B in (d, s) for both d1.
A bank is two memories. The first holds one slot of each such pair and the first exponent field,
which is all that FB24 needs, the second the others; in front of the elements the first half's slots
take their places in FB24.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value

from narrowgauge.golden.cores.flexblock_core import Params
from narrowgauge.hdl.arith.multimode_mul import or_all

__all__ = ["Halves", "words_of_a", "words_of_b"]

_SMALL = 512
"""Bits of a bank up to which it is one memory: a second one would take more than it saves."""

_SLOT = 5

_DISTINCT = (4, 2)
"""Of a side the bit of a slot's number that tells nibbles of FB24 apart, that of d1 and of d0."""

_D = 6
"""The bits of a slot's number that are d."""


def _source(side: int, slot: int) -> int:
    """The slot of the first half that has the same nibble of FB24, which may be itself."""
    return slot & ~_D | slot & _DISTINCT[side]


def _part(word: Value, slot: int) -> Value:
    return word[_SLOT * slot : _SLOT * slot + _SLOT]


class Halves:
    """The memories of a bank.

    Parameters
    ----------
    params : of the core
    side : 0 A, 1 B

    Attributes
    ----------
    parts : by the end of its name, of each memory the bits that it holds of what is stored, as
        (low, high) in order; the second is not read in FB24
    """

    def __init__(self, params: Params, side: int) -> None:
        p = params
        stored = p.word.width if p.guarded is None else p.guarded.guard.stored_bits
        depth = (p.a_depth, p.b_depth)[side]
        if p.guarded is not None or depth * stored <= _SMALL:
            # Check bits are over the whole word.
            self.parts = {"": [(0, stored)]}
            return
        count = p.word["slots"].count or 0
        end = _SLOT * count
        self.parts = {"_first": [], "_second": []}
        for slot in range(count):
            half = "_first" if _source(side, slot) == slot else "_second"
            self.parts[half].append((_SLOT * slot, _SLOT * slot + _SLOT))
        self.parts["_first"].append((end, end + 8))
        self.parts["_second"].append((end + 8, end + 16))


def words_of_a(m: Module, params: Params, wide: Value, own: Sequence[Value]) -> list[Signal]:
    """Words of A for the elements.

    Parameters
    ----------
    wide : the mode is FB24
    own : what was read of each bank
    """
    count = params.word["slots"].count or 0
    made = [Signal(len(word), name=f"a_word{i}") for i, word in enumerate(own)]
    for word, given in zip(own, made, strict=True):
        slots = [
            Mux(wide, _part(word, _source(0, slot)), _part(word, slot))
            if _source(0, slot) != slot
            else _part(word, slot)
            for slot in range(count)
        ]
        m.d.comb += given.eq(Cat(*slots, word[_SLOT * count :]))
    return made


def words_of_b(
    m: Module, params: Params, way: Value, chosen: Value, own: Sequence[Value]
) -> list[Signal]:
    """Words of B for the elements: one for all, or each its own.

    A multiplexer behind the choice would make the longest paths longer: slots that repeat others in
    FB24 choose of the four at once.

    Parameters
    ----------
    way : one of four: an element's own word, the same in FB24, the common one, the same in FB24
    chosen : the bank that the common word comes from, a bit each
    own : what was read of each bank
    """
    size = len(own[0])
    count = params.word["slots"].count or 0
    common, shared = Signal(size, name="common"), way[2] | way[3]
    gated = [x & gate.replicate(size) for x, gate in zip(own, chosen, strict=True)]
    m.d.comb += common.eq(or_all(gated))
    made = [Signal(size, name=f"b_word{i}") for i in range(len(own))]
    for word, given in zip(own, made, strict=True):
        slots: list[Value] = []
        for slot in range(count):
            source = _source(1, slot)
            if source == slot:
                slots.append(Mux(shared, _part(common, slot), _part(word, slot)))
                continue
            choices = [_part(x, number) for x in (word, common) for number in (slot, source)]
            slots.append(
                or_all([x & gate.replicate(_SLOT) for x, gate in zip(choices, way, strict=True)])
            )
        fields = Mux(shared, common[_SLOT * count :], word[_SLOT * count :])
        m.d.comb += given.eq(Cat(*slots, fields))
    return made
