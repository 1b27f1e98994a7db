"""Activity with delays: what nets do on the way from one settled state to the next.

A cycle begins with the settled nets of the simulation without delays. Registers, ports and memories
change at their clock-to-output times; every cell answers after the delay of its arc, rise and fall
apart, at the slews and loads of the netlist, as `narrowgauge.synth.sta` has them. Delays are
inertial. The cycle ends when nothing moves any more, and must end where the simulation without
delays ends. So a cycle is a sample of its own, and any of them can be taken.

The simulator is `glitch.cpp`, compiled by the system's compiler at the first use.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.synth.activity import Activity, Counter
from narrowgauge.synth.gates import Gates
from narrowgauge.synth.glitch_layout import FS, Layout
from narrowgauge.synth.netlist import SynthesisError
from narrowgauge.synth.power import Power
from narrowgauge.synth.simulation import Words
from narrowgauge.synth.sta import Timing

__all__ = ["Glitches", "library"]

_FLAGS = ("-std=c++17", "-O2", "-shared", "-fPIC")


def _cache_folder() -> Path:
    own = os.environ.get("NARROWGAUGE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(own) if own else Path(base) / "narrowgauge"


def library() -> ctypes.CDLL:
    """The compiled simulator, out of the user's cache folder where its source is the same.

    Raises
    ------
    MissingToolError : no C++17 compiler, or one that fails
    """
    source = Path(__file__).with_name("glitch.cpp")
    compiler = os.environ.get("CXX", "g++")
    found = shutil.which(compiler)
    if found is None:
        raise MissingToolError(
            f"energy with glitches needs a C++17 compiler, {compiler} is not there"
            " (Debian: apt install g++); --no-glitch leaves it out"
        )
    digest = hashlib.sha256(source.read_bytes())
    digest.update(" ".join((os.path.realpath(found), *_FLAGS)).encode())
    folder = _cache_folder() / "glitch"
    made = folder / f"{digest.hexdigest()[:24]}.so"
    if not made.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            target = Path(aside) / made.name
            command = [found, *_FLAGS, str(source), "-o", str(target)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip() or "no message").splitlines()[0]
                raise MissingToolError(f"{compiler} cannot compile the glitch simulator: {reason}")
            os.replace(target, made)
    return ctypes.CDLL(str(made))


class Glitches:
    """Samples cycles and simulates them with delays, as an observer of `synth.stream.play`.

    Parameters
    ----------
    gates, power, timing : the netlist
    period_ps : of the clock
    share : chance that a stream's cycle is simulated
    seed : of the choice
    swings : whether a pulse too short for its net to reach the rail counts by how far it gets

    Attributes
    ----------
    latest_ps : when the last net of any cycle settled
    layout : what the simulator works on
    """

    def __init__(
        self,
        gates: Gates,
        power: Power,
        timing: Timing,
        *,
        period_ps: float,
        share: float,
        seed: int = 0,
        swings: bool = True,
    ) -> None:
        if not 0 < share <= 1:
            raise UsageError(f"the share of simulated cycles must be in 0..1, got {share}")
        self.gates = gates
        self.share = share
        self.latest_ps = 0.0
        self._settled = Counter(gates, power)
        self.layout = Layout(gates, self._settled.cells, timing, period_ps, swings=swings)
        self._simulator = library()
        self._simulator.simulate.restype = ctypes.c_int64
        self._rng = np.random.default_rng(seed)
        self._toggles = np.zeros(self.layout.nets)
        self._rises = np.zeros(self.layout.nets)
        self._counts = np.zeros(max(1, int(self.layout.counter[-1])))

    def __call__(self, before: Words, after: Words, active: Words) -> None:
        """Take in one cycle."""
        bits = np.unpackbits(active.astype("<u8").view(np.uint8), bitorder="little")
        candidates = np.flatnonzero(bits)
        chosen = candidates[self._rng.random(len(candidates)) < self.share].astype(np.int32)
        if not len(chosen):
            return
        mask = np.zeros(len(bits), np.uint8)
        mask[chosen] = 1
        self._settled(before, after, np.packbits(mask, bitorder="little").view("<u8"))
        self.run(before, after, chosen)

    def run(self, before: Words, after: Words, streams: Sequence[int] | npt.ArrayLike) -> None:
        """Simulate the cycle of some streams; the result is in `activity`."""
        first, last = self.layout.settled(before), self.layout.settled(after)
        # The clock has risen: states are new, and everything else is as it was.
        first[self.gates.nets :] = last[self.gates.nets :]
        chosen = np.ascontiguousarray(streams, np.int32)
        latest = ctypes.c_int64(0)
        structure = self.layout.structure(first.shape[1])
        wrong = self._simulator.simulate(
            ctypes.byref(structure),
            *(ctypes.c_void_p(array.ctypes.data) for array in (first, last, chosen)),
            ctypes.c_int64(len(chosen)),
            *(
                ctypes.c_void_p(array.ctypes.data)
                for array in (self._toggles, self._rises, self._counts)
            ),
            ctypes.byref(latest),
        )
        if wrong >= 0:
            name = self.gates.names.get(int(wrong), f"number {wrong}")
            raise SynthesisError(
                f"{self.gates.top}: net {name} does not settle at the value that it has"
                " without delays"
            )
        self.latest_ps = max(self.latest_ps, latest.value / FS)

    @property
    def settled(self) -> Activity:
        """The activity without delays of the cycles that were simulated."""
        return self._settled.activity

    @property
    def activity(self) -> Activity:
        """The activity with delays; what the clock's edge does is as without them."""
        settled = self._settled.activity
        events: dict[str, npt.NDArray[np.float64]] = {}
        for kind, cells in self.layout.cells.items():
            start = self.layout.counter[cells.members]
            rows = [self._counts[start + index] for index in range(len(cells.power.events))]
            for index, event in enumerate(cells.power.events):
                clocked = cells.sequential and (
                    event.output is not None
                    or (event.rise and cells.power.variables[event.pin] == cells.power.cell.clock)
                )
                if clocked:
                    rows[index] = settled.events[kind][index]
            events[kind] = np.array(rows).reshape(-1, len(cells.members))
        return Activity(
            cycles=settled.cycles,
            toggles=self._toggles[: self.gates.nets],
            rises=self._rises[: self.gates.nets],
            events=events,
            states=settled.states,
            accesses=settled.accesses,
        )
