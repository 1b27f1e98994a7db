"""Random programs for `lightnorm`, and one that goes through every pass and every error."""

from collections.abc import Callable

from narrowgauge.golden.cores import lightnorm_packets as host
from narrowgauge.golden.cores.lightnorm_commands import PASSES, Kind, Opcode, State, Table
from narrowgauge.golden.cores.lightnorm_script import Script, cut
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.range_bn import Layer

__all__ = ["Program"]


class Program(Script):
    """See the module."""

    def program(self, size: int) -> list[Batch]:
        """Packets of about so many beats."""
        p = self.p
        # Every row of PLACES is written before a layer needs it.
        most = min(p.chunks, 1 << (p.position_bits - 1))
        self.layer(Layer(count=2 * most, chunks=most), forget=True)
        self.tables()
        self.layer(self.any_layer(), forget=False)
        while sum(len(part["last"]) for part in self.parts) < size:
            kind = self.rng.random()
            if kind < 0.06:
                self.send(self.illegal())
            elif kind < 0.12:
                self.send(self.disorder())
            elif kind < 0.16:
                self.layer(self.any_layer(), forget=self.chance(0.3))
            elif kind < 0.3:
                self.send(self.spoiled(self.table()))
            elif kind < 0.32:
                self.send(self.nop())
            else:
                self.go_on()
        return self.parts

    def tour(self) -> list[Batch]:
        """Every pass of one block, and each way in which it can fail, one after the other."""
        p = self.p
        self.used = [p.blocks - 1, 0] if p.blocks > 1 else [0]
        chunks = min(p.chunks, 1 << (p.position_bits - 2))
        self.layer(Layer(count=2 * chunks, chunks=chunks), forget=True)
        whole = self.parts[-1]
        self.send(cut(whole, 1))
        self.send(self.longer(whole))
        self.tables()
        block, other = self.used[0], self.used[-1]
        spoil = host.write(p, Table.WEIGHTS, block, **self.weights())
        self.send(cut(spoil, 2))
        self.send(self.longer(spoil))
        self.send(self.longer(host.constants(p, other, Kind.INFERENCE)))
        for header in self.headers(block, 2 * chunks):
            self.send(host.packet(p, header, self.garbage(int(self.rng.integers(0, 4)))))
        for opcode in (Opcode.STATISTICS, Opcode.NORMALIZE, Opcode.GRADIENTS, Opcode.PROPAGATE):
            first = self.tile(opcode, block, 0, 1)
            header = {"block": block, "first": 1, "positions": 2 * chunks + 1}
            self.send(host.packet(p, {"opcode": opcode, **header}, self.garbage(1)))
            self.send(self.tile(opcode, block, 0, 2 * chunks))
            for count in (1, 2):
                self.send(cut(self.tile(opcode, block, 0, 2), count))
            self.send(self.tile(opcode, block, 1, 1))
            for _ in range(2):
                self.send(self.longer(first))
            self.send(self.tile(Opcode.STATISTICS, other, 0, 1))
            self.send(first)
            self.send(self.longer(host.read(p, Table.AVERAGES, block)))
            self.send(host.constants(p, other, Kind.INFERENCE))
            self.send(self.tile(opcode, block, 1, 2 * chunks))
            self.send(self.tile(opcode, block, 1, 2 * chunks - 1))
            if opcode in (Opcode.STATISTICS, Opcode.GRADIENTS):
                kind = Kind.FORWARD if opcode == Opcode.STATISTICS else Kind.BACKWARD
                self.send(host.constants(p, block, kind, average=True))
        return self.parts

    def nop(self) -> Batch:
        """NOP, with beats that are discarded."""
        made = host.packet(self.p, {"opcode": Opcode.NOP}, self.garbage(int(self.rng.integers(4))))
        return made

    def any_layer(self) -> Layer:
        """A layer of another size."""
        p, rng = self.p, self.rng
        chunks = 1 << int(rng.integers(0, p.chunks.bit_length()))
        most = min(1 << p.position_bits, 60)
        chunks = min(chunks, most // 2)
        count = int(rng.integers(2 * chunks, most + 1))
        return Layer(count=count, chunks=chunks, epsilon=float(rng.choice([0, 1e-5, 1e-3, 0.5])))

    def table(self) -> Batch:
        """A table of a block, written or read."""
        p = self.p
        block = int(self.rng.choice(self.used))
        table = Table(self.rng.choice([0, 1, 2, 3, 1, 2, 4]))
        if table == Table.RESULTS or (table != Table.WEIGHTS and self.chance(0.6)):
            return host.read(p, table, block)
        make: dict[Table, Callable[[], Batch]] = {
            Table.WEIGHTS: self.weights,
            Table.AVERAGES: self.averages,
            Table.PLACES: self.places,
            Table.SUMS: self.sums,
        }
        return host.write(p, table, block, **make[table]())

    def go_on(self) -> None:
        """The next step of a block, or of the pass that is under way."""
        p, rng = self.p, self.rng
        run = self.machine.under_way
        if run is not None and self.chance(0.75):
            self.positions(run.opcode, run.block, run.done)
            return
        block = int(rng.choice(self.used))
        state = self.machine.states[block]
        if self.chance(0.25) or state in (State.SUMMED, State.GATHERED):
            kinds = {State.SUMMED: Kind.FORWARD, State.GATHERED: Kind.BACKWARD}
            if state == State.GATHERED and self.chance(0.1):
                kinds = {}
            kind = kinds.get(state, Kind(rng.choice([Kind.FORWARD, Kind.INFERENCE])))
            if kind == Kind.INFERENCE and self.chance(0.5):
                kind = Kind.FORWARD
            self.send(self.spoiled(host.constants(p, block, kind, average=self.chance(0.5))))
            return
        may = [opcode for opcode, states in PASSES.items() if state in states]
        if len(may) > 1 and self.chance(0.8):
            may.remove(Opcode.STATISTICS)
        self.positions(Opcode(rng.choice(may)), block, 0)

    def positions(self, opcode: Opcode, block: int, done: int) -> None:
        """A tile."""
        assert self.machine.layer is not None
        left = self.machine.layer["length"] - done
        size = left if self.chance(0.5) else int(self.rng.integers(1, left + 1))
        first = done == 0
        if not first and self.chance(0.05):
            # Once more from the beginning.
            first, done, size = True, 0, min(size, left)
        self.send(self.spoiled(self.tile(opcode, block, done, size, first=first)))

    def illegal(self) -> Batch:
        """A header that is refused whatever went before, or a layer that is none."""
        p, rng = self.p, self.rng
        some = int(rng.integers(0, 4))
        block = int(rng.choice(self.used))
        if self.chance(0.2):
            chunk_bits = int(rng.integers(0, p.layer["chunk_bits"].limits[1] + 1))
            count = int(rng.choice([0, (2 << chunk_bits) - 1, (1 << p.position_bits) + 1]))
            fields = p.layer.beats(1, length=count, chunk_bits=chunk_bits, inverse=1, c=1)
            raw = self.garbage(1) * 0
            packed = p.layer.pack(fields)
            raw[:, : packed.shape[1]] = packed
            return host.packet(p, {"opcode": Opcode.LAYER}, raw)
        layer = self.machine.layer
        headers = self.headers(block, layer["length"] if layer else 1 << p.position_bits)
        return host.packet(p, headers[rng.integers(len(headers))], self.garbage(some))

    def disorder(self) -> Batch:
        """A command that may be out of order."""
        p, rng = self.p, self.rng
        block = int(rng.choice(self.used))
        opcode = int(rng.choice([Opcode.NORMALIZE, Opcode.GRADIENTS, Opcode.PROPAGATE]))
        run = self.machine.under_way
        other = [each for each in PASSES if run is None or each != run.opcode]
        state = self.machine.states[block]
        early = [each for each, states in PASSES.items() if state not in states]
        headers = [
            {"opcode": int(rng.choice(other)), "block": block, "positions": 1},
            {"opcode": Opcode.CONSTANTS, "block": block, "kind": Kind.BACKWARD},
            {"opcode": Opcode.READ, "block": block, "table": Table.RESULTS},
        ]
        if early:
            opcode = int(rng.choice(early))
            headers.append({"opcode": opcode, "block": block, "positions": 1, "first": 1})
        header = headers[rng.integers(len(headers))]
        if header["opcode"] == Opcode.READ:
            return host.packet(p, header)
        if header["opcode"] == Opcode.CONSTANTS and state == State.GATHERED:
            return host.packet(p, header)
        return host.packet(p, header, self.garbage(int(rng.integers(0, 3))))
