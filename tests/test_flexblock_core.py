"""`flexblock_core`: layers against floating point, statuses, sums, bad input."""

from typing import Any

import numpy as np
import pytest

from narrowgauge import registry
from narrowgauge.golden.arith.fused_mul import BITS
from narrowgauge.golden.cores import flexblock_core, flexblock_cycles
from narrowgauge.golden.cores import flexblock_packets as host
from narrowgauge.golden.cores.flexblock_machine import Machine
from narrowgauge.golden.cores.flexblock_packets import Load, Opcode, Run, Side, Status
from narrowgauge.golden.cores.flexblock_programs import product
from narrowgauge.golden.cores.flexblock_random import Program, cut
from narrowgauge.golden.cores.flexblock_words import encoded, interleaved, words
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, join

(POINT,) = registry.points("flexblock_core/p2_n16")
P: flexblock_core.Params = POINT.params
ROOMY = flexblock_core.Params(
    pes=4, nibbles=16, group12=24, group16=12, group24=6, a_depth=64, b_depth=64, load=2, results=2
)


def run(params: flexblock_core.Params, parts: list[Batch]) -> list[tuple[Batch, Status]]:
    """The answers to packets after a reset."""
    return host.responses(Machine(params).run(join(parts)))


def values_of(mode: int, codes: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """Numbers of groups, (..., groups, size)."""
    return codes * 2.0 ** (np.maximum(fields, 1) - 127.0 - (BITS[mode] - 1))[..., None]


def dot(mode: int, a: tuple[np.ndarray, ...], b: tuple[np.ndarray, ...]) -> np.ndarray:
    """FP32 sums, group by group, of exact products; operands are codes and fields.

    Doubles hold each group's sum: its products have one weight and less than 53 bits.
    """
    sums = (values_of(mode, *a) * values_of(mode, *b)).sum(axis=-1).astype(np.float32)
    total = np.zeros(sums.shape[:-1], np.float32)
    for group in range(sums.shape[-1]):
        total = total + sums[..., group]
    return total


def numbers(codes: np.ndarray) -> np.ndarray:
    """FP32 codes as numbers."""
    return codes.astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("n", [5, 40, 160])
def test_a_product_is_that_of_its_groups(mode: int, n: int) -> None:
    # 160 elements exceed the banks: pieces are added up in the core, each from +0.
    p, rng = ROOMY, np.random.default_rng(n)
    rows = p.pes * (2 if mode == 0 else 1)
    w, x = rng.standard_normal((rows, n)), rng.standard_normal((6, n))
    size = p.pe.sizes[mode]
    parts, runs = product(p, mode, w, x, size)
    answers = run(p, parts)
    assert {status for _, status in answers} == {Status.OK}
    assert (len(runs) > 1) == (n > 40 and mode == 2)
    got = numbers(host.results(p, runs[-1], answers[-1][0]))
    left, right = (encoded(mode, size, values) for values in (w, x))
    most = min(p.a_depth, p.pes * p.b_depth // (len(x) // (2 if mode == 0 else 1)))
    each = most // p.pe.beats(mode)
    want = np.zeros((len(x), rows), np.float32)
    for start in range(0, left[1].shape[-1], each):
        part = slice(start, start + each)
        pieces = [(codes[:, None, part], fields[:, None, part]) for codes, fields in (left,)]
        other = right[0][:, part], right[1][:, part]
        column = [dot(mode, pieces[0], (o[None], f[None])) for o, f in zip(*other, strict=True)]
        piece = np.stack([values[:, 0] for values in column])
        want = piece if not start else (want + piece).astype(np.float32)
    if mode == 0:
        # (pairs, outputs, elements) to (columns, rows): output 2 r + s.
        got = got.reshape(-1, 2, 2, p.pes).transpose(0, 2, 3, 1).reshape(len(x), rows)
    else:
        got = got[:, 0]
    assert np.array_equal(got, want)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_comes_of_the_counters(stride: int) -> None:
    # 3 x 3 over 8 channels, a pixel's channels two groups; output pixels are columns.
    p, mode, size, channels, side = ROOMY, 1, 4, 8, 7
    rng = np.random.default_rng(stride)
    x = rng.standard_normal((side, side, channels))
    w = rng.standard_normal((p.pes, 3, 3, channels))
    image, kernel = encoded(mode, size, x), encoded(mode, size, w)
    pixel = channels // size
    out = (side - 3) // stride + 1
    taps = words(p, mode, Side.A, kernel[0].reshape(p.pes, -1, size), kernel[1].reshape(p.pes, -1))
    pixels = words(p, mode, Side.B, image[0].reshape(1, -1, size), image[1].reshape(1, -1))
    command = Run(
        mode=mode,
        a=0,
        b=0,
        beats=pixel,
        group=1,
        taps=(3, 3),
        tap_steps=(side * pixel, pixel),
        columns=(out, out),
        column_steps=(stride * side * pixel, stride * pixel),
    )
    count = [len(each["scales"]) for each in (taps, pixels)]
    parts = [
        host.packet(p, Load(side=Side.A, address=0, words=count[0]), interleaved(p, taps)),
        host.packet(p, Load(side=Side.B, address=0, words=count[1]), pixels),
        host.packet(p, command),
    ]
    answers = run(p, parts)
    assert [status for _, status in answers] == [Status.OK] * 3
    got = numbers(host.results(p, command, answers[2][0]))[:, 0]
    for column, (y, z) in enumerate(np.ndindex(out, out)):
        window = [part[stride * y : stride * y + 3, stride * z : stride * z + 3] for part in image]
        flat = [window[0].reshape(1, -1, size), window[1].reshape(1, -1)]
        a = [kernel[0].reshape(p.pes, -1, size), kernel[1].reshape(p.pes, -1)]
        assert np.array_equal(got[column], dot(mode, tuple(a), tuple(flat))), column


@pytest.mark.parametrize("mode", [0, 1])
def test_depthwise_reads_banks_of_its_own(mode: int) -> None:
    # Each element has its own channel's windows: 9 elements, a group; FB12 keeps the diagonal.
    p, windows = ROOMY, 5
    rng = np.random.default_rng(mode)
    channels = p.pes * (2 if mode == 0 else 1)
    x, w = rng.standard_normal((channels, windows, 9)), rng.standard_normal((channels, 1, 9))
    sides = [encoded(mode, 9, values) for values in (w, x)]
    each = -(-9 // p.pe.depth(mode))
    parts = []
    for side, (codes, fields) in zip(Side, sides, strict=True):
        if mode == 0:
            # (elements, two channels, windows, size): the windows are the groups of one vector.
            codes = codes.reshape(p.pes, 2, -1, 9)
            fields = fields.reshape(p.pes, 2, -1)
        else:
            codes, fields = codes.reshape(p.pes, -1, 9), fields.reshape(p.pes, -1)
        made = interleaved(p, words(p, mode, side, codes, fields))
        load = Load(side=side, address=0, words=len(made["scales"]))
        parts.append(host.packet(p, load, made))
    command = Run(
        mode=mode,
        shared=False,
        a=0,
        b=0,
        beats=each,
        group=each,
        columns=(1, windows),
        column_steps=(0, each),
        keep=0b1001,
    )
    answers = run(p, [*parts, host.packet(p, command)])
    got = numbers(host.results(p, command, answers[-1][0]))
    want = dot(mode, sides[0], sides[1])
    if mode == 0:
        got = got.transpose(2, 1, 0).reshape(channels, windows)
        # A channel and its neighbour share no output but those that are kept.
    else:
        got = got[:, 0].T
    assert np.array_equal(got, want)


# -- commands -------------------------------------------------------------------------------------


def filled(params: flexblock_core.Params = P) -> Program:
    """A core with something in all its words."""
    made = Program(params, np.random.default_rng(1))
    made.fill()
    return made


def longer(packet: Batch) -> Batch:
    """A data beat more."""
    made = {name: np.concatenate([values, values[-1:]]) for name, values in packet.items()}
    made["last"][-2] = 0
    return made


def test_statuses_packet_by_packet() -> None:
    program = filled()
    size = P.pes * P.b_depth
    plain = {"mode": 2, "a": 0, "b": 0, "beats": 1, "group": 1}
    well = host.packet(P, Run(**plain))
    load = program.words(Load(side=Side.B, address=8, words=3, after=True))
    head = {"opcode": Opcode.LOAD, "side": Side.B}

    def made(**fields: int) -> Batch:
        return host.made(P, host.header(P, **fields))

    def ran(**changed: Any) -> Batch:
        return host.packet(P, Run(**plain | changed))

    steps = [
        (well, Status.OK),
        # No such command, no such words.
        (made(opcode=3), Status.ILLEGAL),
        (made(opcode=15), Status.ILLEGAL),
        (made(**head, words=0), Status.ILLEGAL),
        (made(**head, address=size, words=1), Status.ILLEGAL),
        (made(**head, address=size - 1, words=2), Status.ILLEGAL),
        (made(**head, words=size + 1), Status.ILLEGAL),
        (made(**head, address=(1 << 20) - 1, words=(1 << 20) - 1), Status.ILLEGAL),
        # Legal words that do not come.
        (made(**head, address=size - 1, words=1), Status.CUT),
        (cut(load, 1), Status.CUT),
        (cut(load, 3), Status.CUT),
        (longer(load), Status.OVERRUN),
        (load, Status.OK),
        # RUN: nothing is kept, a group too long for its sums, a description cut or too long.
        (ran(mode=0, keep=0), Status.ILLEGAL),
        (ran(mode=1, keep=0), Status.OK),
        (ran(mode=2, group=6), Status.OK),
        (ran(mode=2, group=7), Status.ILLEGAL),
        (ran(mode=3, group=7), Status.ILLEGAL),
        (ran(mode=1, group=3), Status.OK),
        (ran(mode=1, group=4), Status.ILLEGAL),
        (longer(ran(mode=1, group=4)), Status.ILLEGAL),
        (cut(well, 1), Status.CUT),
        (cut(well, 2), Status.CUT),
        (longer(well), Status.OVERRUN),
        # Addresses and sums beyond what there is.
        (ran(a=P.a_depth - 1), Status.OK),
        (ran(a=P.a_depth - 1, beats=2), Status.BEYOND),
        (ran(b=size - 1), Status.OK),
        (ran(b=size - 1, beats=2), Status.BEYOND),
        (ran(b=P.b_depth - 1, shared=False), Status.OK),
        (ran(b=P.b_depth, shared=False), Status.BEYOND),
        (ran(columns=(1, 2), column_steps=(0, -1)), Status.BEYOND),
        (longer(ran(b=size - 1, beats=2)), Status.BEYOND),
        (ran(columns=(1, P.sums), hold=True), Status.OK),
        (ran(columns=(1, P.sums + 1), hold=True), Status.BEYOND),
        (ran(mode=0, columns=(1, 2), hold=True), Status.BEYOND),
        (ran(mode=0, columns=(1, 2), add=True, keep=6), Status.OK),
        (well, Status.OK),
    ]
    for part, _ in steps:
        program.send(part)
    answers = host.responses(Machine(P).run(join(program.parts)))[-len(steps) :]
    assert [status for _, status in answers] == [status for _, status in steps]
    # What was refused has changed nothing; the whole answer comes whatever the status.
    assert np.array_equal(answers[-1][0]["data"], answers[0][0]["data"])
    assert all(
        not answer["data"].any()
        for answer, status in answers
        if status in (Status.ILLEGAL, Status.CUT)
    )


def test_sums_begin_grow_and_go() -> None:
    program = filled()
    shape = {"mode": 1, "a": 0, "beats": 2, "group": 1, "columns": (1, 3), "column_steps": (0, 2)}
    pieces = [Run(b=b, **shape) for b in (0, 8, 16)]
    chain = [
        Run(b=0, hold=True, **shape),
        Run(b=8, add=True, hold=True, **shape),
        Run(b=16, add=True, **shape),
        # Sums stay until another RUN leaves its own.
        Run(b=16, add=True, **shape),
    ]
    for command in (*pieces, *chain):
        program.send(host.packet(P, command))
    answers = host.responses(Machine(P).run(join(program.parts)))[-7:]
    one = [numbers(host.results(P, piece, answers[i][0])) for i, piece in enumerate(pieces)]
    with np.errstate(over="ignore", invalid="ignore"):
        want = (one[0] + one[1]) + one[2]
    assert [len(answer["last"]) for answer, _ in answers[3:5]] == [1, 1]
    for answer, _ in answers[5:]:
        got = numbers(host.results(P, chain[2], answer))
        assert np.array_equal(got, want, equal_nan=True)


def test_what_was_never_written_is_refused() -> None:
    well = host.packet(P, Run(mode=2, a=0, b=0, beats=1, group=1))
    with pytest.raises(UsageError, match=r"^RUN reads words of A that were never written$"):
        Machine(P).run(well)
    program = filled()
    with pytest.raises(UsageError, match=r"^RUN adds to sums that were never left$"):
        program.send(host.packet(P, Run(mode=2, a=0, b=0, beats=1, group=1, add=True)))
    with pytest.raises(UsageError, match=r"^program ends within a packet$"):
        Machine(P).run(cut(well, 1) | {"last": np.zeros(1, np.int64)})


def test_a_load_does_not_overtake() -> None:
    program = filled()
    program.send(host.packet(P, Run(mode=2, a=2, b=4, beats=2, group=1, shared=True)))
    for side, address in ((Side.A, 2 * P.pes), (Side.B, 5)):
        load = program.words(Load(side=side, address=address, words=1))
        message = f"LOAD of {side.name} at {address} may overtake a RUN, which needs after"
        with pytest.raises(UsageError, match=message):
            program.send(load)
    program.send(program.words(Load(side=Side.B, address=6, words=1)))
    program.send(program.words(Load(side=Side.B, address=5, words=1, after=True)))
    program.send(program.words(Load(side=Side.B, address=4, words=1)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pes": 3}, "pes must be a power of two, got 3"),
        ({"pes": 1}, "pes must be 2..64, got 1"),
        ({"load": 8}, "load must not exceed pes=4, got 8"),
        ({"results": 0}, "results must be a power of two, got 0"),
        ({"a_depth": 24}, "a_depth must be a power of two, got 24"),
        ({"sums": 2}, "sums must be 4..8192, got 2"),
        ({"nibbles": 24}, "nibbles must be a multiple of 16, got 24"),
    ],
)
def test_bad_parameters(given: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        flexblock_core.Params(**given)
    assert str(caught.value) == message


def test_bad_commands() -> None:
    with pytest.raises(UsageError, match="counts must be at least 1"):
        host.packet(P, Run(mode=0, a=0, b=0, beats=0, group=1))
    with pytest.raises(UsageError, match="counts must be at least 1"):
        flexblock_cycles.cycles(P, [Run(mode=0, a=0, b=0, beats=1, group=1, taps=(0, 1))])
    with pytest.raises(UsageError, match="moves by 64, beyond 64 words"):
        host.packet(P, Run(mode=0, a=0, b=0, beats=1, group=1, taps=(1, 2), tap_steps=(0, 64)))
    with pytest.raises(UsageError, match="LOAD of 3 words has 2"):
        host.packet(P, Load(side=0, address=0, words=3), P.word.beats(2))
    with pytest.raises(UsageError, match=r"^field a: 8 is outside 0\.\.7$"):
        host.packet(P, Run(mode=0, a=8, b=0, beats=1, group=1))
