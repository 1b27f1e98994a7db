# amaranth: UnusedElaboratable=no
"""`lightnorm`: layers against the arithmetic's own model, statuses, tables, resets, bad input."""

from typing import Any

import numpy as np
import pytest

from narrowgauge import registry
from narrowgauge.golden.cores import lightnorm, packets
from narrowgauge.golden.cores import lightnorm_packets as host
from narrowgauge.golden.cores.lightnorm_commands import Kind, Opcode, State, Table
from narrowgauge.golden.cores.lightnorm_machine import Machine
from narrowgauge.golden.cores.lightnorm_programs import tiles, training_step
from narrowgauge.golden.cores.packets import Status
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import Overflow, Rounding, vector
from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.units.range_bn import FP10, Blocks, Layer
from narrowgauge.golden.units.range_bn_gradient import gradients, propagate
from narrowgauge.golden.units.range_bn_passes import constants, normalize, statistics
from narrowgauge.golden.units.window import FP32
from narrowgauge.hdl import emit
from narrowgauge.hdl.cores.lightnorm import Lightnorm
from narrowgauge.hdl.systems import registers
from narrowgauge.hdl.systems.packet_system import PacketSystem
from narrowgauge.verify.driver import Driver, Expect, Send, Write
from narrowgauge.verify.runner import cache_folder

(POINT,) = registry.points("lightnorm/g2_l2")
P: lightnorm.Params = POINT.params
MODES: dict[str, Any] = {"rounding": Rounding.RNE, "overflow": Overflow.SATURATE}


def tensors(
    count: int, channels: int, seed: int = 1
) -> tuple[Blocks, Blocks, np.ndarray, np.ndarray]:
    """Of x, g, gamma, beta; one channel constant."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, channels)) * 2.0 ** rng.uniform(-2, 2, channels)
    x[:, 1] = x[0, 1]
    g = rng.standard_t(4, x.shape) * 2.0**-6
    gamma = vector.encode(FP10, rng.normal(1, 0.5, channels), **MODES)
    beta = vector.encode(FP32, rng.normal(0, 1, channels), **MODES)
    return Blocks.of(x, P.array.forward), Blocks.of(g, P.array.backward), gamma, beta


def run(machine: Machine, parts: list[Batch]) -> list[tuple[Batch, Status]]:
    """The answers to packets."""
    return packets.responses(machine.run(join(parts)))


def own(tensor: Blocks, block: int) -> Blocks:
    """The channels of a block."""
    return tensor.channels(block * P.lanes, (block + 1) * P.lanes)


def statuses(parts: list[Batch], machine: Machine | None = None) -> list[Status]:
    """How packets end."""
    return [status for _, status in run(machine or Machine(P), parts)]


@pytest.mark.parametrize("size", [1, 7, 19, 64])
@pytest.mark.parametrize("chunks", [1, 2])
def test_a_layer_is_that_of_the_arithmetic(size: int, chunks: int) -> None:
    # Neither tiles nor lanes change a bit; 37 positions make chunks of unequal length.
    count, channels = 37, P.channels
    x, g, gamma, beta = tensors(count, channels)
    layer = Layer(count=count, chunks=chunks)
    parts = training_step(P, layer, x, g, gamma, beta, size)
    answers = run(Machine(P), parts)
    assert {status for _, status in answers} == {Status.OK}
    a = type(P.array.arithmetic)(**{**vars(P.array.arithmetic), "chunks": chunks})
    stats = statistics(a, layer, x)
    made = constants(a, layer, stats, gamma, beta)
    sums = gradients(a, made, x, g)
    wanted = (
        normalize(a, made, x),
        propagate(a, layer, stats, made, sums, g),
    )
    long = [answer for answer, _ in answers]
    opcodes = [int(part["word"][0, 0]) & 15 for part in parts]
    for opcode, want in zip((Opcode.NORMALIZE, Opcode.PROPAGATE), wanted, strict=True):
        given = [answer for answer, code in zip(long, opcodes, strict=True) if code == opcode]
        each = len(given) // P.blocks
        for block in range(P.blocks):
            got = host.blocks_of(P, want.fmt, given[block * each : (block + 1) * each])
            assert np.array_equal(got.codes, own(want, block).codes)
            assert np.array_equal(got.fields, own(want, block).fields)
    tables = [answer for answer, code in zip(long, opcodes, strict=True) if code == Opcode.READ]
    for block in range(P.blocks):
        lanes = slice(block * P.lanes, (block + 1) * P.lanes)
        averages, places, results = (
            host.records_of(P, table, answer)
            for table, answer in zip(
                (Table.AVERAGES, Table.PLACES, Table.RESULTS),
                tables[4 * block + 1 : 4 * block + 4],
                strict=True,
            )
        )
        assert np.array_equal(averages["total"], (stats.total[lanes] << P.guard) >> P.momentum)
        assert np.array_equal(averages["spread"], (stats.spread[lanes] << P.guard) >> P.momentum)
        used = chunks * P.lanes
        assert np.array_equal(places["largest"][:used], stats.largest[:, lanes].ravel())
        assert np.array_equal(places["least"][:used], stats.least[:, lanes].ravel())
        assert np.array_equal(results["dbeta"], sums.dbeta[lanes])
        assert np.array_equal(results["dgamma"], sums.dgamma[lanes])
        assert not results["bad"].any()


def begun(count: int = 10) -> tuple[Machine, Layer, Blocks, Blocks]:
    """A core with a layer, weights and averages of block 0."""
    x, g, gamma, beta = tensors(count, P.lanes)
    layer = Layer(count=count, chunks=2)
    base, gradient_base = (each.base + each.fmt.bias for each in (x, g))
    machine = Machine(P)
    parts = [
        host.layer(P, layer, base, gradient_base),
        host.write(P, Table.WEIGHTS, 0, gamma=gamma, beta=beta),
        host.write(P, Table.AVERAGES, 0),
    ]
    assert set(statuses(parts, machine)) == {Status.OK}
    return machine, layer, x, g


def passed(opcode: Opcode, x: Blocks, g: Blocks, sizes: list[int]) -> list[Batch]:
    """A pass over block 0."""
    return tiles(P, opcode, 0, sizes, x, g)


def test_inference_takes_averages() -> None:
    machine, layer, x, g = begun()
    wanted, answers = [], []
    for _ in range(30):
        answers = run(
            machine,
            [
                *passed(Opcode.STATISTICS, x, g, [10]),
                host.constants(P, 0, average=True),
                *passed(Opcode.NORMALIZE, x, g, [10]),
            ],
        )
        wanted = [answers[-1][0]["data"]]
    # After many steps over one tensor the averages are its own, a unit below at most.
    held = host.records_of(P, Table.AVERAGES, run(machine, [host.read(P, Table.AVERAGES, 0)])[0][0])
    sums = host.records_of(P, Table.SUMS, run(machine, [host.read(P, Table.SUMS, 0)])[0][0])
    assert np.all(np.abs((held["total"] >> P.guard) - sums["total"]) <= 2 + abs(sums["total"]) / 25)
    whole = {"total": sums["total"] << P.guard, "spread": sums["second"] << P.guard}
    answers = run(
        machine,
        [
            host.write(P, Table.AVERAGES, 0, **whole),
            host.constants(P, 0, Kind.INFERENCE),
            *passed(Opcode.NORMALIZE, x, g, [4, 6]),
        ],
    )
    got = np.concatenate([answers[-2][0]["data"], answers[-1][0]["data"]])
    assert np.array_equal(got, wanted[0])
    # What only a training has is not there.
    assert statuses(passed(Opcode.GRADIENTS, x, g, [10]), machine) == [Status.ORDER]
    assert statuses([host.read(P, Table.SUMS, 0)], machine) == [Status.ORDER]
    del layer


def test_a_block_is_saved_and_restored() -> None:
    machine, layer, x, g = begun()
    forth = [*passed(Opcode.STATISTICS, x, g, [10]), host.constants(P, 0)]
    back = [
        *passed(Opcode.GRADIENTS, x, g, [10]),
        host.constants(P, 0, Kind.BACKWARD),
        *passed(Opcode.PROPAGATE, x, g, [10]),
        host.read(P, Table.RESULTS, 0),
    ]
    saves = [host.read(P, Table.SUMS, 0), host.read(P, Table.PLACES, 0)]
    answers = run(machine, [*forth, *saves, *back])
    kept = [answer for answer, _ in answers[len(forth) : len(forth) + 2]]
    wanted = [answer["data"] for answer, _ in answers[-2:]]
    forgetting = host.layer(P, layer, x.base + x.fmt.bias, g.base + g.fmt.bias, forget=True)
    assert statuses([forgetting, host.constants(P, 0)], machine) == [Status.OK, Status.ORDER]
    records = [
        host.records_of(P, table, answer)
        for table, answer in zip((Table.SUMS, Table.PLACES), kept, strict=True)
    ]
    restore = [
        host.write(P, Table.SUMS, 0, **records[0]),
        host.write(P, Table.PLACES, 0, **records[1]),
        host.constants(P, 0),
    ]
    answers = run(machine, [*restore, *back])
    assert all(
        np.array_equal(answer["data"], want)
        for (answer, _), want in zip(answers[-2:], wanted, strict=True)
    )


def cut(packet: Batch, count: int) -> Batch:
    """Its header and `count` data beats."""
    made = {name: values[: count + 1].copy() for name, values in packet.items()}
    made["last"][-1] = 1
    return made


def longer(packet: Batch) -> Batch:
    """A data beat more."""
    made = {name: np.concatenate([values, values[-1:]]) for name, values in packet.items()}
    made["last"][-2] = 0
    return made


def test_statuses_packet_by_packet() -> None:
    x, g, gamma, beta = tensors(10, P.lanes)
    layer = Layer(count=10, chunks=2)
    made = host.layer(P, layer, x.base + x.fmt.bias, g.base + g.fmt.bias)
    first, rest = passed(Opcode.STATISTICS, x, g, [4, 6])
    normalize = passed(Opcode.NORMALIZE, x, g, [10])[0]
    weights = host.write(P, Table.WEIGHTS, 0, gamma=gamma, beta=beta)
    forward, backward = host.constants(P, 0), host.constants(P, 0, Kind.BACKWARD)
    wrong = {"opcode": Opcode.STATISTICS, "first": 1, "positions": 11}
    steps: list[tuple[Batch, Status]] = [
        # Nothing without a layer.
        (first, Status.ORDER),
        (forward, Status.ORDER),
        (cut(made, 0), Status.CUT),
        (longer(made), Status.OVERRUN),
        (first, Status.ORDER),
        (made, Status.OK),
        (weights, Status.OK),
        # Tiles: more positions than the layer has, none, the second first.
        (host.packet(P, wrong), Status.ILLEGAL),
        (host.packet(P, {**wrong, "positions": 0}), Status.ILLEGAL),
        (rest, Status.ORDER),
        (first, Status.OK),
        (first, Status.OK),
        (host.packet(P, {**wrong, "first": 0, "positions": 7}), Status.ILLEGAL),
        (normalize, Status.ORDER),
        (forward, Status.ORDER),
        (rest, Status.OK),
        (rest, Status.ORDER),
        (backward, Status.ORDER),
        (host.read(P, Table.RESULTS, 0), Status.ORDER),
        (forward, Status.OK),
        (cut(normalize, 3), Status.CUT),
        (cut(normalize, 0), Status.CUT),
        (longer(normalize), Status.OVERRUN),
        # Cut in its middle: the pass is over, and the statistics are gone.
        (first, Status.OK),
        (cut(rest, 2), Status.CUT),
        (rest, Status.ORDER),
        (normalize, Status.ORDER),
        # No such block, table, kind, command.
        (host.constants(P, P.blocks), Status.ILLEGAL),
        (host.read(P, Table.WEIGHTS, 0), Status.ILLEGAL),
        (host.packet(P, {"opcode": Opcode.WRITE, "table": Table.RESULTS}), Status.ILLEGAL),
        (host.packet(P, {"opcode": Opcode.CONSTANTS, "kind": 3}), Status.ILLEGAL),
        (host.packet(P, {"opcode": 9}), Status.ILLEGAL),
        (cut(weights, 1), Status.CUT),
        (longer(weights), Status.OVERRUN),
    ]
    machine = Machine(P)
    assert statuses([part for part, _ in steps], machine) == [status for _, status in steps]
    assert machine.states[0] == State.EMPTY


@pytest.mark.parametrize(("length", "chunk_bits"), [(3, 1), (65, 1), (64, 2), (0, 0), (1, 0)])
def test_no_layer_with_short_chunks_or_too_long(length: int, chunk_bits: int) -> None:
    fields = P.layer.beats(1, length=length)
    if chunk_bits <= P.layer["chunk_bits"].limits[1]:
        fields["chunk_bits"][:] = chunk_bits
    else:
        fields["length"][:] = 2
    raw = P.layer.pack(fields).astype(np.int64)
    word = np.pad(raw, ((0, 0), (0, (P.input["word"].count or 0) - raw.shape[1])))
    wanted = Status.OK if fields["length"][0] == 2 else Status.ILLEGAL
    assert statuses([host.packet(P, {"opcode": Opcode.LAYER}, word)]) == [wanted]


def test_what_was_never_written_is_refused() -> None:
    machine, _, x, g = begun()
    with pytest.raises(UsageError, match="AVERAGES of block 1 were never written"):
        machine.packet(host.read(P, Table.AVERAGES, 1))
    sums = host.write(P, Table.SUMS, 0, second=np.full(P.lanes, 100))
    parts = [sums, host.constants(P, 0), *passed(Opcode.GRADIENTS, x, g, [10])]
    parts.append(host.constants(P, 0, Kind.BACKWARD))
    assert set(statuses(parts, machine)) == {Status.OK}
    with pytest.raises(UsageError, match="PLACES of block 0 were never written"):
        machine.packet(passed(Opcode.PROPAGATE, x, g, [10])[0])
    with pytest.raises(UsageError, match=r"^program ends within a packet$"):
        machine.run(cut(sums, 1) | {"last": np.zeros(2, np.int64)})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lanes": 12}, "lanes must be a power of two, got 12"),
        ({"channels": 12}, "channels must be a multiple of lanes=8 up to 4096, got 12"),
        ({"channels": 8192}, "channels must be a multiple of lanes=8 up to 4096, got 8192"),
        ({"momentum": 9}, "momentum must be 1..8, got 9"),
        ({"group": 16}, "lanes must be a multiple of group=16 up to 64, got 8"),
    ],
)
def test_bad_parameters(given: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        lightnorm.Params(**given)
    assert str(caught.value) == message


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    text = emit.verilog(PacketSystem(Lightnorm(P), POINT.parameters), "lightnorm_system")
    return Driver(
        "lightnorm_system",
        text,
        P.input,
        P.output,
        folder=tmp_path_factory.mktemp("lightnorm"),
        cache=cache_folder(),
        thorough=False,
    )


def test_reset_between_passes(driver: Driver) -> None:
    # In the middle of a pass: what the memories held is gone, the layer too, and all comes again.
    x, g, gamma, beta = tensors(10, P.lanes)
    layer = Layer(count=10, chunks=2)
    step = training_step(P, layer, x, g, gamma, beta, 4)
    wanted = Machine(P).run(join(step))
    # LAYER, weights, averages; statistics in three tiles, constants, y in three, sums over g.
    early = step[:11]
    one = {name: values[:2] for name, values in step[11].items()}
    rest = {name: values[2:] for name, values in step[11].items()}
    control = registers.address("CONTROL")
    first = Machine(P).run(join(early))
    again = [step[8], *step]
    steps = [
        Send(beats=join([*early, one])),
        Expect(packets=len(early)),
        Write(address=control, data=registers.ENABLE | registers.RESET),
        Send(beats=join([rest, *again])),
        Expect(packets=1 + len(step)),
    ]
    played = driver.run(steps)
    got = {name: values[len(first["last"]) :] for name, values in played.beats.items()}
    order = P.output.beats(1, status=Status.ORDER, last=1)
    for name, values in join([order, wanted]).items():
        assert np.array_equal(got[name], values), name


def test_commands_wait_for_the_engine(driver: Driver) -> None:
    # Constants of one block go on beside a pass over another; of the same block the pass waits.
    x, g, gamma, beta = tensors(60, P.channels)
    layer = Layer(count=60, chunks=2)
    parts = training_step(P, layer, x, g, gamma, beta, 60)
    played = driver.play(join(parts))
    wanted = Machine(P).run(join(parts))
    for name, values in wanted.items():
        assert np.array_equal(played.beats[name], values), name
    # A position a cycle; the engine's cycles lie under the other blocks' passes but once or so.
    positions = 60 * P.blocks * 4
    assert played.cycles < 1.9 * positions
