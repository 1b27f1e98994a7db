"""A carry-save multiplier proved by algebra, at any width: no solver can do 24 by 24 bits.

Every full or half adder of the tree keeps its sum, s + 2 c = x + y + z, as its truth table shows.
 So the weighted bits of the product are, step by step, those of the rows, and the carries
cancel. Each bit of a row is a Boolean function of a few bits of the factors, hence one multilinear
polynomial of them; all rows together must be the polynomial of the product, coefficient by
coefficient, modulo 2**width. A multilinear polynomial on Booleans has one form, so this is a proof.
Source: after A. Mahzoon, D. Grosse, R. Drechsler, "RevSCA: Using Reverse Engineering to Bring Light
into Backward Rewriting for Big and Dirty Multipliers", DAC 2019.
"""

import re
from dataclasses import dataclass

from narrowgauge.golden.errors import NarrowgaugeError
from narrowgauge.verify.prove.claims import Claim, Context, Proof, Stopwatch
from narrowgauge.verify.prove.gates import Gate, Gates, gates
from narrowgauge.verify.prove.search import search

__all__ = ["FoundError", "Polynomial", "Product", "tree_polynomial"]

_MOST = 8
"""Bits of the factors that one bit of a row may depend on."""

Polynomial = dict[frozenset[int], int]


@dataclass(frozen=True, kw_only=True)
class Product(Claim):
    """A wire is the product of two others, unsigned.

    Parameters
    ----------
    product, factors : names of wires of the flattened design; the adders of the tree have signals
        `PRODUCT_..._s` and `_c`, and `_h` between the two halves of a full adder
    """

    product: str
    factors: tuple[str, str]

    def settle(self, context: Context) -> Proof:
        """Rewrite from the product to the factors; where that fails, look for a counterexample."""
        watch = Stopwatch()
        made = gates(context.design.text, context.design.name, optimised=False)
        try:
            reason = _compared(made, self.product, self.factors)
        except FoundError as error:
            reason = str(error)
        if not reason:
            return self.proof("proved", watch.seconds)
        shown = search(context)
        if shown is not None:
            return self.proof("refuted", watch.seconds, counterexample=shown)
        return self.proof("unknown", watch.seconds, reason=reason)


class FoundError(NarrowgaugeError):
    """The design is not of the shape that the algebra needs."""


def _compared(made: Gates, product: str, factors: tuple[str, str]) -> str:
    """Why the product is not that of the factors; empty where it is."""
    for name in (product, *factors):
        if name not in made.names:
            raise NarrowgaugeError(f"the design has no wire {name!r}")
    bits, (a, b) = made.names[product], (made.names[factor] for factor in factors)
    if len(bits) < len(a) + len(b):
        raise NarrowgaugeError(f"wire {product!r} is too narrow for the product")
    left = tree_polynomial(made, bits, product, {*a, *b})
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            monomial = frozenset((x, y))
            left[monomial] = (left.get(monomial, 0) - (1 << (i + j))) % (1 << len(bits))
    wrong = sum(1 for coefficient in left.values() if coefficient)
    return f"{wrong} coefficients of {product} are not those of the product" if wrong else ""


def tree_polynomial(made: Gates, bits: tuple[int, ...], tree: str, leaves: set[int]) -> Polynomial:
    """The number in some bits as a polynomial of `leaves`, modulo 2**len(bits).

    Parameters
    ----------
    tree : prefix of the adders' signals
    """
    modulus = 1 << len(bits)
    drivers = {gate.output: gate for gate in made.gates}
    adders = _adders(made, drivers, tree)

    weights = dict.fromkeys(drivers, 0)
    for place, net in enumerate(bits):
        weights[net] = weights.get(net, 0) + (1 << place)
    # Whatever uses a sum comes after it, so its weight is final when it is met from the end.
    for gate in reversed(made.gates):
        weight = weights[gate.output] % modulus
        if weight and gate.output in adders:
            carry, linear = adders[gate.output]
            weights[gate.output] = 0
            weights[carry] = weights.get(carry, 0) - 2 * weight
            for net, factor in linear.items():
                weights[net] = weights.get(net, 0) + weight * factor

    found: Polynomial = {}
    for net, weight in weights.items():
        if weight % modulus:
            for monomial, factor in _polynomial(net, drivers, leaves).items():
                found[monomial] = (found.get(monomial, 0) + weight * factor) % modulus
    return found


def _adders(
    made: Gates, drivers: dict[int, Gate], product: str
) -> dict[int, tuple[int, dict[int, int]]]:
    """Sum net -> carry net and what both add up to: net -> factor, of net 1 the constant.

    Every adder is checked by its truth table.
    """
    found = {}
    for name, nets in made.names.items():
        if not re.fullmatch(re.escape(product) + r"_\d+_\d+_s", name) or nets[0] not in drivers:
            continue
        (sum_,), (carry,) = nets, made.names[f"{name[:-1]}c"]
        plain = set(drivers[sum_].inputs)
        inputs = plain
        for half in made.names.get(f"{name[:-1]}h", ()):
            if half in inputs and half in drivers:
                inputs = inputs - {half} | set(drivers[half].inputs)
        # Where a constant goes in, the half may be an input under another name.
        linear = _linear(sum_, carry, inputs, drivers) or _linear(sum_, carry, plain, drivers)
        if not linear:
            raise FoundError(f"adder {name[:-2]} does not add")
        found[sum_] = (carry, linear)
    return found


def _linear(
    sum_: int, carry: int, inputs: set[int], drivers: dict[int, Gate]
) -> dict[int, int] | None:
    """What a sum bit and twice a carry are of some nets, None where that is not linear."""
    ordered = tuple(sorted({_source(net, drivers) for net in inputs} - {0, 1}))
    columns = _columns(ordered)
    try:
        table = [_evaluated(net, drivers, columns) for net in (sum_, carry)]
    except FoundError:
        return None
    rows = range(1 << len(ordered))
    values = [(table[0] >> row & 1) + 2 * (table[1] >> row & 1) for row in rows]
    # With an input that is constant, or inverted on the way, the sum is still linear.
    linear = {}
    for monomial, factor in _coefficients(values, ordered).items():
        if len(monomial) > 1:
            return None
        linear[next(iter(monomial), 1)] = factor
    return linear


def _source(net: int, drivers: dict[int, Gate]) -> int:
    """The net behind inverters: a signal that is used twice inverted has two of them."""
    while net in drivers and drivers[net].kind in ("not", "buf"):
        (net,) = drivers[net].inputs
    return net


def _columns(nets: tuple[int, ...]) -> dict[int, int]:
    """For each net its column of the table of all values, one bit a row."""
    rows = 1 << len(nets)
    return {
        net: sum(1 << row for row in range(rows) if row >> place & 1)
        for place, net in enumerate(nets)
    }


def _evaluated(net: int, drivers: dict[int, Gate], columns: dict[int, int]) -> int:
    """The column of a net from those of the nets that it depends on."""
    if net in columns:
        return columns[net]
    if net in (0, 1):
        return -net
    if net not in drivers:
        raise FoundError("a bit depends on more than the factors")
    gate = drivers[net]
    return gate.apply(*(_evaluated(each, drivers, columns) for each in gate.inputs))


def _polynomial(net: int, drivers: dict[int, Gate], leaves: set[int]) -> Polynomial:
    """The multilinear polynomial of a net in the bits of the factors."""
    support: set[int] = set()
    waiting = [net]
    while waiting:
        each = waiting.pop()
        if each in leaves:
            support.add(each)
        elif each in drivers:
            waiting += drivers[each].inputs
        elif each > 1:
            raise FoundError("a bit of a row depends on more than the factors")
        if len(support) > _MOST:
            raise FoundError("a bit of a row depends on too many bits of the factors")
    nets = tuple(sorted(support))
    column = _evaluated(net, drivers, _columns(nets))
    return _coefficients([column >> row & 1 for row in range(1 << len(nets))], nets)


def _coefficients(values: list[int], nets: tuple[int, ...]) -> Polynomial:
    """The multilinear polynomial with these values, by the Moebius transform."""
    for place in range(len(nets)):
        for row in range(len(values)):
            if row >> place & 1:
                values[row] -= values[row ^ (1 << place)]
    return {
        frozenset(net for place, net in enumerate(nets) if row >> place & 1): value
        for row, value in enumerate(values)
        if value
    }
