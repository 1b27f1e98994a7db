# amaranth: UnusedElaboratable=no
"""The parts of the runner by themselves: beats, plan, mutants, JUnit, object cache."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from verify_designs import ADD, ADD_BENCH, ADD_GOLDEN, SUM, SUM_GOLDEN, Adder, module

from narrowgauge.golden.errors import MismatchError, UsageError
from narrowgauge.golden.payload import Field, Payload
from narrowgauge.hdl import emit
from narrowgauge.verify import junit, objcache, runner
from narrowgauge.verify.beats import from_hex, stream_beats, to_hex
from narrowgauge.verify.mutate import break_design
from narrowgauge.verify.patterns import PATTERNS, plan
from narrowgauge.verify.result import Result


def test_hex_round_trip() -> None:
    rows = np.random.default_rng(1).integers(0, 256, (50, 9), np.uint8)
    text = to_hex(rows)
    assert len(text.splitlines()) == 50
    assert text.splitlines()[0] == bytes(rows[0][::-1]).hex()
    assert (from_hex(text, 9) == rows).all()
    assert to_hex(rows[:0]) == ""
    with pytest.raises(MismatchError, match="not hex"):
        from_hex("0x", 1)
    with pytest.raises(MismatchError, match="not whole beats of 2"):
        from_hex("001122", 2)


def test_boundaries_follow_last_or_are_equal() -> None:
    batch = SUM_GOLDEN.vectors(SUM, "smoke", 0)
    beats = stream_beats(SUM_GOLDEN, SUM, batch, "input", 100)
    assert (np.diff(beats.ends, prepend=0) == batch["length"]).all()
    assert beats.uniform is None
    assert beats.transaction(int(beats.ends[3]))[0] == 4
    assert (beats.width, beats.last) == (8, True)
    golden = module(input_beats=lambda params, batch: batch)
    values = {"x": np.zeros((6, 2), np.int64), "t": np.zeros(6, np.int64)}
    assert stream_beats(golden, ADD, values, "input", 3).uniform == 2
    with pytest.raises(MismatchError, match="6 beats cannot be 4 transactions"):
        stream_beats(golden, ADD, values, "input", 4)


def test_raw_beats_decode_back() -> None:
    batch = SUM_GOLDEN.vectors(SUM, "smoke", 0)
    beats = stream_beats(SUM_GOLDEN, SUM, batch, "input", 100)
    rows = beats.raw()
    assert rows.shape == (beats.count, 2)
    decoded = beats.decode(rows)
    assert all((decoded[name] == beats.batch[name]).all() for name in ("x", "last"))


def test_plan_covers_every_pattern() -> None:
    runs = plan(list(range(2, 2002, 2)), list(range(1, 1001)), "smoke", 3)
    assert [run["name"] for run in runs if not run["abort_after"]] == [p.name for p in PATTERNS]
    cut = next(run for run in runs if run["abort_after"])
    assert 0 < cut["abort_after"] < cut["beats_in"] == 400
    assert runs[-1]["beats_in"], runs[-1]["beats_out"] == (2000, 1000)
    assert len({run["seed"] for run in runs}) == len(PATTERNS)
    assert all(0 < run["seed"] < 0xFFFFFFFF for run in runs)


def test_mutants_are_repeatable_and_found(tmp_path: Path) -> None:
    rtlil = emit.rtlil(Adder(), "add_x")
    assert break_design(rtlil, 3) == break_design(rtlil, 3)
    assert break_design(rtlil, 3).startswith("// mutate -mode ")
    arguments = {
        "name": "add/x",
        "golden": ADD_GOLDEN,
        "bench": ADD_BENCH,
        "params": ADD,
        "build_dir": tmp_path,
    }
    for seed in range(4):
        result = runner.verify(component=Adder(), mutate=seed, **arguments)
        if not result.passed:
            assert "pattern" in result.failure
            break
    else:
        pytest.fail("four mutants passed")
    with pytest.raises(UsageError, match="mutation seed must be 0 or more, got -1"):
        break_design(rtlil, -1)


def _result(**changes: object) -> Result:
    values = {
        "name": "add/x",
        "passed": True,
        "level": "smoke",
        "seed": 0,
        "simulator": "icarus 11.0",
        "transactions": 3,
        "beats_in": 3,
        "beats_out": 3,
        "cycles": 9,
        "patterns": ("both",),
        "latency": 1,
        "interval": 1.0,
        "bins": {"a": 1},
        "missing": (),
        "mismatch": None,
        "failure": "",
        "seconds": 0.5,
    }
    return Result(**{**values, **changes})


def test_junit(tmp_path: Path) -> None:
    path = tmp_path / "results.xml"
    bad = _result(passed=False, failure="first\nsecond", mismatch="y: expected <1>")
    junit.write([_result(), bad], path)
    suite = ET.parse(path).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    cases = list(suite.iter("testcase"))
    assert [case.find("failure") is None for case in cases] == [True, False]
    failure = cases[1].find("failure")
    assert failure.get("message") == "first"
    assert failure.text == "first\nsecond\ny: expected <1>"
    junit.write([], path)
    assert ET.parse(path).getroot().get("failures") == "1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.xml"]


_COMPILE = ["-MMD", "-c", "-o", "a.o", "a.cpp"]


def _compile(folder: Path, cache: Path, *flags: str) -> bytes:
    """An object made by way of the cache, with the compiler's own log of calls."""
    script = Path(objcache.__file__)
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(script), str(folder / "cc"), *flags, *_COMPILE],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "NARROWGAUGE_OBJCACHE": str(cache)},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert "a.h" in (folder / "a.d").read_text()
    return (folder / "a.o").read_bytes()


def _compiles(folder: Path) -> int:
    """Real compilations so far."""
    return (folder / "log").read_text().count("compile")


def test_object_cache(tmp_path: Path) -> None:
    folder, cache = tmp_path / "src", tmp_path / "cache"
    folder.mkdir()
    compiler = folder / "cc"
    compiler.write_text(
        '#!/bin/sh\ncase " $* " in *" -E "*|*--version*) ;; *) echo compile >> log ;; esac\n'
        'exec g++ "$@"\n'
    )
    compiler.chmod(0o755)
    (folder / "log").write_text("")
    (folder / "a.h").write_text("#define VALUE 1\n")
    (folder / "a.cpp").write_text('#include "a.h"\nint f() { return VALUE; }\n')
    first = _compile(folder, cache)
    assert _compile(folder, cache) == first
    assert _compiles(folder) == 1
    # Other flags and another header are other objects.
    _compile(folder, cache, "-O2")
    (folder / "a.h").write_text("#define VALUE 2\n")
    assert _compile(folder, cache) != first
    assert _compiles(folder) == 3
    # A damaged entry is compiled again, whether cut short or altered.
    for damage in (lambda data: data[:-9], lambda data: data[:-1] + b"?", lambda data: b""):
        for entry in cache.iterdir():
            entry.write_bytes(damage(entry.read_bytes()))
        before = _compiles(folder)
        _compile(folder, cache)
        assert _compiles(folder) == before + 1


def test_object_cache_in_parallel(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    entry = cache / "entry"
    data = bytes(range(256)) * 4000

    def write(_: int) -> None:
        subprocess.run(
            [
                sys.executable,
                "-c",
                "import hashlib, sys; from narrowgauge.verify import objcache as o;"
                " data = bytes(range(256)) * 4000;"
                "[o._write(sys.argv[1], hashlib.sha256(data).digest() + data) for _ in range(50)]",
                str(entry),
            ],
            check=True,
        )

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(write, n) for n in range(2)]
        while not all(job.done() for job in jobs):
            if entry.exists():
                assert objcache._load(str(entry)) == data
        for job in jobs:
            job.result()
    assert [path.name for path in cache.iterdir()] == ["entry"]


def test_wide_payloads(tmp_path: Path) -> None:
    from amaranth.hdl import Module
    from amaranth.lib import stream, wiring
    from amaranth.lib.wiring import In, Out

    from narrowgauge.hdl.payload import layout

    payload = Payload((Field(name="x", width=17, count=128), Field(name="last", width=1)))

    class Wide(wiring.Component):
        latency = 0
        interval = 1

        def __init__(self) -> None:
            beat = stream.Signature(layout(payload))
            super().__init__({"i": In(beat), "o": Out(beat)})

        def elaborate(self, platform: object) -> Module:
            m = Module()
            wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
            return m

    def vectors(params: object, level: str, seed: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        return {"x": rng.integers(0, 1 << 17, (40, 128)), "last": np.ones(40, np.int64)}

    result = runner.verify(
        name="wide/x",
        component=Wide(),
        golden=module(vectors=vectors, model=lambda params, batch: batch),
        bench=module(coverage=lambda params, batch, out: {"any": out["last"] == 1}),
        params=module(input=payload, output=payload),
        build_dir=tmp_path,
    )
    assert result.passed, result.failure
    assert result.latency == 0
