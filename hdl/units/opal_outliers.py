"""The distributor of `opal_dot`: which outlier products are due of a beat, and their factors.

`opal_schedule` gives slots to the units. A unit takes its outlier from the slots, and the other
factor from the words of the other side by a decoded position (rows and columns, AND-OR), or from
the slot of the other side that lies there.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from narrowgauge.golden.units.opal_dot import Params
from narrowgauge.hdl.arith.multimode_mul import or_all
from narrowgauge.hdl.arith.shifter import saturated
from narrowgauge.hdl.arith.sorting import largest
from narrowgauge.hdl.units.opal_schedule import Chosen, schedule
from narrowgauge.hdl.units.window import any_of

__all__ = ["Distributor", "Product", "Side"]

_COLUMNS = 16
"""Columns of the position decoder."""


class Slot:
    """A slot for an outlier, taken apart; all of it is 0 where the slot is empty."""

    def __init__(self, m: Module, code: Value, position: Value, name: str) -> None:
        self.position = position
        normal, some = Signal(name=f"{name}_normal"), Signal(name=f"{name}_some")
        self.used = Signal(name=f"{name}_used")
        self.field = Signal(8, name=f"{name}_field")
        m.d.comb += [
            normal.eq(code[7:15].any()),
            some.eq(code[:7].any()),
            self.used.eq(normal | some),
            self.field.eq(Cat(code[7] | (~normal & some), code[8:15])),
        ]
        self.sign = code[15]
        self.significand = Cat(code[:7], normal)
        self.special = code[7:15].all()
        self.distance: Value = Const(0)

    def factor(self) -> Value:
        """What a product needs of it: significand, sign, Inf or NaN, distance."""
        return Cat(self.significand, self.sign, self.special, self.distance)


class Side:
    """One side of a beat: words, mode, slots, and the largest exponent field of the block.

    Parameters
    ----------
    beat : payload of the stream
    side : "a" or "w"
    """

    def __init__(self, m: Module, params: Params, beat: Value, side: str, steps: int) -> None:
        self.words = Cat(*beat[side])
        self.high = beat[f"{side}_high"]
        self.slots = [
            Slot(
                m,
                beat[f"{side}_outliers"][j],
                beat[f"{side}_positions"][j],
                f"{side}_slot{j}",
            )
            for j in range(params.n)
        ]
        scale = beat[f"{side}_scale"]
        self.nan = scale.all()
        self.reference = Signal(8, name=f"{side}_reference")
        fields = [scale, *(slot.field for slot in self.slots)]
        m.d.comb += self.reference.eq(largest(m, fields, f"{side}_largest"))
        self.distance = Signal(8, name=f"{side}_distance")
        m.d.comb += self.distance.eq(self.reference - scale if self.slots else 0)
        for j, slot in enumerate(self.slots):
            apart = Signal(8, name=f"{side}_slot{j}_apart")
            slot.distance = Signal(steps, name=f"{side}_slot{j}_distance")
            m.d.comb += [
                apart.eq(self.reference - slot.field),
                slot.distance.eq(saturated(apart, steps)),
            ]


@dataclass(frozen=True, kw_only=True)
class Product:
    """The factors of one product, 0 where the unit has none; `distance` saturates."""

    x: Value
    y: Value
    sign: Value
    distance: Value
    nan: Value
    inf: Value


class Distributor:
    """The products of a cycle.

    Parameters
    ----------
    m : module that gets the gates
    a, w : sides of the beat
    base : position of the beat's first element, in quarters of lanes
    phase : cycle of the beat
    steps : bits of a saturated distance
    """

    def __init__(
        self, m: Module, params: Params, a: Side, w: Side, base: Value, phase: Value, steps: int
    ) -> None:
        self._m, self._p, self._a, self._w = m, params, a, w
        self._steps = steps
        self._low_low = Signal(name="low_low")
        self._high_high = Signal(name="both_high")
        m.d.comb += [
            self._low_low.eq(~(a.high | w.high)),
            self._high_high.eq(a.high & w.high),
        ]
        partners, due = self._due(base)
        chosen, self.final = schedule(m, params, due, phase)
        self.products = [self._product(u, chosen[u], partners) for u in range(params.fp_units)]

    def _inside(self, position: Value, base: Value, name: str) -> Signal:
        """Whether a position of the block lies in the beat."""
        quarter = (self._p.lanes // 4).bit_length() - 1
        number = position[quarter:]
        inside = Signal(name=name)
        # The lowest bits of a beat's number are those of quarters and halves.
        loose = [~self._high_high, self._low_low]
        same = [
            ~(number[i] ^ base[i]) | (loose[i] if i < len(loose) else Const(0, 1))
            for i in range(len(number))
        ]
        self._m.d.comb += inside.eq(Cat(*same).all())
        return inside

    def _due(self, base: Value) -> tuple[list[list[Value]], tuple[list[Value], list[Value]]]:
        """For each a slot its first w slot, one-hot; which a and w slots are due."""
        m, a, w = self._m, self._a.slots, self._w.slots
        partners: list[list[Value]] = []
        met: list[list[Value]] = [[] for _ in w]
        for i, one in enumerate(a):
            row: list[Value] = []
            firsts: list[Value] = []
            for j, other in enumerate(w):
                same = Signal(name=f"same{i}_{j}")
                first = Signal(name=f"first{i}_{j}")
                m.d.comb += [
                    same.eq((one.position == other.position) & other.used),
                    first.eq(same & ~any_of(row)),
                ]
                row.append(same)
                met[j].append(same & one.used)
                firsts.append(first)
            partners.append(firsts)
        due: tuple[list[Value], list[Value]] = ([], [])
        for number, (side, slots) in enumerate((("a", a), ("w", w))):
            for j, slot in enumerate(slots):
                wanted = Signal(name=f"{side}_slot{j}_due")
                inside = self._inside(slot.position, base, f"{side}_slot{j}_inside")
                free = ~any_of(met[j]) if side == "w" else Const(1, 1)
                m.d.comb += wanted.eq(slot.used & inside & free)
                due[number].append(wanted)
        return partners, due

    def _product(self, u: int, chosen: Chosen, partners: list[list[Value]]) -> Product:
        m, p, name = self._m, self._p, f"unit{u}"
        a, w = self._a, self._w
        is_a, is_w = Signal(name=f"{name}_is_a"), Signal(name=f"{name}_is_w")
        m.d.comb += [is_a.eq(chosen.a.any()), is_w.eq(any_of(list(chosen.w)))]
        inside = p.lanes.bit_length() - 1
        slots = [*a.slots, *w.slots][: p.n + len(chosen.w)]
        outlier = self._select(
            [*chosen.a, *chosen.w],
            [Cat(slot.factor(), slot.position[:inside]) for slot in slots],
            f"{name}_outlier",
        )
        size = 10 + self._steps
        position = outlier[size:]
        match = self._select(list(chosen.a), [Cat(*row) for row in partners], f"{name}_match")
        other = self._select(list(match), [slot.factor() for slot in w.slots], f"{name}_partner")
        paired = Signal(name=f"{name}_paired")
        m.d.comb += paired.eq(match.any())
        sides = [(is_a & ~paired, w, "w"), (is_w, a, "a")][: 1 + bool(len(chosen.w))]
        code_sign, magnitude = self._code(position, sides, name)

        x, y = outlier[:8], Signal(8, name=f"{name}_factor")
        left = 8 - len(magnitude)
        code = Cat(Const(0, left), magnitude)
        apart = Signal(self._steps, name=f"{name}_apart")
        near = self._select(
            [is_a & ~paired, is_w][: 1 + bool(len(chosen.w))],
            [saturated(side.distance, self._steps) for side in (w, a)][: 1 + bool(len(chosen.w))],
            f"{name}_near",
        )
        total = Signal(self._steps + 1, name=f"{name}_total")
        nan, inf, sign = (Signal(name=f"{name}_{what}") for what in ("nan", "inf", "sign"))
        m.d.comb += [
            y.eq(other[:8] | code),
            sign.eq(outlier[8] ^ (other[8] | code_sign)),
            total.eq(outlier[10:size] + (near | other[10:size])),
            apart.eq(saturated(total, self._steps)),
            nan.eq((outlier[9] & (x[:7].any() | ~y.any())) | (other[9] & other[:7].any())),
            inf.eq(outlier[9] | other[9]),
        ]
        return Product(x=x, y=y, sign=sign, distance=apart, nan=nan, inf=inf)

    def _select(self, gates: list[Value], words: list[Value], name: str) -> Signal:
        """The OR of the words whose gates are 1."""
        picked = Signal(len(words[0]), name=name)
        pairs = zip(gates, words, strict=True)
        self._m.d.comb += picked.eq(
            or_all([word & gate.replicate(len(word)) for gate, word in pairs])
        )
        return picked

    def _code(
        self, position: Value, sides: list[tuple[Value, Side, str]], name: str
    ) -> tuple[Value, Value]:
        """Sign and high magnitude of the code at a position of the beat, of the side that is on."""
        m, p, low = self._m, self._p, self._p.low
        bits = p.lanes.bit_length() - 1
        at = position[:bits]
        # The container of two slots that the code lies in.
        container = Signal(bits - 1, name=f"{name}_container")
        mixed = at[: bits - 1]
        m.d.comb += container.eq(
            Mux(
                self._low_low,
                at[1:],
                Mux(self._high_high, Cat(Const(0, 1), at[: bits - 2]), mixed),
            )
        )
        count = p.lanes // 2
        columns = min(_COLUMNS, count)
        rows = count // columns
        split = columns.bit_length() - 1
        row = Signal(rows, name=f"{name}_row")
        m.d.comb += [row[r].eq(container[split:] == r) for r in range(rows)]
        parts: list[Value] = [Const(0, 2 * low)] * rows
        for gate, origin, side in sides:
            words = origin.words
            column = Signal(columns, name=f"{name}_{side}_column")
            m.d.comb += [column[c].eq((container[:split] == c) & gate) for c in range(columns)]
            for r in range(rows):
                part = Signal(2 * low, name=f"{name}_{side}_part{r}")
                first = r * columns
                containers = [
                    words[(first + c) * 2 * low : (first + c + 1) * 2 * low] for c in range(columns)
                ]
                pairs = zip(containers, column, strict=True)
                m.d.comb += part.eq(or_all([word & bit.replicate(2 * low) for word, bit in pairs]))
                parts[r] = parts[r] | part
        found = Signal(2 * low, name=f"{name}_found")
        pairs = zip(parts, row, strict=True)
        m.d.comb += found.eq(or_all([part & bit.replicate(2 * low) for part, bit in pairs]))
        lower, upper = found[:low], found[low:]
        high = Signal(name=f"{name}_high")
        m.d.comb += high.eq(any_of([gate & origin.high for gate, origin, _ in sides]))
        top = Signal(low, name=f"{name}_slot")
        below = Signal(low - 1, name=f"{name}_below")
        m.d.comb += [
            top.eq(Mux(high | (self._low_low & at[0]), upper, lower)),
            below.eq(lower[:-1] & high.replicate(low - 1)),
        ]
        return top[-1], Cat(below, top[:-1])
