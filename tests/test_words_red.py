"""Packing and unpacking broken on purpose: benches turn red, claims are not proved."""

import importlib
import inspect
import types
from pathlib import Path
from typing import Any

import pytest

from narrowgauge import registry
from narrowgauge.hdl import emit
from narrowgauge.registry import Entry
from narrowgauge.verify import runner
from narrowgauge.verify.prove.claims import Context

POINT = "e3m2_k2_w16"

FAULTS = (
    # The next tensor begins where this one ended.
    ("gearbox", "place.eq(c - 1)", "place.eq(after)"),
    # The bits that are kept lie a piece too low.
    ("gearbox", "[-len(self._kept) :]", "[: len(self._kept)]"),
    ("gearbox", "place < a if", "place <= a if"),
    ("word_pack", "laid & (~flush).replicate(p.beat)", "laid"),
    # A rest of the last beat is lost.
    ("word_pack", "flush.eq(beat.last & ~final)", "flush.eq(0)"),
    ("word_pack", ">> 3, 0", ">> 3, 1"),
    ("word_pack", ">= box.a - 1", "> box.a - 1"),
    # All words say how many of their bytes count.
    ("word_unpack", "Mux(self.i.payload.last, clipped, 0)", "clipped"),
    # A whole byte that is left is taken for what fills up.
    ("word_unpack", ">= 8 // unit", "> 8 // unit"),
    ("word_unpack", "left >= p.beat // unit", "left > p.beat // unit"),
)
UNPROVED = (
    ("word_pack", "flush.eq(beat.last & ~final)", "flush.eq(0)", "count"),
    ("word_pack", "~self.o.valid", "~end", "idle"),
    ("word_pack", "restart=give & final", "restart=give & flush", "origin"),
    ("word_unpack", "restart=give & beat.last", "restart=give & ~give", "count"),
)


def broken(monkeypatch: pytest.MonkeyPatch, entry: Entry, file: str, old: str, new: str) -> Any:
    """The small point's component with a piece of a source replaced."""
    source = importlib.import_module(f"narrowgauge.hdl.units.{file}")
    text = inspect.getsource(source)
    assert text.count(old) == 1
    changed = types.ModuleType(source.__name__)
    exec(compile(text.replace(old, new), file, "exec"), vars(changed))
    params = entry.params(POINT)
    if file == "gearbox":
        home = importlib.import_module(entry.component.__module__)
        monkeypatch.setattr(home, "Gearbox", vars(changed)["Gearbox"])
        return entry.component(params)
    return vars(changed)[entry.component.__name__](params)


@pytest.mark.parametrize(("file", "old", "new"), FAULTS)
def test_benches_turn_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, old: str, new: str
) -> None:
    for unit in ("word_pack", "word_unpack"):
        if file not in ("gearbox", unit):
            continue
        entry = registry.find(unit)
        if "place < a" in old and unit == "word_unpack":
            # There every word completes a beat.
            continue
        result = runner.verify(
            name=f"{unit}/{POINT}",
            component=broken(monkeypatch, entry, file, old, new),
            golden=entry.golden,
            bench=entry.bench,
            params=entry.params(POINT),
            build_dir=tmp_path / unit,
            timeout=600,
        )
        assert result.failure.startswith("pattern ")
        assert result.beats_in > 0


@pytest.mark.parametrize(("unit", "old", "new", "rule"), UNPROVED)
def test_claims_are_not_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str, old: str, new: str, rule: str
) -> None:
    entry = registry.find(unit)
    params = entry.params(POINT)
    made = broken(monkeypatch, entry, unit, old, new)
    written = emit.Emitted(
        name="top", text=emit.rtlil(made, "top"), latency=made.latency, interval=made.interval
    )
    setting = Context(
        name=unit,
        design=written,
        params=params,
        golden=entry.golden,
        folder=tmp_path,
        limit=60,
    )
    tried = [claim for claim in entry.bench.claims(params) if claim.rule == rule]
    assert tried
    assert any(claim.settle(setting).status != "proved" for claim in tried)
