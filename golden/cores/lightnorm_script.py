"""Packets of random programs for `lightnorm`: layers, tables, tiles, and what can be wrong."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores import lightnorm_packets as host
from narrowgauge.golden.cores.lightnorm_commands import Opcode, Table
from narrowgauge.golden.cores.lightnorm_machine import Machine
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.range_bn import Blocks, Layer
from narrowgauge.golden.units.range_bn_channels import affine_codes

if TYPE_CHECKING:
    from narrowgauge.golden.cores.lightnorm import Params

__all__ = ["Script", "cut"]

Ints = npt.NDArray[np.int64]


def cut(part: Batch, count: int) -> Batch:
    """The first beats of a packet."""
    made = {name: values[:count].copy() for name, values in part.items()}
    made["last"][-1] = 1
    return made


class Script:
    """A program that grows packet by packet; the model runs beside it, and tells what may come.

    Parameters
    ----------
    params : of the core
    rng : what everything is drawn from
    """

    def __init__(self, params: "Params", rng: np.random.Generator) -> None:
        self.p, self.rng = params, rng
        self.machine = Machine(params)
        self.parts: list[Batch] = []
        # Blocks that were written; others are only asked for what is refused.
        self.used = np.sort(rng.permutation(params.blocks)[: int(rng.integers(1, 3))]).tolist()
        self.x: dict[int, Blocks] = {}
        self.g: dict[int, Blocks] = {}

    def chance(self, share: float) -> bool:
        """Whether something happens that does so in this share of cases."""
        return bool(self.rng.random() < share)

    def send(self, part: Batch) -> None:
        """A packet."""
        self.machine.packet(part)
        self.parts.append(part)

    def longer(self, part: Batch) -> Batch:
        """A packet with beats that it should not have."""
        extra = self.garbage(int(self.rng.integers(1, 4)))
        word = np.concatenate([part["word"], extra])
        made = self.p.input.beats(len(word), word=word)
        made["last"][-1] = 1
        return made

    def garbage(self, count: int) -> Ints:
        """Words of any bits."""
        size = self.p.input["word"].count
        assert size is not None
        return self.rng.integers(0, 256, (count, size))

    def spoiled(self, part: Batch) -> Batch:
        """A packet, in some cut or with more beats than it should have."""
        kind = self.rng.random()
        count = len(part["last"])
        if kind < 0.07:
            return cut(part, 1 if self.chance(0.3) else int(self.rng.integers(1, count + 1)))
        return self.longer(part) if kind < 0.12 else part

    def layer(self, layer: Layer, *, forget: bool) -> None:
        """LAYER; tensors of all blocks that are used."""
        p, rng, count = self.p, self.rng, layer.count
        tensors: list[dict[int, Blocks]] = []
        for fmt, scale in ((p.array.forward, 1.0), (p.array.backward, 2.0**-5)):
            made = {}
            for block in self.used:
                values = rng.standard_normal((count, p.lanes)) * 2.0 ** rng.uniform(-3, 3, p.lanes)
                values += rng.normal(0, 3, p.lanes) * self.chance(0.5)
                values = np.where(rng.random(p.lanes) < 0.1, values[:1], values)
                made[block] = self.disturbed(Blocks.of(values * scale, fmt))
            tensors.append(made)
        bases = []
        for made in tensors:
            fmt = next(iter(made.values())).fmt
            top = max(each.base for each in made.values()) + fmt.bias
            off = int(rng.choice([0, 0, 0, -2, 3]))
            bases.append(int(np.clip(top + off, 0, fmt.nan_field)))
        part = host.layer(p, layer, bases[0], bases[1], forget=forget)
        if self.machine.layer is not None:
            part = self.spoiled(part)
        before = self.machine.layer
        self.send(part)
        if self.machine.layer is not before:
            self.x, self.g = tensors

    def disturbed(self, blocks: Blocks) -> Blocks:
        """Some blocks NaN, some codes of any size."""
        fields, codes = blocks.fields.copy(), blocks.codes.copy()
        if self.chance(0.15):
            fields[self.rng.random(fields.shape) < 0.05] = blocks.fmt.nan_field
        if self.chance(0.2):
            some = self.rng.random(codes.shape) < 0.1
            most = (1 << blocks.fmt.mantissa_bits) - 1
            codes = np.where(some, self.rng.integers(-most, most + 1, codes.shape), codes)
        return Blocks(fmt=blocks.fmt, codes=codes, fields=fields)

    def tables(self) -> None:
        """What every program writes before it goes on."""
        for block in self.used:
            self.send(host.write(self.p, Table.WEIGHTS, block, **self.weights()))
            self.send(host.write(self.p, Table.AVERAGES, block, **self.averages()))
            self.send(host.write(self.p, Table.PLACES, block, **self.places()))

    def weights(self) -> Batch:
        """Gamma and beta of a block."""
        gamma, beta = affine_codes(self.rng, self.p.lanes)
        return {"gamma": gamma, "beta": beta}

    def averages(self) -> Batch:
        """Averages of about what statistics give, or of anything."""
        p, rng = self.p, self.rng
        total, spread = (p.averages[name] for name in ("total", "spread"))
        size = rng.uniform(0, 1) if self.chance(0.7) else 0.999
        return {
            "total": (rng.uniform(-1, 1, p.lanes) * total.limits[1] ** size).astype(np.int64),
            "spread": (rng.uniform(0, 1, p.lanes) * spread.limits[1] ** size).astype(np.int64),
        }

    def places(self) -> Batch:
        """Positions of extremes."""
        assert self.machine.layer is not None
        shape = (1 << self.machine.layer["chunk_bits"], self.p.lanes)
        most = min(60, 1 << self.p.position_bits)
        return {name: self.rng.integers(0, most, shape) for name in ("largest", "least")}

    def sums(self) -> Batch:
        """Sums as of a block's statistics, or of anything."""
        p = self.p
        made = self.averages()
        return {
            "total": made["total"] >> p.guard,
            "second": made["spread"] >> p.guard,
            "clipped": self.rng.integers(0, 2, p.lanes),
            "nan": self.rng.integers(0, 2, p.lanes),
        }

    def tile(
        self, opcode: Opcode, block: int, done: int, size: int, *, first: bool | None = None
    ) -> Batch:
        """Positions from `done` on; of the tensor that a pass does not read, some as well."""
        x, g = (each[block].positions(done, done + size) for each in (self.x, self.g))
        given: dict[str, Blocks] = {}
        if opcode != Opcode.PROPAGATE or self.chance(0.2):
            given["x"] = x
        if opcode in (Opcode.GRADIENTS, Opcode.PROPAGATE) or self.chance(0.2):
            given["g"] = g
        begins = done == 0 if first is None else first
        return host.tile(self.p, opcode, block, first=begins, **given)

    def headers(self, block: int, length: int) -> list[dict[str, int]]:
        """Headers that are refused as illegal, where a pass may have so many positions."""
        p, rng = self.p, self.rng
        passed = int(rng.choice([2, 3, 6, 7]))
        beyond = length + 1
        return [
            {"opcode": int(rng.integers(9, 16)), "block": block, "positions": 1},
            {"opcode": passed, "block": block, "first": int(self.chance(0.5))},
            {"opcode": passed, "block": block, "first": 1, "positions": beyond},
            {"opcode": passed, "block": p.blocks, "first": 1, "positions": 1},
            {"opcode": Opcode.CONSTANTS, "block": block, "kind": 3},
            {"opcode": Opcode.CONSTANTS, "block": int(rng.integers(p.blocks, 1 << 16))},
            {"opcode": Opcode.WRITE, "block": block, "table": int(rng.integers(4, 8))},
            {"opcode": Opcode.WRITE, "block": p.blocks, "table": 1},
            {"opcode": Opcode.READ, "block": block, "table": int(rng.choice([0, 5, 6, 7]))},
            {"opcode": Opcode.READ, "block": p.blocks, "table": 1},
        ]
