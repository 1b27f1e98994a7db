"""The schedule of `opal_dot`'s outlier products: which unit takes which slot in which cycle.

Slots due are numbered one-hot, so that comparing a number is taking a bit. A unit takes the a slots
whose number is its own modulo fp_units, then, in the upper half of the units, w slots likewise.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Signal, Value

from narrowgauge.golden.units.opal_dot import Params
from narrowgauge.hdl.units.window import any_of

__all__ = ["Chosen", "most_cycles", "schedule"]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The slot that a unit takes, one-hot; `w` is empty where the unit takes none of them."""

    a: Signal
    w: Value


def _ranks(m: Module, due: list[Value], side: str) -> tuple[list[list[Value]], list[Value]]:
    """For each slot one-hot the number of slots due before it, 0 where it is not due itself.

    And the same of all of them.
    """
    before: list[Value] = [Const(1, 1)]
    ranks: list[list[Value]] = []
    for j, wanted in enumerate(due):
        here = Signal(j + 1, name=f"{side}_rank{j}")
        after = Signal(j + 2, name=f"{side}_count{j}")
        m.d.comb += [
            here.eq(Cat(*before) & wanted.replicate(j + 1)),
            after.eq(Cat(*(bit & ~wanted for bit in before), Const(0, 1)) | (here << 1)),
        ]
        ranks.append(list(here))
        before = list(after)
    return ranks, before


def schedule(
    m: Module, params: Params, due: tuple[list[Value], list[Value]], phase: Value
) -> tuple[list[Chosen], Value]:
    """For each unit the slot that it takes in this cycle, one-hot."""
    units, w_units = params.fp_units, params.w_units
    a_ranks, a_count = _ranks(m, due[0], "a")
    w_ranks, w_count = _ranks(m, due[1], "w")
    cycles = most_cycles(params)
    now = Signal(cycles, name="phase_is")
    m.d.comb += [now[c].eq(phase == c if cycles > 1 else 1) for c in range(cycles)]
    chosen: list[Chosen] = []
    # More than c products for a unit, for each c.
    longer: list[list[Value]] = [[] for _ in range(cycles)]
    for u in range(units):
        queue = -(-(params.n - u) // units) if u < params.n else 0
        a_row = [
            any_of(
                [rank[c * units + u] & now[c] for c in range(queue) if c * units + u < len(rank)]
            )
            for rank in a_ranks
        ]
        # Exactly t of the a slots due are this unit's.
        mine = [
            Cat(*a_count[max(0, (t - 1) * units + u + 1) : t * units + u + 1]).any()
            for t in range(queue + 1)
        ]
        w_row: list[Value] = []
        start = units - 1 - u
        w_queue = -(-(params.n - start) // w_units) if start < min(w_units, params.n) else 0
        if w_queue:
            turns = [
                any_of([mine[t] & now[i + t] for t in range(queue + 1)]) for i in range(w_queue)
            ]
            w_row = [
                any_of(
                    [
                        rank[i * w_units + start] & turns[i]
                        for i in range(w_queue)
                        if i * w_units + start < len(rank)
                    ]
                )
                for rank in w_ranks
            ]
        a_bits = Signal(len(a_row), name=f"unit{u}_a")
        w_bits: Value = Const(0, 0)
        m.d.comb += a_bits.eq(Cat(*a_row))
        if w_row:
            w_bits = Signal(len(w_row), name=f"unit{u}_w")
            m.d.comb += w_bits.eq(Cat(*w_row))
        chosen.append(Chosen(a=a_bits, w=w_bits))
        for c in range(cycles):
            for t in range(queue + 1):
                # With t a slots, this unit has more than c where c - t w slots are not all.
                if t > c:
                    longer[c].append(mine[t])
                elif w_queue > c - t:
                    several = Cat(*w_count[(c - t) * w_units + start + 1 :]).any()
                    longer[c].append(mine[t] & several)
    final = Signal(name="final_phase")
    m.d.comb += final.eq(~any_of([any_of(longer[c + 1]) & now[c] for c in range(cycles - 1)]))
    return chosen, final


def most_cycles(params: Params) -> int:
    """The most cycles that a beat can take."""
    if not params.n:
        return 1
    units, w_units = params.fp_units, params.w_units
    return max(
        max(0, -(-(params.n - u) // units))
        + (max(0, -(-(params.n - units + 1 + u) // w_units)) if u >= units - w_units else 0)
        for u in range(units)
    )
