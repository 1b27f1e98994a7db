"""The engines below the claims on streams: circuits, the model checker, a literal comparison."""

import types
from pathlib import Path

import pytest
import verify_designs

from narrowgauge.golden.errors import NarrowgaugeError
from narrowgauge.hdl import emit
from narrowgauge.verify.prove import pdr
from narrowgauge.verify.prove.stream_aig import FALSE, TRUE, Aig
from narrowgauge.verify.prove.stream_model import Model
from narrowgauge.verify.prove.stream_netlist import Netlist, netlist, read
from narrowgauge.verify.prove.stream_shape import shape


def counter(width: int) -> tuple[Aig, list[int]]:
    """A counter of the cycles in which `up` is driven."""
    aig = Aig()
    bits = aig.register(width)
    aig.load(bits, aig.plus(bits, aig.constant(0, width), aig.input("up")))
    return aig, bits


def test_circuits_compute() -> None:
    aig = Aig()
    a, b = ([aig.input(f"{name}{i}") for i in range(4)] for name in "ab")
    total, above = aig.plus(a, b), aig.above(a, 5)
    less, same = aig.minus_one(a, b[0]), aig.equals(a, 9)
    for x in range(16):
        for y in range(16):
            inputs = {f"a{i}": x >> i & 1 for i in range(4)}
            inputs |= {f"b{i}": y >> i & 1 for i in range(4)}
            value = aig.values({}, inputs)

            def number(bits: list[int]) -> int:
                return sum(value(bit) << i for i, bit in enumerate(bits))  # noqa: B023

            assert number(total) == (x + y) % 16
            assert number(less) == (x - (y & 1)) % 16
            assert value(above) == (x > 5)
            assert value(same) == (x == 9)


def test_a_counterexample_is_the_way_there() -> None:
    aig, bits = counter(3)
    outcome = pdr.reach(aig, aig.equals(bits, 5), 20)
    assert outcome.status == "refuted"
    state = aig.start()
    for frame in outcome.frames:
        value = aig.values(state, frame)
        state = aig.step(value)
    assert sum(value(bit) << i for i, bit in enumerate(bits)) == 5


def test_what_never_holds_is_proved() -> None:
    aig = Aig()
    one, two = aig.latch(1), aig.latch()
    aig.connect(one, two)
    aig.connect(two, one)
    assert pdr.reach(aig, aig.both(one, two), 20).status == "proved"
    assert pdr.reach(aig, aig.both(one ^ 1, two ^ 1), 20).status == "proved"
    assert pdr.reach(aig, two, 20).status == "refuted"
    assert pdr.reach(aig, FALSE, 20).status == "proved"
    assert pdr.reach(aig, TRUE, 20).status == "refuted"


def test_abc_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    aig, bits = counter(3)
    broken = types.MethodType(lambda self, bad: (b"no circuit", []), aig)
    monkeypatch.setattr(aig, "aiger", broken)
    with pytest.raises(NarrowgaugeError, match="ABC: "):
        pdr.reach(aig, bits[0], 5)


def test_gates_out_of_order_are_an_error() -> None:
    with pytest.raises(NarrowgaugeError, match="not in order"):
        read("aag 3 1 0 1 2\n2\n4\n4 6 2\n6 2 2\ni0 rst\no0 y\nc\n")


def concrete(fault: str) -> tuple[Netlist, Model, int]:
    """The adder whole, payload and all, beside a queue of the sums that are due; what is wrong."""
    net = netlist(
        emit.Emitted(
            name="top", text=emit.rtlil(verify_designs.Adder(fault), "top"), latency=1, interval=1
        )
    )
    form = shape(verify_designs.ADD_GOLDEN, verify_designs.ADD)
    model = Model(net, form, exact=range(len(net.port("s_axis_tdata"))), depth=3)
    aig = model.aig
    word = [model.value(literal) for literal in model.tdata]
    x0, x1, t = word[:8], word[8:16], word[16:19]
    due = [*aig.plus([*x0, x0[-1]], [*x1, x1[-1]]), *t]
    out = [model.value(literal) for literal in net.port("m_axis_tdata")[:12]]
    # Places 0 and 1, of which 0 is the older.
    full = [aig.latch(), aig.latch()]
    held = [aig.register(12), aig.register(12)]
    moved = aig.pick(model.given, held[1], held[0])
    left = [aig.choose(model.given, full[1], full[0]), aig.both(full[1], model.given ^ 1)]
    aig.load(held[0], aig.pick(aig.both(model.taken, left[0] ^ 1), due, moved))
    aig.load(held[1], aig.pick(aig.both(model.taken, left[0]), due, held[1]))
    aig.connect(full[0], aig.either(left[0], model.taken))
    aig.connect(full[1], aig.either(left[1], aig.both(left[0], model.taken)))
    differs = aig.any(aig.differ(a, b) for a, b in zip(out, held[0], strict=True))
    lost = aig.both(full[0], aig.both(model.sink, model.shown ^ 1))
    over = aig.all([left[1], model.taken])
    wrong = aig.any([aig.both(model.given, aig.either(full[0] ^ 1, differs)), over])
    return net, model, wrong if fault == "swap" else aig.either(wrong, lost)


@pytest.mark.parametrize("fault", ["", "drop", "duplicate", "unstable", "swap", "value"])
def test_the_literal_comparison_agrees(fault: str, tmp_path: Path) -> None:
    """Whole values against a queue, no abstraction: the same verdicts as the claims give."""
    _, model, wrong = concrete(fault)
    status = pdr.reach(model.aig, wrong, 60).status
    assert status == ("refuted" if fault else "proved")
