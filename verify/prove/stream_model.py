"""The control of a stream design in an environment that keeps the rules, with counters beside it.

Values are kept of those nodes alone that do not depend on the payload, in any number of cycles.
All others are data: in a model they have no value, only what is definite in spite of that (an AND
with a control bit that is 0 is 0).

The environment: the source offers beats at any time, keeps an offered beat until it is taken, and
marks with TLAST only what may be the last beat of a transaction; the sink is ready at any time.
"""

from collections.abc import Collection

from narrowgauge.verify.prove.stream_aig import FALSE, TRUE, Aig, Bits
from narrowgauge.verify.prove.stream_netlist import Netlist
from narrowgauge.verify.prove.stream_shape import Shape

__all__ = ["Model"]

_DEEP = 12
"""Bits of the counters where no bound is known yet."""


class Model:
    """A circuit of the control of `net`, its environment and its counters.

    Parameters
    ----------
    net : the design
    shape : its transactions
    exact : bits of the input's TDATA that have a value as well; those that decide on the handshake
        always have
    depth : bits of the counters

    Attributes
    ----------
    aig : the circuit
    zero, one : literal by node: the node is 0 for certain, is 1 for certain
    offered, taken, shown, given : a beat waits at the input, is transferred there; the same at the
        output
    idle : bits of input that mean nothing in this cycle: TDATA and TLAST where nothing is offered
    stuck : the output waits for the sink
    begins, completes : the beat at the input is the first of a transaction; its last, and is taken
    may_complete : the beat at the input is the last of a transaction
    owed : answers that are due and not wholly given
    number : the output's next beat within its answer
    finishes : the last beat of an answer is transferred
    """

    def __init__(
        self, net: Netlist, shape: Shape, *, exact: Collection[int] = (), depth: int = _DEEP
    ) -> None:
        self.net = net
        self.shape = shape
        self.depth = depth
        self.aig = aig = Aig()
        self.tdata = net.port("s_axis_tdata")
        decided = _decisive(net, self.tdata)
        self.exact = frozenset(exact) | decided
        hidden = [x >> 1 for i, x in enumerate(self.tdata) if i not in self.exact]
        self.data = net.influenced(hidden)
        self.zero, self.one = [FALSE] * net.size, [FALSE] * net.size
        self.first = aig.latch(1)
        aig.connect(self.first, FALSE)

        self._position = aig.register(max(1, (shape.block - 1).bit_length()))
        self._waiting = aig.latch()
        self._environment()
        self._registers()
        for node, a, b in net.gates:
            zero_a, one_a = self.rails(a)
            zero_b, one_b = self.rails(b)
            self.zero[node] = aig.either(zero_a, zero_b)
            self.one[node] = aig.both(one_a, one_b)
        for node, following in net.registers.items():
            if not self.data[node]:
                aig.connect(self._held[node], self.value(following))
        self._counters()

    def rails(self, literal: int) -> tuple[int, int]:
        """Whether a literal of the design is 0 for certain, and whether it is 1."""
        node = literal >> 1
        if literal & 1:
            return self.one[node], self.zero[node]
        return self.zero[node], self.one[node]

    def value(self, literal: int) -> int:
        """The value of a literal of the design's control."""
        if self.data[literal >> 1]:
            raise ValueError("a data bit has no value in the model")
        return self.rails(literal)[1]

    def _set(self, literal: int, value: int) -> None:
        self.zero[literal >> 1], self.one[literal >> 1] = value ^ 1, value

    def _port(self, name: str) -> int:
        (literal,) = self.net.port(name)
        return literal

    def _environment(self) -> None:
        aig, net, shape = self.aig, self.net, self.shape
        self.zero[0] = TRUE
        self._set(self._port("rst"), FALSE)
        self.offered = aig.either(self._waiting, aig.input("offer"))
        self.sink = aig.input("ready")
        self._set(self._port("s_axis_tvalid"), self.offered)
        self._set(self._port("m_axis_tready"), self.sink)
        self._final = aig.equals(self._position, shape.block - 1)
        self.last = FALSE
        for literal in net.port("s_axis_tlast"):
            # Between beats the wire carries anything.
            any_value = aig.input("last")
            if shape.ended:
                free = aig.choose(self.offered, self._final, any_value)
            else:
                free = aig.both(any_value, aig.either(self._final, self.offered ^ 1))
            self.last = self._kept(free, self._waiting)
            self._set(literal, self.last)
        begun = aig.either(self._waiting, aig.equals(self._position, 0) ^ 1)
        for i in sorted(self.exact):
            keep = begun if i in shape.repeated else self._waiting
            self._set(self.tdata[i], self._kept(aig.input(f"tdata{i}"), keep))

    def _kept(self, free: int, keep: int) -> int:
        """`free`, or what was offered last where something is offered and `keep` holds."""
        aig = self.aig
        before = aig.latch()
        made = aig.choose(aig.both(self.offered, keep), before, free)
        aig.connect(before, aig.choose(self.offered, made, before))
        return made

    def _registers(self) -> None:
        """Registers of the control; what reset leaves open starts with any value."""
        aig, net = self.aig, self.net
        self._held: dict[int, int] = {}
        for node in net.registers:
            if self.data[node]:
                continue
            start = net.after_reset[node]
            held = self._held[node] = aig.latch(start or 0)
            seen = held
            if start is None:
                seen = aig.choose(self.first, aig.input(f"start {net.names[node]}"), held)
            self._set(2 * node, seen)

    def _counters(self) -> None:
        aig, shape = self.aig, self.shape
        self.accepts = self.value(self._port("s_axis_tready"))
        self.shown = self.value(self._port("m_axis_tvalid"))
        self.taken = aig.both(self.offered, self.accepts)
        self.given = aig.both(self.shown, self.sink)
        self.stuck = aig.both(self.shown, self.sink ^ 1)
        aig.connect(self._waiting, aig.both(self.offered, self.accepts ^ 1))
        ends = self.last if shape.by_last else self._final
        self.may_complete = aig.both(self.offered, ends)
        self.completes = aig.both(self.taken, ends)
        self._count(self._position, self.taken, self._final)
        fresh = aig.latch(1)
        aig.connect(fresh, aig.choose(self.taken, ends, fresh))
        self.begins = fresh
        self.number = aig.register(max(1, (shape.answer - 1).bit_length()))
        final = aig.equals(self.number, shape.answer - 1)
        self._count(self.number, self.given, final)
        self.finishes = aig.both(self.given, final)
        self.owed = self._owe()

    def _owe(self) -> Bits:
        """Answers due: one more as a transaction completes, one less with an answer's last beat."""
        aig = self.aig
        owed = aig.register(self.depth)
        wide = aig.plus([*owed, FALSE], aig.constant(0, self.depth + 1), self.completes)
        # At the top it stays: a design that loses answers would make it run over.
        full = [aig.either(x, wide[-1]) for x in wide[:-1]]
        aig.load(owed, aig.minus_one(full, self.finishes))
        return owed

    def _count(self, register: Bits, when: int, wraps: int) -> None:
        """A counter that goes up by one, and to 0 after its last value."""
        aig = self.aig
        up = aig.plus(register, aig.constant(1, len(register)))
        following = [aig.both(x, wraps ^ 1) for x in up]
        aig.load(register, aig.pick(when, following, register))

    def counted(self, up: int, clear: int, width: int) -> Bits:
        """A counter of the cycles in which `up` holds, cleared by `clear`; it stops at its top."""
        aig = self.aig
        register = aig.register(width)
        full = aig.all(register)
        following = aig.plus(register, aig.constant(0, width), aig.both(up, full ^ 1))
        aig.load(register, [aig.both(x, clear ^ 1) for x in following])
        return register


def _decisive(net: Netlist, tdata: list[int]) -> frozenset[int]:
    """Bits of TDATA that the handshake depends on, in any number of cycles."""
    seen: set[int] = set()
    work = [*net.port("s_axis_tready"), *net.port("m_axis_tvalid")]
    while work:
        new = net.reads(work) - seen
        seen |= new
        work = [net.registers[node] for node in new if node in net.registers]
    return frozenset(i for i, literal in enumerate(tdata) if literal >> 1 in seen)
