"""A system's software side: packets through the AXI ports of its Verilog, in a compiled simulation.

    driver = Driver(name, verilog, params.input, params.output, folder=..., cache=...)
    played = driver.play(beats)

`play` sends packets at full speed or with stalls, takes the responses, and reads the counters over
AXI4-Lite; `run` follows any sequence of steps. The simulation is Verilator's model in a C++
program (`driver_cpp`), several hundred thousand cycles a second for a small core.
"""

import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import MismatchError, UsageError
from narrowgauge.golden.payload import Batch, Payload
from narrowgauge.hdl.systems import registers
from narrowgauge.verify import driver_cpp, simulator

__all__ = ["Driver", "Expect", "Idle", "Log", "Played", "Read", "Send", "Step", "Wait", "Write"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Send:
    """Send beats, and go on when the last is taken: fields of the input payload, with `last`."""

    beats: Batch


@dataclass(frozen=True, kw_only=True)
class Expect:
    """Go on when so many more packets have come out since the last `Expect`."""

    packets: int


@dataclass(frozen=True, kw_only=True)
class Write:
    """Write a word over AXI4-Lite."""

    address: int
    data: int
    strobe: int = 15


@dataclass(frozen=True, kw_only=True)
class Read:
    """Read a word over AXI4-Lite."""

    address: int


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Let cycles pass."""

    cycles: int


@dataclass(frozen=True, kw_only=True)
class Idle:
    """Read STATUS until it does not show busy."""


Step = Send | Expect | Write | Read | Wait | Idle


@dataclass(frozen=True, kw_only=True, eq=False)
class Log:
    """What a run gave.

    Parameters
    ----------
    beats : what came out, in order; fields of the output payload
    given : the cycle in which each came out
    taken : the cycle in which each beat sent was taken
    ends : the cycle in which each step ended
    answers : of each `Write`, `Read` and `Idle` its data (0 of a write) and response, (0, 0) of
        other steps
    cycles : all, reset left out
    """

    beats: Batch
    given: Ints
    taken: Ints
    ends: list[int]
    answers: list[tuple[int, int]]
    cycles: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Played:
    """Responses to packets.

    Parameters
    ----------
    beats : the responses, fields of the output payload
    cycles : from the first beat taken to the last given, both included
    given, taken : cycle of each beat out and in
    counters : of `hdl.systems.registers.COUNTERS`, by name
    status : STATUS after the last response
    """

    beats: Batch
    cycles: int
    given: Ints
    taken: Ints
    counters: dict[str, int]
    status: int


class Driver:
    """One system, built once.

    Parameters
    ----------
    name : module of the system, as in `hdl.emit.verilog`
    verilog : its text
    input, output : payloads of its streams
    folder : where it is built and runs; a build with the same text is used again
    cache : compiled objects that designs share
    thorough : compile for speed, which pays from some ten thousand cycles on
    limit : cycles without a transfer after which a run ends as stuck
    timeout : seconds that a build or run may take

    Raises
    ------
    MissingToolError : no Verilator, compiler, make or perl
    MismatchError : the model cannot be built
    """

    def __init__(
        self,
        name: str,
        verilog: str,
        input: Payload,
        output: Payload,
        *,
        folder: Path,
        cache: Path,
        thorough: bool = True,
        limit: int = 100_000,
        timeout: float = 1800,
    ) -> None:
        if not input.has_last or not output.has_last:
            raise UsageError("packets need a field last in both payloads")
        self._input, self._output = input, output
        self._limit, self._timeout = limit, timeout
        self._folder = folder.resolve()
        if " " in str(self._folder):
            raise UsageError(f"Verilator's makefiles take no folder with a space, got {folder}")
        version = simulator.version("verilator")
        source = driver_cpp.program(
            name,
            input.data_width // 8,
            output.data_width // 8,
            registers.address("STATUS"),
            registers.STATUS_BUSY,
        )
        make = simulator.make_variables(thorough)
        stamp = hashlib.sha256("\0".join([version, make, source, verilog]).encode()).hexdigest()
        built = self._folder / "stamp"
        self._program = self._folder / "model" / "driver"
        if built.exists() and built.read_text() == stamp and self._program.exists():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        built.unlink(missing_ok=True)
        self._program.unlink(missing_ok=True)
        (self._folder / f"{name}.v").write_text(verilog)
        (self._folder / "driver.cpp").write_text(source)
        command = ["verilator", "--cc", "--exe", "--build", *simulator.VERILATOR]
        command += ["--top-module", name, "--Mdir", "model", "-o", "driver"]
        log = self._run(
            [*command, f"{name}.v", "driver.cpp"], "build.log", simulator.environment(cache, make)
        )
        if not self._program.exists():
            raise MismatchError(f"the model of {name} cannot be built; see {log}")
        built.write_text(stamp)

    def _run(self, command: list[str], name: str, env: dict[str, str] | None = None) -> Path:
        log = self._folder / name
        with log.open("w") as stream:
            try:
                subprocess.run(
                    command,
                    cwd=self._folder,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    timeout=self._timeout,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise MismatchError(f"no result after {self._timeout:g} s; see {log}") from None
        return log

    def run(
        self, steps: Sequence[Step], *, source: float = 1.0, sink: float = 1.0, seed: int = 1
    ) -> Log:
        """Follow steps from a reset on.

        Parameters
        ----------
        steps : in order; the streams go on while the bus is used
        source, sink : share of cycles in which a beat may be offered, or taken; above 0 to 1
        seed : of the stalls

        Raises
        ------
        MismatchError : a stream rule was broken, or nothing moved for `limit` cycles
        """
        for what, share in (("source", source), ("sink", sink)):
            if not 1 / 256 <= share <= 1:
                raise UsageError(f"{what} must be 1/256..1, got {share}")
        lines = [_line(step) for step in steps]
        sent = [self._raw(step.beats) for step in steps if isinstance(step, Send)]
        files = {name: self._folder / name for name in ("script", "beats", "given", "taken")}
        files["script"].write_text("\n".join(lines) + "\n")
        files["beats"].write_bytes(b"".join(sent))
        shares = [str(round(256 * share)) for share in (source, sink)]
        arguments = [*(str(path) for path in files.values()), *shares, str(seed), str(self._limit)]
        log = self._run([str(self._program), *arguments], "run.log")
        said = log.read_text().splitlines()
        if not said or not said[-1].startswith("END "):
            broken = said[-1][2:] if said and said[-1].startswith("X ") else f"see {log}"
            raise MismatchError(f"the run ended early: {broken}")
        rows = [line.split() for line in said[: len(steps)]]
        beats, given = self._beats(files["given"])
        return Log(
            beats=beats,
            given=given,
            taken=np.fromfile(files["taken"], "<u8").astype(np.int64),
            ends=[int(row[1]) for row in rows],
            answers=[(int(row[2]), int(row[3])) for row in rows],
            cycles=int(said[-1].split()[1]),
        )

    def play(
        self,
        beats: Batch,
        *,
        expect: int | None = None,
        source: float = 1.0,
        sink: float = 1.0,
        seed: int = 1,
    ) -> Played:
        """Send packets, take the responses, read status and counters.

        `expect` is the number of responses; without it, one to every packet whose first four bits
        are not 0.
        """
        wanted = self._answered(beats) if expect is None else expect
        names = [register.name for register in registers.COUNTERS]
        reads = [Read(address=registers.address(name)) for name in ("STATUS", *names)]
        steps: list[Step] = [Send(beats=beats), Expect(packets=wanted), Idle()]
        # Time for what nobody expects.
        steps += [Wait(cycles=64), *reads]
        log = self.run(steps, source=source, sink=sink, seed=seed)
        status, *counts = [data for data, _ in log.answers[-len(reads) :]]
        if int(log.beats["last"].sum()) != wanted:
            raise MismatchError(f"{int(log.beats['last'].sum())} responses, expected {wanted}")
        last = int(max(log.given.max(initial=0), log.taken.max(initial=0)))
        return Played(
            beats=log.beats,
            cycles=last - int(log.taken.min(initial=last)) + 1,
            given=log.given,
            taken=log.taken,
            counters=dict(zip(names, counts, strict=True)),
            status=status,
        )

    def _answered(self, beats: Batch) -> int:
        first = self._input.fields[0].name
        words = beats[first]
        opcode = (words if words.ndim == 1 else words[:, 0]) & 15
        starts = np.concatenate([[1], beats["last"][:-1]]) == 1
        return int((starts & (opcode > 0)).sum())

    def _raw(self, beats: Batch) -> bytes:
        """Beats as the program reads them: TDATA in bytes, then a byte of TLAST."""
        data = self._input.data
        packed = data.pack({field.name: beats[field.name] for field in data.fields})
        last = np.asarray(beats["last"], np.uint8)[:, None]
        return np.concatenate([packed, last], axis=1).tobytes()

    def _beats(self, path: Path) -> tuple[Batch, Ints]:
        data = self._output.data
        size = self._output.data_width // 8
        raw = np.fromfile(path, np.uint8).reshape(-1, size + 9)
        beats = data.unpack(np.ascontiguousarray(raw[:, : -(-data.width // 8)]))
        beats["last"] = raw[:, size].astype(np.int64)
        cycles = np.ascontiguousarray(raw[:, size + 1 :]).view("<u8")[:, 0].astype(np.int64)
        ordered = {field.name: beats[field.name] for field in self._output.fields}
        return ordered, cycles


def _line(step: Step) -> str:
    if isinstance(step, Send):
        return f"S {len(step.beats['last'])}"
    if isinstance(step, Expect):
        return f"E {step.packets}"
    if isinstance(step, Write):
        return f"W {step.address} {step.data} {step.strobe}"
    if isinstance(step, Read):
        return f"R {step.address}"
    return f"C {step.cycles}" if isinstance(step, Wait) else "I"
