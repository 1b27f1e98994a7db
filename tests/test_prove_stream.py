"""Claims about streams: proved of what is right, refuted of what is broken, and replayed."""

import importlib
import inspect
import random
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import stream_designs
import verify_designs
from amaranth.sim import Simulator

from narrowgauge import design, registry
from narrowgauge.golden.errors import UsageError
from narrowgauge.hdl import emit
from narrowgauge.verify.prove import stream
from narrowgauge.verify.prove.claims import Context, Proof
from narrowgauge.verify.prove.stream_judge import judge
from narrowgauge.verify.prove.stream_netlist import netlist
from narrowgauge.verify.prove.stream_replay import beats, observe
from narrowgauge.verify.prove.stream_shape import Shape, shape
from narrowgauge.verify.prove.stream_trace import Drive, Row, Trace

CLAIMS = {claim.rule: claim for claim in stream.claims(None)}
Make = Callable[..., Context]


def component(family: str, fault: str = "") -> Any:
    """A small design, right or wrong."""
    made: dict[str, Any] = {
        "add": verify_designs.Adder,
        "pipe": stream_designs.Pipe,
        "pair": stream_designs.Pair,
    }
    return made[family](fault)


@pytest.fixture
def small(tmp_path: Path) -> Make:
    """The context of a small design."""

    def make(family: str, fault: str = "", limit: float = 60.0) -> Context:
        made = component(family, fault)
        params, golden = {
            "add": (verify_designs.ADD, verify_designs.ADD_GOLDEN),
            "pipe": (stream_designs.PARAMS, stream_designs.GOLDEN),
            "pair": (stream_designs.ECHO, stream_designs.ECHO_GOLDEN),
        }[family]
        written = emit.Emitted(
            name="top",
            text=emit.rtlil(made, "top"),
            latency=made.latency,
            interval=made.interval,
        )
        return Context(
            name=f"{family}/{fault}",
            design=written,
            params=params,
            golden=golden,
            folder=tmp_path,
            limit=limit,
        )

    return make


def simulated(made: Any, run: Sequence[Drive]) -> list[Row]:
    """What Amaranth's own simulator says to a run, after its reset."""
    top = emit.Axis(made)
    rows: list[Row] = []

    async def bench(ctx: Any) -> None:
        ctx.set(top.rst, 1)
        await ctx.tick()
        ctx.set(top.rst, 0)
        for drive in run:
            ctx.set(top.s_axis_tvalid, drive.valid)
            ctx.set(top.s_axis_tdata, drive.data)
            ctx.set(top.m_axis_tready, drive.ready)
            if hasattr(top, "s_axis_tlast"):
                ctx.set(top.s_axis_tlast, drive.last)
            rows.append(
                Row(
                    ready=ctx.get(top.s_axis_tready),
                    valid=ctx.get(top.m_axis_tvalid),
                    last=ctx.get(top.m_axis_tlast) if hasattr(top, "m_axis_tlast") else 0,
                    data=ctx.get(top.m_axis_tdata),
                )
            )
            await ctx.tick()

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return rows


def settle(context: Context, rule: str) -> Proof:
    """The proof of one rule."""
    return CLAIMS[rule].settle(context)


@pytest.mark.parametrize("family", ["add", "pipe", "pair"])
def test_right_designs_are_proved(small: Make, family: str) -> None:
    context = small(family)
    for rule, claim in CLAIMS.items():
        proof = claim.settle(context)
        assert proof.status == "proved", (rule, proof.reason)
        assert proof.counterexample is None


UNITS = (
    ("mx_quantize/mxfp4_l8", {}),
    ("mx_quantize/opal4_l8", {"k": 32, "n": 2}),
    ("mx_dot/w3a3_l32", {"k": 16, "lanes": 8, "n": 2}),
    ("bf16_dot/l32", {"lanes": 2}),
    ("lzc/w8", {}),
)


@pytest.mark.parametrize(("name", "overrides"), UNITS, ids=[name for name, _ in UNITS])
def test_units_are_proved(tmp_path: Path, name: str, overrides: dict[str, int]) -> None:
    (point,) = registry.points(name, **overrides)
    context = Context(
        name=point.full_name,
        design=design.emitted(point),
        params=point.params,
        golden=point.entry.golden,
        folder=tmp_path,
    )
    for rule, claim in CLAIMS.items():
        proof = claim.settle(context)
        assert proof.status == "proved", (rule, proof.reason)
    if name.startswith("mx_dot"):
        # The outliers' positions decide when a weight is kept: without values, no proof.
        assert "payload bits" in proof.reason


BROKEN = (
    # A register that loads while stalled: the beat that it held is lost.
    ("pipe", "overwrite", "schedule"),
    ("pipe", "overwrite", "origin"),
    # An idle cycle's data in the sum; a sum not cleared; an idle cycle that clears it.
    ("pipe", "leak", "origin"),
    ("pipe", "uncleared", "origin"),
    ("pipe", "forget", "schedule"),
    # A beat added again in each cycle that it waits.
    ("pipe", "double", "schedule"),
    ("pipe", "double", "stable"),
    # A beat dropped, given twice, two exchanged.
    ("add", "drop", "answer"),
    ("add", "duplicate", "count"),
    ("pair", "lifo", "origin"),
    ("pair", "lifo", "schedule"),
    # The rules of the handshake.
    ("add", "retract", "hold"),
    ("add", "loud", "hold"),
    ("add", "waits", "apart"),
    ("add", "waits", "answer"),
    ("add", "waits", "accept"),
    ("add", "unstable", "stable"),
    ("add", "bus", "stable"),
)


@pytest.mark.parametrize(("family", "fault", "rule"), BROKEN)
def test_broken_designs_are_refuted(small: Make, family: str, fault: str, rule: str) -> None:
    context = small(family, fault)
    proof = settle(context, rule)
    assert proof.status == "refuted", proof.reason
    trace = proof.counterexample
    assert isinstance(trace, Trace)
    assert trace.rule == rule
    assert "cycle  in: valid ready last" in trace.text
    assert stream.replay(context, trace)
    form = shape(context.golden, context.params)
    # The same run in a simulator that has nothing in common with the proof.
    rows = [simulated(component(family, fault), run) for run in trace.runs]
    said = judge(form, trace, rows)
    assert said
    assert said == trace.text.splitlines()[-1] or rule == "origin"
    # The right design passes it.
    assert not judge(form, trace, [simulated(component(family), run) for run in trace.runs])


UNIT_FAULTS = (
    # The buffer is written over while it waits to be read.
    (
        "mx_quantize",
        {"k": 16, "n": 2, "lanes": 8},
        "mx_quantize",
        "self.i.ready.eq(~busy | emit | (write_beat != read_beat))",
        "self.i.ready.eq(1)",
        "stable",
    ),
    # The sum is not begun anew.
    ("bf16_dot", {"lanes": 2}, "window", "fresh.eq(term_last)", "fresh.eq(0)", "origin"),
    # A weight is kept from a cycle in which nothing is offered.
    (
        "mx_dot",
        {"k": 16, "lanes": 8, "n": 2},
        "mx_dot",
        "with m.If(run & self.i.valid & here):",
        "with m.If(run & here):",
        "origin",
    ),
    # Beats are counted while they wait.
    (
        "mx_dot",
        {"k": 16, "lanes": 8, "n": 2},
        "mx_dot",
        "with m.If(run & self.i.valid):\n            m.d.sync += number",
        "with m.If(self.i.valid):\n            m.d.sync += number",
        "schedule",
    ),
)


@pytest.mark.parametrize(("unit", "overrides", "file", "old", "new", "rule"), UNIT_FAULTS)
def test_broken_units_are_refuted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unit: str,
    overrides: dict[str, int],
    file: str,
    old: str,
    new: str,
    rule: str,
) -> None:
    entry = registry.find(unit)
    params = entry.params(next(iter(entry.points)), **overrides)
    source = importlib.import_module(f"narrowgauge.hdl.units.{file}")
    text = inspect.getsource(source)
    assert text.count(old) == 1
    changed = types.ModuleType(source.__name__)
    exec(compile(text.replace(old, new), file, "exec"), vars(changed))
    if file == unit:
        made = getattr(changed, entry.component.__name__)(params)
    else:
        monkeypatch.setattr(source, "Accumulator", changed.Accumulator)
        made = entry.component(params)
    written = emit.Emitted(
        name="top", text=emit.rtlil(made, "top"), latency=made.latency, interval=made.interval
    )
    context = Context(
        name=unit, design=written, params=params, golden=entry.golden, folder=tmp_path, limit=60
    )
    proof = settle(context, rule)
    assert proof.status == "refuted", proof.reason
    assert isinstance(proof.counterexample, Trace)
    assert stream.replay(context, proof.counterexample)


def test_a_register_that_reset_forgets(small: Make) -> None:
    proof = settle(small("add", "reset"), "hold")
    assert proof.status == "refuted"
    trace = proof.counterexample
    assert isinstance(trace, Trace)
    assert 1 in trace.start.values()
    assert "cycle 0: m_axis_tvalid is high after reset" in trace.text


def test_time_that_runs_out_is_unknown(small: Make) -> None:
    assert settle(small("pipe", limit=0.1), "origin").status == "unknown"


def test_a_design_without_streams(tmp_path: Path) -> None:
    text = "module \\top\n  wire input 1 \\clk\n  wire input 2 \\rst\nend\n"
    written = emit.Emitted(name="top", text=text, latency=0, interval=1)
    with pytest.raises(UsageError, match="top has no port s_axis_tvalid: it is not a stream"):
        netlist(written, tmp_path)


def test_shapes_are_the_golden_models() -> None:
    (point,) = registry.points("mx_dot/w4a4_l32")
    form = shape(point.entry.golden, point.params)
    assert (form.block, form.by_last, form.answer, form.marks) == (4, True, 1, None)
    data = point.params.input.data
    start = 0
    for field in data.fields:
        repeated = set(range(start, start + field.bits)) <= form.repeated
        assert repeated == (field.name not in ("a", "w")), field.name
        start += field.bits
    (point,) = registry.points("mx_quantize/mxfp4_l8")
    form = shape(point.entry.golden, point.params)
    assert (form.block, form.by_last, form.answer, form.marks) == (4, False, 4, (0, 0, 0, 1))


def test_gates_answer_as_the_simulator(small: Make) -> None:
    context = small("pipe")
    net = netlist(context.design)
    form: Shape = shape(context.golden, context.params)
    rng = random.Random(3)
    run = [
        Drive(
            valid=rng.getrandbits(1), last=rng.getrandbits(1), data=word, ready=rng.getrandbits(1)
        )
        for word in beats(form, 60, rng)
    ]
    (rows,) = observe(net, [run], dict.fromkeys(net.names.values(), 0), rng)
    assert rows == simulated(component("pipe"), run)
