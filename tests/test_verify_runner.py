# amaranth: UnusedElaboratable=no
"""The runner turns green on a right design, and red with a clear reason on each wrong one."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from verify_designs import (
    ADD,
    ADD_BENCH,
    ADD_GOLDEN,
    SUM,
    SUM_BENCH,
    SUM_GOLDEN,
    Adder,
    Summer,
    module,
)

from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.verify import runner, simulator, verdict
from narrowgauge.verify.patterns import PATTERNS

# Faults do not depend on the simulator; the interpreted one needs no compiler.
QUICK = "icarus" if shutil.which("iverilog") else "verilator"


def verify(folder: Path, component: Any = None, **changes: Any) -> runner.Result:
    """The adder verified, with some arguments replaced."""
    arguments: dict[str, Any] = {
        "name": "add/x",
        "component": Adder() if component is None else component,
        "golden": ADD_GOLDEN,
        "bench": ADD_BENCH,
        "params": ADD,
        "simulator": QUICK,
        "build_dir": folder,
        "timeout": 300,
    }
    return runner.verify(**{**arguments, **changes})


@pytest.mark.parametrize("name", simulator.SIMULATORS)
def test_right_design_passes(name: str, tmp_path: Path) -> None:
    if name == "icarus" and QUICK != "icarus":
        pytest.skip("iverilog is not installed")
    result = verify(tmp_path, simulator=name, level="full")
    assert result.passed, result.failure
    assert result.failure == ""
    assert result.mismatch is None
    assert result.patterns == tuple(pattern.name for pattern in PATTERNS)
    assert (result.transactions, result.latency, result.interval) == (300, 1, 1.0)
    # Six patterns and the rerun after the reset see all 300, `isolated` 12, the cut run some.
    assert result.beats_in >= 8 * 300 + 12
    assert result.cycles > result.beats_in
    assert set(result.bins) == {"negative", "carry"}
    assert min(result.bins.values()) > 0
    assert result.simulator.startswith(f"{name} ")
    assert json.loads(json.dumps(result.to_json()))["patterns"][-1] == "throughput"


def test_transactions_of_several_beats_and_tlast(tmp_path: Path) -> None:
    arguments = {"golden": SUM_GOLDEN, "bench": SUM_BENCH, "params": SUM}
    result = verify(tmp_path, Summer(), **arguments)
    assert result.passed, result.failure
    assert result.transactions == 100
    assert result.beats_in > 2 * result.beats_out


def test_both_simulators_run_the_same_cycles(tmp_path: Path) -> None:
    if QUICK != "icarus":
        pytest.skip("iverilog is not installed")
    first = verify(tmp_path / "a", simulator="icarus")
    second = verify(tmp_path / "b", simulator="verilator")
    assert (first.cycles, first.beats_in) == (second.cycles, second.beats_in)


FAULTS = {
    "value": r"pattern idle: transaction \d+, output beat \d+ is wrong",
    "drop": r"output beat 5 is wrong; .* one was dropped",
    "duplicate": r"output beat 5 is wrong; .* came twice",
    "swap": r"this beat and the next have changed places",
    "unstable": r"tdata changed while it waited",
    "retract": r"tvalid fell before the transfer",
    "waits": r"pattern patient, .* valid must not wait for ready",
    "latency": r"latency is declared as 2 and measured as 1",
    "interval": r"interval is declared as 1 cycles a transaction and measured as 2 ",
    "loud": r"tvalid is high in reset",
    "reset": r"tvalid is high in reset",
    "bus": r"changed while it waited|is wrong",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_caught(fault: str, tmp_path: Path) -> None:
    result = verify(tmp_path, Adder(fault))
    assert not result.passed
    assert re.search(FAULTS[fault], f"{result.failure}\n{result.mismatch}"), result.failure


def test_mismatch_is_decoded_and_reproducible(tmp_path: Path) -> None:
    result = verify(tmp_path, Adder("value"), seed=7)
    assert result.mismatch is not None
    beat = int(re.search(r"output beat (\d+)", result.mismatch)[1])
    batch = ADD_GOLDEN.vectors(ADD, "smoke", 7)
    x, y = batch["x"][beat], batch["x"][beat].sum()
    assert x[0] == 77
    assert f"input beat {beat}: x = [0x4d (77), 0x{x[1] & 255:02x} ({x[1]})]" in result.mismatch
    assert f"y: expected 0x{y & 511:03x} ({y}), got 0x000 (0)" in result.mismatch
    again = f"narrowgauge verify add/x --level smoke --seed 7 --simulator {QUICK}"
    assert again in result.mismatch


def test_formats_are_printed(tmp_path: Path) -> None:
    from narrowgauge.golden.payload import Field
    from narrowgauge.verify.scoreboard import _value

    assert _value(Field(name="a", width=16, format="bf16"), 0x3FC0) == "0x3fc0 (1.5)"
    assert _value(Field(name="a", width=16, format="nothing"), 0x3FC0) == "0x3fc0"
    field = Field(name="a", width=4, encoding="sign_magnitude")
    assert _value(field, -3) == "0xb (-3)"


def _empty(params: Any, level: str, seed: int) -> dict[str, np.ndarray]:
    return {"x": np.zeros((0, 2), np.int64), "t": np.zeros(0, np.int64)}


def test_no_vectors_is_a_failure(tmp_path: Path) -> None:
    golden = module(vectors=_empty, model=ADD_GOLDEN.model)
    result = verify(tmp_path, golden=golden)
    assert not result.passed
    assert result.failure == "the golden model gave no vectors"


def test_no_bins_is_a_failure(tmp_path: Path) -> None:
    result = verify(tmp_path, bench=module(coverage=lambda params, batch, out: {}))
    assert result.failure == "the bench has no coverage bins"


def test_missing_bin_fails_at_full_and_is_named_at_smoke(tmp_path: Path) -> None:
    bench = module(coverage=lambda params, batch, out: {"huge": out["y"] > 1000})
    result = verify(tmp_path, bench=bench)
    assert result.passed
    assert result.missing == ("huge",)
    result = verify(tmp_path, bench=bench, level="full")
    assert not result.passed
    assert result.failure == "coverage bins without a hit: huge"


@pytest.mark.parametrize("trouble", ["", "the simulator ended with code 1; see run.log"])
def test_silent_simulator_is_a_failure(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "execute", lambda *args, **kwargs: trouble)
    result = verify(tmp_path)
    assert not result.passed
    assert result.failure == (trouble or "cocotb left no results file")
    assert result.patterns == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<testsuites><testsuite/></testsuites>", "cocotb ran 0 tests, expected 1"),
        ("<testsuites><testcase><skipped/></testcase></testsuites>", "cocotb: skipped"),
        ('<a><testcase><failure message="no"/></testcase></a>', "cocotb: no"),
        ("<testsuites>", "cannot be read"),
    ],
)
def test_results_file_is_read_with_suspicion(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "results.xml"
    path.write_text(text)
    assert reason in verdict.cocotb_verdict(path)


def test_a_beat_less_than_counted_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = simulator.execute

    def shorten(job: dict[str, Any], **kwargs: Any) -> str:
        trouble = execute(job, **kwargs)
        path = Path(job["output"])
        path.write_text("\n".join(path.read_text().splitlines()[:-1]))
        return trouble

    monkeypatch.setattr(simulator, "execute", shorten)
    result = verify(tmp_path)
    assert re.search(r"\d+ output beats were counted, \d+ were recorded", result.failure)


def test_too_long_a_run_is_stopped(tmp_path: Path) -> None:
    result = verify(tmp_path, timeout=0.2)
    assert result.failure.startswith("no result after 0.2 s")


@pytest.mark.parametrize("name", simulator.SIMULATORS)
def test_waves(name: str, tmp_path: Path) -> None:
    if name == "icarus" and QUICK != "icarus":
        pytest.skip("iverilog is not installed")
    result = verify(tmp_path, simulator=name, waves=True)
    assert result.passed, result.failure
    record = tmp_path / f"waves.{simulator.waves_suffix(name)}"
    assert record.stat().st_size > 1000


def test_bad_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no level 'quick'; levels: smoke, full, real"):
        verify(tmp_path, level="quick")
    with pytest.raises(UsageError, match="seed must be 0 or more, got -1"):
        verify(tmp_path, seed=-1)
    with pytest.raises(UsageError, match="no simulator 'vcs'; simulators: verilator, icarus"):
        verify(tmp_path, simulator="vcs")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingToolError, match="iverilog is not on PATH: apt install iverilog"):
        verify(tmp_path, simulator="icarus")
    with pytest.raises(MissingToolError, match="perl is not on PATH"):
        verify(tmp_path, simulator="verilator")
    assert not list(tmp_path.iterdir())
