"""A memory behind a guard: one read and one write port, scrubbed where no command takes a cycle.

A word is read in one cycle and decoded in the next, at the output. FLIP stays at the input while
its word comes, and a scrub keeps its word where answers do, so that there is no register but the
memory's own. A scrub goes from the first word up, two cycles a word; a command on a word that it
has not been at yet waits, and so does one that could tell how far it is.

A command a cycle; FLIP takes two.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.memory import Memory

from narrowgauge.golden.units.guarded_memory import Params
from narrowgauge.hdl.arith.guard_code import Decoder, checks
from narrowgauge.hdl.stream import StreamUnit

__all__ = ["GuardedMemory"]


class GuardedMemory(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.guarded_memory.Params`

    Ports
    -----
    i : stream of `params.input`
    o : stream of `params.output`, one for each command that reads
    """

    latency = None
    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Commands, memory, scrub, answers, counters."""
        m = Module()
        p, guard = self._params, self._params.word.guard
        command, answer = self.i.payload, self.o.payload
        data = command.data.as_value()
        m.submodules.words = words = Memory(shape=guard.stored_bits, depth=p.depth, init=[])
        write, read = words.write_port(), words.read_port()
        limits = {
            name: Signal(8, name=name, init=255 if name.endswith("high") else 0)
            for name in guard.limits
        }
        found = Decoder(m, p.word, read.data, limits)

        # What stands at the memory's output: an answer, a word to be flipped or one to be scrubbed.
        shown, counted, last = Signal(), Signal(), Signal()
        flipping, fixing, running = Signal(), Signal(), Signal()
        pointer = Signal(len(command.address))

        op = command.op
        writes, flips, scrubs, bounds = (
            Signal(name=n) for n in ("writes", "flips", "scrubs", "bounds")
        )
        counts, asks, go, free, scrub = (
            Signal(name=n) for n in ("counts", "asks", "go", "free", "scrub")
        )
        allowed = Signal()
        m.d.comb += [
            *(each.eq(op == 1 + i) for i, each in enumerate((writes, flips, scrubs, bounds))),
            counts.eq((op > 4) | command.last),
            asks.eq((op == 0) | counts),
            free.eq(~shown | self.o.ready),
            allowed.eq(
                ~running
                | ((command.address < pointer) & ~(counts | scrubs | bounds) & ~(fixing & writes))
            ),
            # Bounds may not move under an answer that waits.
            go.eq(self.i.valid & ~flipping & allowed & (free | ~(asks | flips | bounds))),
            self.i.ready.eq(Mux(flips, flipping, go)),
            scrub.eq(running & ~fixing & ~flipping & ~go & free),
            read.addr.eq(Mux(scrub, pointer, command.address)),
            read.en.eq(scrub | (go & (asks | flips))),
        ]
        with m.If(go & asks):
            m.d.sync += [shown.eq(1), counted.eq(counts), last.eq(command.last)]
        with m.Elif(self.o.ready):
            m.d.sync += shown.eq(0)
        m.d.sync += [flipping.eq(go & flips), fixing.eq(scrub)]
        with m.If(go & scrubs):
            m.d.sync += running.eq(1)
        with m.If(fixing):
            # The last word leaves it at the first.
            m.d.sync += [pointer.eq(pointer + 1), running.eq(~pointer.all())]

        # FLIP is a write of its data on what is stored, a write one on nothing.
        put: Value = data ^ (read.data & flipping.replicate(guard.stored_bits))
        size = guard.word_bits
        if not p.encoded and guard.stored_bits > size:
            put = Cat(put[:size], Mux(flipping, put[size:], checks(p.word, data[:size])))
        where: Value = command.address
        if guard.rule.code == "secded":
            # No other code takes a bit back that a scrub could write.
            put, where = Mux(fixing, found.fixed, put), Mux(fixing, pointer, where)
        m.d.comb += [
            write.addr.eq(where),
            write.en.eq((go & writes) | flipping | (fixing & found.corrected)),
            write.data.eq(put),
        ]
        for i, limit in enumerate(limits.values()):
            with m.If(go & bounds & (command.address == i)):
                m.d.sync += limit.eq(data[:8])

        taken = Signal()
        m.d.comb += [
            self.o.valid.eq(shown),
            taken.eq(shown & self.o.ready),
            answer.word.as_value().eq(found.word),
            answer.corrected.eq(found.corrected),
            answer.detected.eq(found.detected),
            answer.last.eq(last),
        ]
        for name, flag in (("corrections", found.corrected), ("detections", found.detected)):
            counter = Signal(p.count_bits, name=f"{name}_counter")
            m.d.comb += answer[name].eq(counter & counted.replicate(p.count_bits))
            with m.If(taken & counted):
                m.d.sync += counter.eq(0)
            with m.Elif((taken | fixing) & flag & ~counter.all()):
                m.d.sync += counter.eq(counter + 1)
        return m
