"""Mutants: which there are, what notices them, which are equivalent, and a bench that is blind."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from verify_designs import ADD, ADD_GOLDEN, Adder, module

from narrowgauge.golden.errors import MismatchError, UsageError
from narrowgauge.golden.payload import Batch
from narrowgauge.hdl import emit
from narrowgauge.verify.mutation import equivalence, faults, group, trials
from narrowgauge.verify.mutation.faults import Fault
from narrowgauge.verify.mutation.outcome import Mutation, Outcome
from narrowgauge.verify.stage import stage

ADDER = emit.Emitted(name="add_x", text=emit.rtlil(Adder(), "add_x"), latency=1, interval=1)


def _constant(params: Any, level: str, seed: int) -> Batch:
    """Vectors that drive nothing: every beat is the same."""
    return {"x": np.tile([[3, 5]], (300, 1)), "t": np.zeros(300, np.int64)}


BLIND = module(vectors=_constant, model=ADD_GOLDEN.model)
WRONG = module(
    vectors=ADD_GOLDEN.vectors,
    model=lambda params, batch: {"y": batch["x"].sum(axis=1) + 1, "t": batch["t"]},
)


def on(flat: str, cell: str, options: str) -> Fault:
    """The fault of the first cell of a type: `options` name mode, port and bit."""
    found = re.search(rf"^  cell \{cell} (\S+)$", flat, re.MULTILINE)
    assert found is not None
    return Fault(command=f"-module add_x -cell {found[1]} {options}", cell=f"{cell} {found[1]}")


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> str:
    return faults.flat(ADDER.text, tmp_path_factory.mktemp("flat"))


@pytest.fixture(scope="module")
def chosen(flat: str, tmp_path_factory: pytest.TempPathFactory) -> list[Fault]:
    return faults.sample(flat, 60, 1, tmp_path_factory.mktemp("sample"))


def test_faults_are_repeatable_and_differ(flat: str, chosen: list[Fault], tmp_path: Path) -> None:
    assert faults.sample(flat, 60, 1, tmp_path) == chosen
    assert faults.sample(flat, 60, 2, tmp_path) != chosen
    assert len({fault.command for fault in chosen}) == len(chosen) == 60
    assert {fault.command.split()[1] for fault in chosen} >= {"inv", "const0", "const1"}
    everything = faults.sample(flat, 5000, 1, tmp_path)
    assert 60 < len(everything) < 5000
    assert not [fault for fault in everything if "CLK" in fault.text]
    assert any("payload" in fault.text for fault in everything)


def test_bad_numbers_of_faults(flat: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^count of mutants must be 1\.\.65535, got 0$"):
        faults.sample(flat, 0, 1, tmp_path)
    with pytest.raises(UsageError, match=r"^mutation seed must be 0 or more, got -1$"):
        faults.sample(flat, 1, -1, tmp_path)
    wires = emit.rtlil(Wires(), "add_x")
    with pytest.raises(UsageError, match=r"^the design has nothing to mutate$"):
        faults.sample(faults.flat(wires, tmp_path), 1, 1, tmp_path)


def score(outcomes: list[Outcome]) -> Mutation:
    return Mutation(name="add/x", level="smoke", seed=1, outcomes=tuple(outcomes))


def test_the_bench_kills_what_is_not_equivalent(
    flat: str, chosen: list[Fault], tmp_path: Path
) -> None:
    lethal = [
        on(flat, "$add", "-mode inv -port Y -portbit 0"),
        on(flat, "$or", "-mode const0 -port Y -portbit 0"),
    ]
    outcomes = group.run(
        design=ADDER,
        flat_rtlil=flat,
        faults=[*lethal, *chosen],
        made=stage(ADDER, ADD_GOLDEN, ADD, "smoke", 1),
        folder=tmp_path,
        limit=30,
    )
    # A wrong sum, and a design that is never ready; the bench says where.
    assert outcomes[0].fate == "value"
    assert outcomes[0].reason.startswith("pattern isolated: transaction 0")
    assert outcomes[1].fate == "stuck"
    found = score(outcomes)
    assert found.score == 1.0
    assert found.killed + len(found.equivalents) == 62
    assert {"value", "protocol"} <= set(found.kills)


def test_a_blind_bench_scores_low(flat: str, chosen: list[Fault], tmp_path: Path) -> None:
    outcomes = group.run(
        design=ADDER,
        flat_rtlil=flat,
        faults=chosen,
        made=stage(ADDER, BLIND, ADD, "smoke", 1),
        folder=tmp_path,
        limit=30,
    )
    found = score(outcomes)
    assert len(found.survivors) >= 10
    assert found.score < 0.8


def test_no_score_where_the_design_itself_fails(
    flat: str, chosen: list[Fault], tmp_path: Path
) -> None:
    with pytest.raises(MismatchError, match=r"^add_x fails without a fault: pattern isolated"):
        trials.run(
            design=ADDER,
            flat_rtlil=flat,
            faults=chosen[:1],
            made=stage(ADDER, WRONG, ADD, "smoke", 1),
            folder=tmp_path,
        )


class Wires(Adder):
    """Payload through, nothing else."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
        m.d.comb += self.o.payload.t.eq(self.i.payload.t)
        return m


class Redundant(Adder):
    """`t` with a term that it holds already; nothing of `x`."""

    def elaborate(self, platform: object) -> Module:
        m = Wires.elaborate(self, platform)  # type: ignore[arg-type]
        t = self.i.payload.t
        m.d.comb += self.o.payload.t.eq(t | (t & self.i.payload.x[0][:3]))
        return m


class Table(wiring.Component):
    """Words that are read in the cycle of their address."""

    def __init__(self) -> None:
        super().__init__({"write": In(1), "at": In(2), "data": In(6), "found": Out(6)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = Memory(shape=6, depth=4, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        m.d.comb += [
            *(write.addr.eq(self.at), read.addr.eq(self.at), self.found.eq(read.data)),
            *(write.data.eq(self.data), write.en.eq(self.write)),
        ]
        return m


def test_ports_of_memories_without_a_clock(tmp_path: Path) -> None:
    """What only Yosys' cell of such a port has is left alone; all other faults can be written."""
    text = faults.flat(rtlil.convert(Table(), name="lookup"), tmp_path)
    found = faults.every(text, tmp_path)
    ports = {(f.cell.split()[0], f.text.split(" port ")[1].split("[")[0]) for f in found}
    reads = {port for cell, port in ports if cell.startswith("$memrd")}
    assert {"ADDR", "DATA"} <= {port.lstrip("\\") for port in reads}
    assert not {"EN", "ARST", "SRST", "CLK"} & {port.lstrip("\\") for port in reads}
    assert any(cell.startswith("$memwr") for cell, _ in ports)
    assert "module lookup" in faults.switched(text, found[:200], tmp_path)


def test_solver_without_registers(tmp_path: Path) -> None:
    flat = faults.flat(emit.rtlil(Redundant(), "add_x"), tmp_path)
    verdicts = equivalence.settle(
        flat_rtlil=flat,
        top="add_x",
        faults=[
            on(flat, "$and", "-mode const0 -port Y -portbit 1"),
            on(flat, "$or", "-mode const0 -port Y -portbit 1"),
        ],
        given=ADD.input,
        made=ADD.output,
        folder=tmp_path,
    )
    assert [verdict.status for verdict in verdicts] == ["equivalent", "different"]
    beat = verdicts[1].tdata
    assert beat is not None
    # x takes 16 bits, and bit 1 of t must be set to see the difference.
    assert beat >> 17 & 1


class Twins(Adder):
    """A register for the payload, and two for valid that are always the same."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i, o = self.i, self.o
        valid, twin = Signal(), Signal()
        m.d.comb += [o.valid.eq(valid & twin), i.ready.eq(o.ready | ~valid)]
        with m.If(i.ready):
            m.d.sync += [valid.eq(i.valid), twin.eq(i.valid), o.payload.t.eq(i.payload.t)]
        return m


def test_solver_with_registers(tmp_path: Path) -> None:
    flat = faults.flat(emit.rtlil(Twins(), "add_x"), tmp_path)
    verdicts = equivalence.settle(
        flat_rtlil=flat,
        top="add_x",
        faults=[
            on(flat, "$and", "-mode const1 -port B -portbit 0"),
            on(flat, "$and", "-mode inv -port Y -portbit 0"),
        ],
        given=ADD.input,
        made=ADD.output,
        folder=tmp_path,
    )
    assert [verdict.status for verdict in verdicts] == ["equivalent", "different"]
    assert verdicts[1].tdata is None


def test_score_counts() -> None:
    fates = ["value"] * 6 + ["stuck", "equivalent", "equivalent", "survived"]
    found = score([Outcome(mutation=str(i), fate=f, reason="") for i, f in enumerate(fates)])
    stored = found.to_json()
    assert stored["killed"] == 7
    assert stored["kills"] == {"stuck": 1, "value": 6}
    assert stored["equivalent"] == 2
    assert stored["survivors"] == [{"mutation": "9", "reason": ""}]
    assert stored["score"] == pytest.approx(7 / 8)
    with pytest.raises(MismatchError, match="no mutants were tried"):
        score([])
