"""Claims about units that answer rows of any length: proved of the unit, refuted of broken ones."""

import importlib
import inspect
import types
from pathlib import Path
from typing import Any

import pytest

from narrowgauge import registry
from narrowgauge.hdl import emit
from narrowgauge.verify.prove import stream
from narrowgauge.verify.prove.claims import Context
from narrowgauge.verify.prove.stream_shape import rows
from narrowgauge.verify.prove.stream_trace import Trace

LENGTH = 4
SMALL: dict[str, Any] = {
    "bits": 3,
    "length": LENGTH,
    "fraction": 1,
    "guard": 2,
    "reach": 3,
}
SIZES = (1, LENGTH, LENGTH + 1)


def context(folder: Path, made: Any, params: Any) -> Context:
    """Of a component with the unit's parameters."""
    written = emit.Emitted(
        name="top", text=emit.rtlil(made, "top"), latency=made.latency, interval=made.interval
    )
    golden = registry.find("log2_softmax").golden
    return Context(
        name="log2_softmax", design=written, params=params, golden=golden, folder=folder, limit=60
    )


def claim(rule: str, size: int) -> stream.StreamClaim:
    """One rule for rows of one size."""
    (found,) = (
        c for c in stream.row_claims({size: min(size, LENGTH)}) if (c.rule, c.row) == (rule, size)
    )
    return found


@pytest.mark.parametrize("size", SIZES)
def test_rows_are_proved(tmp_path: Path, size: int) -> None:
    entry = registry.find("log2_softmax")
    params = entry.golden.Params(**SMALL)
    made = context(tmp_path, entry.component(params), params)
    every = stream.row_claims({size: min(size, LENGTH)})
    assert [c.rule for c in every if not c.row] == list(stream.HANDSHAKE)
    assert len(every) == len(stream.claims(None))
    for each in every:
        proof = each.settle(made)
        assert proof.status == "proved", (each.claim, proof.reason)


FAULTS = (
    # A word is written before it has been read.
    ("rows", "(place != ahead)", "1", "schedule", 3),
    # The flag of a row stays for the next one.
    ("log2_softmax", "nan.eq(0),", "", "origin", 1),
    # A row ends a beat late.
    ("rows", "end.eq(after)", "end.eq(after + 1)", "count", 3),
)


@pytest.mark.parametrize(("file", "old", "new", "rule", "size"), FAULTS)
def test_broken_rows_are_not_proved(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    old: str,
    new: str,
    rule: str,
    size: int,
) -> None:
    entry = registry.find("log2_softmax")
    params = entry.golden.Params(**SMALL)
    source = importlib.import_module(f"narrowgauge.hdl.units.{file}")
    text = inspect.getsource(source)
    assert text.count(old) == 1
    changed = types.ModuleType(source.__name__)
    exec(compile(text.replace(old, new), file, "exec"), vars(changed))
    if file == "rows":
        home = importlib.import_module(entry.component.__module__)
        monkeypatch.setattr(home, "RowMemory", changed.RowMemory)
        made = entry.component(params)
    else:
        made = changed.Log2Softmax(params)
    setting = context(tmp_path, made, params)
    proof = claim(rule, size).settle(setting)
    assert proof.status != "proved"
    if proof.status == "refuted":
        assert isinstance(proof.counterexample, Trace)
        form = rows(entry.golden, params, size, min(size, LENGTH))
        assert stream.replay(setting, proof.counterexample, form)
