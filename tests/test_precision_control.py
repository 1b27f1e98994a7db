"""Dynamic precision: decisions in fractions, hysteresis, the unit's entries; broken, it is red."""

import importlib
import inspect
import types
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrowgauge import registry
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import get_box, zero_setting
from narrowgauge.golden.precision import MODES, DynamicPrecision, decide, share_of
from narrowgauge.golden.units.precision_control import Params, model, vectors
from narrowgauge.verify import runner


def test_decisions_in_fractions() -> None:
    rng = np.random.default_rng(11)
    for _ in range(3000):
        bits = int(rng.integers(4, 17))
        b = int(rng.integers(0, 1 << 40)) >> int(rng.integers(0, 40))
        a = int(rng.integers(0, b + 1))
        low, high = np.sort(rng.integers(0, 1 << bits, 2)).tolist()
        if rng.random() < 0.3:
            a = b * low >> bits
        mode = int(rng.integers(0, 3))
        want = mode
        if b and Fraction(a, b) < Fraction(low, 1 << bits):
            want = max(mode - 1, 0)
        # The share is cut off before it is compared: up from the next step of the grid on.
        elif b and Fraction(a, b) >= Fraction(high + 1, 1 << bits) and high + 1 < 1 << bits:
            want = min(mode + 1, 2)
        assert decide(mode, a, b, lower=low, upper=high, fraction_bits=bits) == want


def test_share() -> None:
    assert share_of([0, 1, 3, 4, 9, 5], [4, 4, 4, 4, 4, 0], 4).tolist() == [0, 4, 12, 15, 15, 0]
    assert decide(1, 5, 4, lower=9, upper=3, fraction_bits=4) == 2


def test_it_follows_and_holds() -> None:
    """Between the thresholds nothing moves; beyond them a step an interval, to the ends."""
    control = DynamicPrecision(entries=2, lower=0.125, upper=0.25)
    seen = []
    for share in (0.05, 0.2, 0.05, 0.05, 0.2, 0.3, 0.2, 0.3, 0.3, 0.2):
        for step in range(10):
            # The mean counts, not the last.
            control.report(0, int(1000 * share) + 20 * (step % 2) - 10, 1000)
        control.report(1, 0, 0)
        assert control.shares[0] == pytest.approx(share, abs=1 / 256)
        seen.append(MODES[control.end()[0]])
    assert seen == ["fb16", "fb16", "fb12", "fb12", "fb12", "fb16", "fb16", "fb24", "fb24", "fb24"]
    assert control.modes.tolist() == [2, 2]


def test_both_operands_of_a_layer() -> None:
    rng = np.random.default_rng(12)
    x = (rng.standard_normal((2, 24, 6, 6)) * 2.0 ** rng.uniform(-4, 4, (2, 24, 6, 6))).astype("f4")
    w = rng.standard_normal((8, 24, 3, 3)).astype(np.float32)
    control = DynamicPrecision(entries=3, lower=0.1, upper=0.2, start=0)
    fmt = get_box(MODES[0])
    zeroed = [int(zero_setting(t, fmt).sum()) for t in (x, w)]
    control.report([1, 1], zeroed, [x.size, w.size])
    share = sum(zeroed) / (x.size + w.size)
    assert control.shares[1] == np.floor(share * 256) / 256
    assert control.end(1) == (1 if share > 0.2 else 0)
    assert share > 0.2


def test_the_unit_keeps_the_same_modes() -> None:
    rng = np.random.default_rng(13)
    control = DynamicPrecision(entries=5, lower=0.2, upper=0.4, start=1)
    params = Params(entries=5)
    low, high = control.thresholds
    rows, want = [], []
    for step in range(400):
        entry = step if step < 5 else int(rng.integers(0, 5))
        elements = int(rng.integers(0, 5000))
        zeroed = int(elements * rng.choice([0.1, 0.3, 0.5]))
        end = bool(rng.random() < 0.3)
        rows.append((entry, step < 5, 1, zeroed, elements, end))
        control.report(entry, zeroed, elements)
        if end:
            share = round(float(control.shares[entry]) * 256)
            before = int(control.modes[entry])
            after = int(control.end(entry))
            want.append((entry, after, share, int(after < before), int(after > before)))
    names = ("entry", "load", "mode", "zeroed", "elements", "end")
    columns = dict(zip(names, np.array(rows, np.int64).T, strict=True))
    batch = params.input.beats(len(rows), **columns, lower=low, upper=high)
    got = model(params, batch)
    names = ("entry", "mode", "share", "lowered", "raised")
    assert list(zip(*(got[name].tolist() for name in names), strict=True)) == want
    assert len({mode for _, mode, *_ in want}) == 3


def test_groups_are_apart() -> None:
    """What a group loads is all that it needs."""
    params = Params(**registry.find("precision_control").points["e4"])
    batch = vectors(params, "smoke", 3)
    whole = model(params, batch)
    first = int(np.flatnonzero(batch["last"])[10]) + 1
    alone = model(params, {name: codes[first:] for name, codes in batch.items()})
    count = len(alone["last"])
    assert all(np.array_equal(whole[name][-count:], alone[name]) for name in alone)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Params(entries=1), "entries must be 2..4096, got 1"),
        (lambda: Params(count_bits=33), "count_bits must be 4..32, got 33"),
        (
            lambda: Params(count_bits=32, interval_bits=16, fraction_bits=16),
            "count_bits, interval_bits and fraction_bits must be at most 60 together, got 64",
        ),
        (
            lambda: DynamicPrecision(entries=1, lower=0.3, upper=0.2),
            "thresholds must be 0 <= lower <= upper <= 1, got 0.3 and 0.2",
        ),
        (
            lambda: DynamicPrecision(entries=1, lower=0, upper=1, start=3),
            "start must be 0..2, got 3",
        ),
        (
            lambda: DynamicPrecision(entries=2, lower=0, upper=1).report(2, 0, 1),
            "entry must be 0..1, got 2..2",
        ),
        (
            lambda: DynamicPrecision(entries=2, lower=0, upper=1).report(0, 2, 1),
            "zeroed must be 0..elements, got 2 of 1",
        ),
        (
            lambda: model(Params(entries=3), Params(entries=3).input.beats(1, entry=3)),
            "entry must be below entries=3, got 3",
        ),
    ],
)
def test_impossible(call: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value) == message


FAULTS = (
    ("keep = Signal(2), Signal(2), (~report.load)", "keep = Signal(2), Signal(2), (~report.end)"),
    ("share > report.upper)),\n            down", "share >= report.upper)),\n            down"),
    ("share < report.lower", "share <= report.lower"),
    ("up.eq(some & ", "up.eq("),
    ("fits | over, share", "fits, share"),
    ("& (~end).replicate(2 * size)", ""),
    ("Mux(end, chosen, mode)", "mode"),
)


@pytest.mark.parametrize(("old", "new"), FAULTS)
def test_bench_turns_red(tmp_path: Path, old: str, new: str) -> None:
    entry = registry.find("precision_control")
    params = entry.params("e4")
    source = importlib.import_module("narrowgauge.hdl.units.precision_control")
    text = inspect.getsource(source)
    assert text.count(old) == 1
    changed = types.ModuleType(source.__name__)
    exec(compile(text.replace(old, new), "changed", "exec"), vars(changed))
    result = runner.verify(
        name="precision_control/e4",
        component=vars(changed)["PrecisionControl"](params),
        golden=entry.golden,
        bench=entry.bench,
        params=params,
        build_dir=tmp_path,
        timeout=600,
    )
    assert result.failure.startswith("pattern ")
    assert result.beats_in > 0
