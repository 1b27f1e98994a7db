"""Which registers of a stream design keep their values, over a model of its control.

A data register has no value in the model, but that its next value is the present one follows from
the control: the register's own output is found behind the multiplexers before its input.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from narrowgauge.verify.prove.stream_aig import FALSE, TRUE
from narrowgauge.verify.prove.stream_model import Model

__all__ = ["keeps", "selects", "unchanged"]


def unchanged(model: Model) -> list[int]:
    """By node: it holds for certain what it held in the cycle before (of no use in the first)."""
    net, aig = model.net, model.aig
    same = [FALSE] * net.size
    same[0] = TRUE
    held = aig.both(aig.delay(model.offered), aig.delay(model.accepts) ^ 1)
    for literal in net.inputs.values():
        node = literal >> 1
        valued = model.zero[node] == model.one[node] ^ 1
        same[node] = _steady(model, node) if valued else held
    for node in net.registers:
        if model.data[node]:
            same[node] = aig.delay(keeps(model, node))
        else:
            same[node] = _steady(model, node)
    for node, a, b in net.gates:
        made = aig.both(same[a >> 1], same[b >> 1])
        for literal in (a, b):
            nought = model.rails(literal)[0]
            made = aig.either(made, aig.both(nought, aig.delay(nought)))
        same[node] = made
    return same


def _steady(model: Model, node: int) -> int:
    value = model.one[node]
    return model.aig.differ(value, model.aig.delay(value)) ^ 1


def keeps(model: Model, register: int) -> int:
    """Whether a data register's next value is for certain the present one."""
    aig, net = model.aig, model.net
    fanins, fanouts = net.fanins, net.fanouts
    # By node: it equals the register, it equals its complement.
    equal: dict[int, tuple[int, int]] = {register: (TRUE, FALSE)}

    def of(literal: int) -> tuple[int, int]:
        same, opposite = equal.get(literal >> 1, (FALSE, FALSE))
        return (opposite, same) if literal & 1 else (same, opposite)

    work = list(fanouts.get(register, ()))
    heapify(work)
    last = -1
    while work:
        node = heappop(work)
        if node == last:
            continue
        last = node
        a, b = fanins[node]
        made = []
        for x, y in zip(of(a), of(b), strict=True):
            through = aig.either(aig.both(x, model.rails(b)[1]), aig.both(y, model.rails(a)[1]))
            made.append(aig.either(through, aig.both(x, y)))
        if made != [FALSE, FALSE]:
            equal[node] = (made[0], made[1])
            for reader in fanouts.get(node, ()):
                heappush(work, reader)
    return of(net.registers[register])[0]


def selects(model: Model, most: int = 16) -> frozenset[int]:
    """Bits of TDATA that decide whether a register keeps its value.

    A register that is loaded on the beat whose number the payload gives holds an older value until
    then: only with these bits known can it be seen when that is. Bits are given where at most
    `most` leaves decide, none of them a data register.
    """
    net = model.net
    place = {literal >> 1: i for i, literal in enumerate(model.tdata)}
    known: dict[int, frozenset[int] | None] = {}

    def decided(node: int) -> frozenset[int] | None:
        """Bits of TDATA below a node, None where there is more than that below it."""
        if node not in known:
            leaves = net.leaves(node, most)
            if leaves is None or any(x in net.registers and model.data[x] for x in leaves):
                known[node] = None
            else:
                known[node] = frozenset(place[x] for x in leaves if x in place)
        return known[node]

    found: set[int] = set()
    for register, following in net.registers.items():
        if model.data[register]:
            found |= _on_the_way(model, register, following >> 1, decided)
    return frozenset(found)


def _on_the_way(
    model: Model, register: int, target: int, decided: Callable[[int], frozenset[int] | None]
) -> frozenset[int]:
    """Bits that decide at the gates between a register and its next value."""
    net = model.net
    # By node: from where, and what of the conditions for being equal to the register is known.
    before: dict[int, tuple[int, frozenset[int], frozenset[int]]] = {}
    before[register] = (register, frozenset(), frozenset())
    work = list(net.fanouts.get(register, ()))
    heapify(work)
    while work:
        node = heappop(work)
        if node in before:
            continue
        a, b = net.fanins[node]
        for source, side in ((a, b), (b, a)):
            if source >> 1 not in before:
                continue
            _, bits, assumed = before[source >> 1]
            # The other way of a multiplexer whose select is settled.
            settled = side & 1 and any(x ^ 1 in assumed for x in net.fanins.get(side >> 1, ()))
            more = frozenset() if settled or side >> 1 in before else decided(side >> 1)
            if more is not None:
                before[node] = (source >> 1, bits | more, assumed | {side})
                for reader in net.fanouts.get(node, ()):
                    heappush(work, reader)
                break
    return before[target][1] if target in before else frozenset()
