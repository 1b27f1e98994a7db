"""`opal_core`: answers against floating point, statuses packet by packet, bad parameters."""

from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from narrowgauge.golden.cores import opal_core, opal_packets, packets
from narrowgauge.golden.cores.opal_packets import Rows
from narrowgauge.golden.cores.packets import Header, Opcode, Out, Status
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import MXOpal, bf16_codes, bf16_values, dequantize, quantize
from narrowgauge.golden.payload import Batch, join
from narrowgauge.hdl.cores.opal_core import OpalCore

SMALL: dict[str, Any] = {
    **{"k": 32, "n": 2, "lanes": 16, "fp_units": 2, "q_lanes": 4},
    **{"head": 8, "length": 32, "vector": 64},
}
P = opal_core.Params(**SMALL)


def codes(values: np.ndarray) -> np.ndarray:
    """bf16 codes of numbers."""
    return bf16_codes(values.astype(np.float32)).astype(np.int64)


def numbers(found: np.ndarray) -> np.ndarray:
    """Numbers of bf16 codes."""
    return bf16_values(found.astype(np.uint16)).astype(np.float64)


def run(parts: list[Batch], params: opal_core.Params = P) -> list[tuple[Batch, Status]]:
    """The answers to one program."""
    beats = join(parts)
    batch = packets.batch([packets.program(params.input, [beats], len(beats["last"]) + 3)])
    outputs = opal_core.model(params, batch)
    assert outputs["answered"].tolist() == [len(outputs["last"])]
    return packets.responses(opal_core.output_beats(params, outputs))


def weights(rng: np.random.Generator, rows: int, length: int, b: int) -> tuple[Rows, np.ndarray]:
    """Random rows in blocks, and their numbers."""
    x = codes(rng.standard_normal((rows, length)))
    tensor = quantize(x.astype(np.uint16), MXOpal(k=P.k, b=b, n=P.n), axis=1)
    return Rows.of(tensor, P.n), dequantize(tensor).astype(np.float64)


@pytest.mark.parametrize("a_high", [False, True])
@pytest.mark.parametrize("w_high", [False, True])
@pytest.mark.parametrize("length", [1, 7, 32, 50, 64])
def test_matvec_is_a_product(a_high: bool, w_high: bool, length: int) -> None:
    rng = np.random.default_rng(length)
    x = codes(rng.standard_normal(length) * np.exp(rng.standard_normal(length)))
    bits = {False: P.dot.low, True: P.dot.high}
    rows, w = weights(rng, 5, length, bits[w_high])
    scale = codes(rng.standard_normal(5))
    a = quantize(x.astype(np.uint16)[None], MXOpal(k=P.k, b=bits[a_high], n=P.n), axis=1)
    exact = (w @ dequantize(a).astype(np.float64)[0]) * numbers(scale)
    size = (np.abs(w) @ np.abs(dequantize(a).astype(np.float64)[0])) * np.abs(numbers(scale))
    answers = run(
        [
            opal_packets.load(P, x, high=a_high),
            opal_packets.matvec(P, rows, scale, length=length, a_high=a_high, w_high=w_high),
        ]
    )
    assert [status for _, status in answers] == [Status.OK, Status.OK]
    got = numbers(opal_packets.elements_of(answers[1][0], 5))
    # Two roundings to bf16, and the window's.
    assert np.all(np.abs(got - exact) <= np.abs(exact) * 2.0**-7 + size * 2.0**-20)


@pytest.mark.parametrize("out", [Out.LOW, Out.HIGH, Out.PLAIN])
def test_answers_in_blocks_are_those_of_the_format(out: Out) -> None:
    rng = np.random.default_rng(3)
    x = codes(rng.standard_normal(64))
    rows, _ = weights(rng, 40, 64, P.low)
    made = [
        opal_packets.load(P, x),
        opal_packets.matvec(P, rows, 0x3F80, length=64, a_high=False, release=False),
        opal_packets.matvec(P, rows, 0x3F80, length=64, a_high=False, out=out),
    ]
    answers = run(made)
    plain = opal_packets.elements_of(answers[1][0], 40).astype(np.uint16)
    fmt = MXOpal(k=P.k, b=P.low if out == Out.LOW else P.dot.high, n=0 if out == Out.PLAIN else P.n)
    want = quantize(plain[None], fmt, axis=1)
    got = opal_packets.blocks_of(P, answers[2][0])
    assert np.array_equal(got.codes[0], want.codes[0])
    assert np.array_equal(got.scales, want.scales)
    if out != Out.PLAIN:
        assert np.array_equal(got.outliers, want.outliers)
        assert np.array_equal(got.positions, want.positions)


def test_attend_is_an_attention() -> None:
    rng = np.random.default_rng(5)
    params = opal_core.Params(**SMALL | {"renormalise": True})
    errors = []
    for _ in range(20):
        q = codes(rng.standard_normal(8) * 0.7)
        keys, k = weights(rng, 32, 8, P.dot.high)
        v = quantize(
            codes(rng.standard_normal((32, 8))).astype(np.uint16),
            MXOpal(k=8, b=P.dot.high, n=0),
            axis=1,
        )
        answers = run(
            [
                opal_packets.load(params, q, high=True),
                opal_packets.attend(
                    params,
                    keys,
                    v.codes[:, 0].astype(np.int64),
                    v.scales[:, 0].astype(np.int64),
                ),
            ],
            params,
        )
        assert answers[1][1] == Status.OK
        weight = np.exp(k @ numbers(q))
        exact = (weight / weight.sum()) @ dequantize(v).astype(np.float64)
        got = numbers(opal_packets.elements_of(answers[1][0], 8))
        errors.append(np.linalg.norm(got - exact) / np.linalg.norm(exact))
    # Powers of two for probabilities: a relative error of about a fifth.
    assert np.mean(errors) < 0.3


def test_pass_gives_back() -> None:
    x = codes(np.random.default_rng(2).standard_normal(37))
    answers = run(
        [
            opal_packets.through(P, x, quantise=False),
            opal_packets.through(P, x, high=True, plain=True),
        ]
    )
    assert np.array_equal(opal_packets.elements_of(answers[0][0], 37), x)
    want = quantize(x.astype(np.uint16)[None], MXOpal(k=P.k, b=P.dot.high, n=0), axis=1)
    assert np.array_equal(opal_packets.blocks_of(P, answers[1][0]).codes[0], want.codes[0])


def bare(header: Header, count: int = 0) -> Batch:
    """A header with beats of zeros."""
    return packets.packet(P.input, header, P.input.beats(count) if count else None)


def cut(packet: Batch, count: int) -> Batch:
    """Its header and `count` data beats."""
    made = {name: values[: count + 1].copy() for name, values in packet.items()}
    made["last"][-1] = 1
    return made


def longer(packet: Batch, count: int) -> Batch:
    """The packet with more beats than it should have."""
    made = join([packet, P.input.beats(count)])
    made["last"][:] = 0
    made["last"][-1] = 1
    return made


def test_statuses() -> None:
    rng = np.random.default_rng(1)
    x, q = codes(rng.standard_normal(64)), codes(rng.standard_normal(8))
    rows, _ = weights(rng, 6, 64, P.low)
    row, _ = weights(rng, 1, 8, P.low)
    keys, _ = weights(rng, 3, 8, P.dot.high)
    v, v_scale = np.ones((3, 8), np.int64), np.full(3, 127)
    matvec = opal_packets.matvec(P, rows, 0x3F80, length=64, a_high=False, release=False)
    attend = opal_packets.attend(P, keys, v, v_scale, release=False)
    steps: list[tuple[Batch, Status, int]] = [
        (bare(Header(opcode=9)), Status.ILLEGAL, 1),
        (bare(Header(opcode=Opcode.LOAD, length=65), 17), Status.ILLEGAL, 1),
        (bare(Header(opcode=Opcode.LOAD)), Status.ILLEGAL, 1),
        (bare(Header(opcode=Opcode.MATVEC, rows=1), 4), Status.ORDER, 1),
        (bare(Header(opcode=Opcode.ATTEND, rows=33, length=8), 4), Status.ILLEGAL, 1),
        (cut(opal_packets.load(P, x), 5), Status.CUT, 1),
        (longer(opal_packets.load(P, x), 1), Status.OVERRUN, 1),
        # Neither loaded anything.
        (bare(Header(opcode=Opcode.MATVEC, rows=1), 4), Status.ORDER, 1),
        (opal_packets.load(P, x), Status.OK, 1),
        (matvec, Status.OK, 2),
        (attend, Status.ORDER, 1),
        # Two rows are whole, of the third some beats came; five are whole.
        (cut(matvec, 11), Status.CUT, 1),
        (cut(matvec, 20), Status.CUT, 2),
        (cut(matvec, 0), Status.CUT, 1),
        (longer(matvec, 2), Status.OVERRUN, 2),
        (opal_packets.load(P, q, high=True), Status.OK, 1),
        (opal_packets.load(P, q, high=True), Status.ORDER, 1),
        (cut({**matvec, "word": _released(matvec)}, 1), Status.CUT, 1),
        (cut(attend, 2), Status.CUT, 1),
        (cut(attend, 7), Status.CUT, 1),
        (attend, Status.OK, 2),
        (longer(attend, 1), Status.OVERRUN, 2),
        (
            opal_packets.matvec(P, row, 0x3F80, length=8, a_high=True),
            Status.OK,
            1,
        ),
    ]
    answers = run([packet for packet, _, _ in steps])
    got = [(status, len(beats["last"])) for beats, status in answers]
    assert got == [(status, count) for _, status, count in steps]
    # What is whole in a command that was cut is as it was.
    whole = opal_packets.elements_of(answers[9][0], 6)
    assert np.array_equal(opal_packets.elements_of(answers[12][0], 5), whole[:5])
    assert np.array_equal(answers[11][0]["data"], [[*whole[:2], 0, 0]])
    assert np.array_equal(answers[14][0]["data"], answers[9][0]["data"])


def _released(packet: Batch) -> np.ndarray:
    """The words of a packet with the header's release bit set."""
    word = packet["word"].copy()
    word[0, 0] |= 1 << 8
    return word


def taken(params: opal_core.Params, beats: Batch) -> int:
    """Cycles in which the hardware takes the beats, neither stream waiting."""
    dut = OpalCore(params)
    words = [int.from_bytes(row.tobytes(), "little") for row in params.input.pack(beats)]
    spent = 0

    async def bench(ctx: Any) -> None:
        nonlocal spent
        ctx.set(dut.o.ready, 1)
        await ctx.tick().repeat(params.head + 2)
        ctx.set(dut.i.valid, 1)
        for word in words:
            ctx.set(dut.i.payload.as_value(), word)
            ready = 0
            while not ready:
                *_, ready = await ctx.tick().sample(dut.i.ready)
                spent += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return spent


def test_cycles_are_those_of_the_hardware() -> None:
    rng = np.random.default_rng(4)
    x, q = codes(rng.standard_normal(40)), codes(rng.standard_normal(8))
    rows, _ = weights(rng, 5, 40, P.low)
    short, _ = weights(rng, 5, 8, P.low)
    keys, _ = weights(rng, 3, 8, P.dot.high)
    v, v_scale = np.ones((3, 8), np.int64), np.full(3, 127)
    attend = opal_packets.attend(P, keys, v, v_scale, release=False)
    beats = join(
        [
            opal_packets.load(P, x),
            opal_packets.load(P, q, high=True),
            opal_packets.matvec(P, rows, 0x3F80, length=40, a_high=False),
            # Rows of one beat, then attention, and rows that wait for its end.
            opal_packets.matvec(P, short, 0x3F80, length=8, a_high=True, release=False),
            attend,
            opal_packets.matvec(P, short, 0x3F80, length=8, a_high=True, release=False),
            opal_packets.through(P, x, quantise=False),
            attend,
            opal_packets.matvec(P, short, 0x3F80, length=8, a_high=True),
        ]
    )
    batch = packets.batch([packets.program(P.input, [beats], len(beats["last"]) + 3)])
    assert opal_core.cycles(P, batch).tolist() == [taken(P, beats)]
    # Weights, keys, values.
    assert opal_core.macs(P, batch).tolist() == [5 * 40 + 3 * 5 * 8 + 2 * (3 * 8 + 3 * 8)]


def test_lanes_never_change_an_answer() -> None:
    rng = np.random.default_rng(8)
    x = codes(rng.standard_normal(64))
    rows, _ = weights(rng, 9, 64, P.low)
    found = []
    for changed in ({}, {"lanes": 32, "q_lanes": 8}, {"fp_units": 1}):
        params = opal_core.Params(**SMALL | changed)
        answers = run(
            [
                opal_packets.load(params, x),
                opal_packets.matvec(params, rows, 0x4040, length=64, a_high=False),
            ],
            params,
        )
        found.append(opal_packets.elements_of(answers[1][0], 9).tolist())
    assert found[0] == found[1] == found[2]


def test_programs_end_empty_and_whole() -> None:
    x = codes(np.ones(8))
    with pytest.raises(UsageError, match=r"^program 0 leaves 1 vectors loaded$"):
        run([opal_packets.load(P, x)])
    batch = packets.batch([packets.packet(P.input, Header(opcode=Opcode.NOP))])
    batch["final"][:] = 0
    with pytest.raises(UsageError, match=r"^program 0 ends within a packet$"):
        opal_core.model(P, batch)


BAD = [
    ({"low": 2}, "low must be 3 or 4, got 2"),
    ({"n": 0}, "n must be at least 1, got 0"),
    ({"lanes": 8}, "lanes must be a power of two from 16 on, got 8"),
    ({"lanes": 64}, "lanes must be a multiple of 4 that divides k=32, got 64"),
    ({"q_lanes": 3}, "q_lanes must be a power of two, got 3"),
    ({"q_lanes": 8}, "a word of 64 bits must hold a header of 56 and 8 elements of 16"),
    ({"head": 9}, "head must be 2..lanes / 2 = 8, got 9"),
    ({"vector": 48}, "vector must be a multiple of k=32 up to 32768, got 48"),
    ({"length": 24}, "length must be a power of two, 2..4096, got 24"),
]


@pytest.mark.parametrize(("changed", "message"), BAD)
def test_impossible_parameters(changed: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}".replace(".", r"\.")):
        opal_core.Params(**SMALL | changed)
