# amaranth: UnusedElaboratable=no
"""The guarded banks of `flexblock_core`: a product on Verilog whose banks flip bits."""

import importlib
import inspect
import types
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from narrowgauge import design, registry
from narrowgauge.golden.cores import flexblock_core
from narrowgauge.golden.cores.flexblock_core import Upset
from narrowgauge.golden.cores.flexblock_programs import product
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, join
from narrowgauge.hdl import emit
from narrowgauge.hdl.systems import registers
from narrowgauge.registry import Point
from narrowgauge.verify import runner
from narrowgauge.verify.driver import Driver, Expect, Idle, Read, Send

COLUMNS = 6
ONE = (Upset(program=0, load=0, word=4, bit=46),)
"""The 64 of the exponent field of element 0's first group of A, in the last of its three words."""
TWO = tuple(Upset(program=0, load=0, word=11, bit=bit) for bit in (42, 46))
"""Two bits of that of element 1's second group."""


def point_of(guard: str) -> Point:
    return registry.points("flexblock_core/p2_n16", guard=guard)[0]


def program(params: flexblock_core.Params) -> Batch:
    """Two rows of FB16 times six columns, two groups each, once through the banks."""
    rng = np.random.default_rng(1)
    w, x = 4 * rng.standard_normal((params.pes, 24)), rng.standard_normal((COLUMNS, 24))
    packets, _ = product(params, 1, w, x, 12)
    return join(packets)


def answers(guard: str, upsets: tuple[Upset, ...] = ()) -> Batch:
    """What the model says."""
    point = point_of(guard)
    beats = program(point.params)
    batch = {name: values[None] for name, values in beats.items()}
    batch["final"] = batch.pop("last")
    return flexblock_core.model(point.params, batch, upsets)


def results(made: Batch) -> npt.NDArray[np.float32]:
    """FP32 of the RUN, columns of elements."""
    values = made["data"][-COLUMNS * 2 :, 0].astype(np.uint32).view(np.float32)
    return values.reshape(COLUMNS, 2)


def flipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on words of two banks change as they are written."""
    module = importlib.import_module("narrowgauge.hdl.cores.flexblock_core")
    text = inspect.getsource(module)
    old = "given if p.guarded is None else Cat(given, checks(p.guarded, given))"
    assert text.count(old) == 1
    masks = {(each.word % 2, each.word // 2): 0 for each in (*ONE, *TWO)}
    for each in (*ONE, *TWO):
        masks[each.word % 2, each.word // 2] |= 1 << each.bit
    flips = f"sum(Mux(control.row == r, f, 0) for (b, r), f in {masks}.items() if b == i)"
    changed = types.ModuleType(module.__name__)
    new = f"({old}) ^ ({flips} if side == 0 else 0)"
    exec(compile(text.replace(old, new), "changed", "exec"), vars(changed))
    monkeypatch.setattr(design, "component", lambda point: changed.FlexblockCore(point.params))


def test_one_flip_is_taken_back_and_two_read_as_zeros() -> None:
    plain, clean = answers("none"), answers("secded_scale")
    assert all(np.array_equal(plain[name], clean[name]) for name in plain)
    hit = results(answers("none", ONE))
    assert (np.abs(hit[:, 0]) > 1e15).all()
    assert np.array_equal(hit[:, 1], results(plain)[:, 1])
    back = answers("secded_scale", ONE)
    assert all(np.array_equal(back[name], clean[name]) for name in clean)
    for guard, upsets in (("secded_scale", TWO), ("parity", TWO[:1])):
        got = results(answers(guard, upsets))
        assert np.array_equal(got[:, 0], results(plain)[:, 0])
        # A group whose exponent field reads as zero adds next to nothing: the other one is left.
        assert (got[:, 1] != results(plain)[:, 1]).all()
        assert np.isfinite(got).all()
        assert (np.abs(got) < 400).all()


@pytest.mark.parametrize("guard", ["none", "secded_scale"])
def test_flips_in_the_banks_of_the_verilog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    """Answers of the system are the model's; it counts what was read wrong, a read a column."""
    point = point_of(guard)
    flipped(monkeypatch)
    driver = Driver(
        "guarded",
        emit.verilog(design.system(point), "guarded"),
        point.params.input,
        point.params.output,
        folder=tmp_path,
        cache=runner.cache_folder(),
        thorough=False,
    )
    wanted = answers(guard, (*ONE, *TWO))
    reads = [Read(address=r.address) for r in registers.GUARD] if guard != "none" else []
    sent = [Send(beats=program(point.params)), Expect(packets=int(wanted["last"].sum())), Idle()]
    log = driver.run([*sent, *reads])
    assert all(np.array_equal(log.beats[name], wanted[name]) for name in log.beats)
    if reads:
        assert [data for data, _ in log.answers[-2:]] == [COLUMNS, COLUMNS]


def test_no_guard_is_no_hardware() -> None:
    assert "syndrome" not in design.emitted(point_of("none")).text
    assert "syndrome" in design.emitted(point_of("secded_scale")).text


def test_impossible() -> None:
    with pytest.raises(UsageError, match="guard must be one without bounds, got 'window'"):
        flexblock_core.Params(guard="window")
    with pytest.raises(UsageError, match="no guard 'crc'; guards: "):
        flexblock_core.Params(guard="crc")
    for upset, message in (
        (Upset(program=1, load=0, word=0, bit=0), "no program 1 in which"),
        (Upset(program=0, load=2, word=0, bit=0), "no LOAD 2 in program 0"),
        (Upset(program=0, load=0, word=99, bit=0), "no bit 0 of word 99"),
        (Upset(program=0, load=0, word=0, bit=56), "no bit 56 of word 0"),
    ):
        with pytest.raises(UsageError, match=message):
            answers("none", (upset,))
