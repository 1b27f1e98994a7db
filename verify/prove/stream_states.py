"""All states of a stream design's control, with what happens to its data in each step.

Data registers are taken in groups that are loaded together and read the same groups. What a step
does to a group is a function of groups and of the beat at the input: the group's gates with the
step's control values put in, equal functions being the same gates. Nothing is said of what the
functions compute.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from narrowgauge.golden.errors import NarrowgaugeError
from narrowgauge.verify.prove.stream_aig import Aig
from narrowgauge.verify.prove.stream_keep import keeps
from narrowgauge.verify.prove.stream_model import Model

__all__ = ["BEAT", "Effect", "Graph", "Input", "Step"]

BEAT = 0
"""Number of the group that is the beat at the input."""

_MOST = 20_000


@dataclass(frozen=True)
class Input:
    """What a step is driven with."""

    valid: int
    last: int
    ready: int


@dataclass(frozen=True)
class Effect:
    """What a step makes of a group.

    Parameters
    ----------
    source : the group that it becomes a copy of, itself where it keeps; None where there is none
    function : number of the function of the groups in `reads` that it is otherwise
    """

    source: int | None
    function: int
    reads: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step from a state.

    Parameters
    ----------
    target : number of the next state
    taken, given : whether a beat is transferred at the input, at the output
    effects : of each data group, in order
    output : what is on the output
    """

    target: int
    taken: bool
    given: bool
    effects: tuple[Effect, ...]
    output: Effect


@dataclass(frozen=True, kw_only=True)
class _Cone:
    """What one group's next value is made of."""

    roots: tuple[int, ...]
    gates: tuple[tuple[int, int, int], ...]
    control: tuple[int, ...]
    known: dict[tuple[int, ...], Effect] = field(default_factory=dict)


State = tuple[int, ...]


class Graph:
    """The reachable states, found from those after a reset.

    A design with more than some thousand states, or whose handshake depends on the payload, is a
    `NarrowgaugeError`.

    Attributes
    ----------
    steps : by state and input
    reached : state -> the state and input that first led there; None for those after reset
    groups : number of data groups, that of the input included
    block, marked : of the transactions; whether there is TLAST at the input
    """

    def __init__(self, model: Model) -> None:
        if model.exact:
            raise NarrowgaugeError("the handshake depends on the payload")
        self._model = model
        self._net = net = model.net
        self._aig = Aig()
        self._masks = [0]
        self._functions: dict[tuple[int, ...], int] = {}
        self.block = model.shape.block
        self.marked = bool(net.port("s_axis_tlast"))
        self._registers = [node for node in net.registers if not model.data[node]]
        self._gates = [gate for gate in net.gates if not model.data[gate[0]]]
        member = _grouped(model)
        self.groups = 1 + max(member.values(), default=0)
        self._leaves: dict[int, int] = {}
        for literal in model.tdata:
            self._leaf(literal >> 1, BEAT)
        for node, group in member.items():
            self._leaf(node, group)
        words = [
            sorted((n for n, g in member.items() if g == group), key=self._order)
            for group in range(1, self.groups)
        ]
        self._words = {
            tuple(self._leaves[node] for node in word): group for group, word in enumerate(words, 1)
        }
        self._cones = [self._cone([net.registers[node] for node in word]) for word in words]
        shown = net.port("m_axis_tdata") + net.port("m_axis_tlast")
        self._output = self._cone(shown)
        self.numbers: dict[State, int] = {}
        self.states: list[State] = []
        self.reached: list[tuple[int, Input] | None] = []
        self.steps: list[dict[Input, Step]] = []
        self._explore()

    def start(self, state: int) -> dict[str, int]:
        """Registers that reset leaves open, name -> bit, in a state after reset."""
        net = self._net
        return {
            net.names[node]: self.states[state][i]
            for i, node in enumerate(self._registers)
            if net.after_reset[node] is None
        }

    def _leaf(self, node: int, group: int) -> None:
        self._leaves[node] = self._aig.input(str(node))
        self._masks.append(1 << group)

    def _order(self, node: int) -> tuple[tuple[int, ...], str]:
        """Registers of a word by their numbers, so that a copy of a word has the same order."""
        name = self._net.names[node]
        return tuple(map(int, re.findall(r"\[(\d+)\]", name))), name

    def _cone(self, goals: Sequence[int]) -> _Cone:
        """The data gates below literals, and the control that they read."""
        model, net = self._model, self._net
        gates: set[int] = set()
        control: set[int] = set()
        work = [goal >> 1 for goal in goals]
        while work:
            node = work.pop()
            if not model.data[node]:
                control.add(node)
            elif node in net.fanins and node not in gates:
                gates.add(node)
                work += [x >> 1 for x in net.fanins[node]]
        return _Cone(
            roots=tuple(goals),
            gates=tuple((node, *net.fanins[node]) for node in sorted(gates)),
            control=tuple(sorted(control)),
        )

    def _effect(self, cone: _Cone, values: list[int], lane: int) -> Effect:
        """The function of a cone with one lane's control values."""
        key = tuple(values[node] >> lane & 1 for node in cone.control)
        if key not in cone.known:
            aig, masks = self._aig, self._masks
            made = {0: 0, **self._leaves, **dict(zip(cone.control, key, strict=True))}
            for node, a, b in cone.gates:
                made[node] = aig.both(made[a >> 1] ^ (a & 1), made[b >> 1] ^ (b & 1))
                while len(masks) < len(aig):
                    x, y = aig.fanins(len(masks))
                    masks.append(masks[x >> 1] | masks[y >> 1])
            found = tuple(made[x >> 1] ^ (x & 1) for x in cone.roots)
            mask = 0
            for literal in found:
                mask |= masks[literal >> 1]
            cone.known[key] = Effect(
                self._words.get(found),
                self._functions.setdefault(found, len(self._functions)),
                tuple(g for g in range(self.groups) if mask >> g & 1),
            )
        return cone.known[key]

    def _number(self, state: State, origin: tuple[int, Input] | None) -> int:
        if state not in self.numbers:
            if len(self.states) >= _MOST:
                raise NarrowgaugeError(f"the control has more than {_MOST} states")
            self.numbers[state] = len(self.states)
            self.states.append(state)
            self.reached.append(origin)
        return self.numbers[state]

    def _starts(self) -> Iterator[State]:
        after = [self._net.after_reset[node] for node in self._registers]
        free = after.count(None)
        if free > 12:
            raise NarrowgaugeError(f"reset leaves {free} bits of the control open")
        for choice in range(1 << free):
            bits = iter(range(free))
            yield (*(choice >> next(bits) & 1 if x is None else x for x in after), 0)

    def _explore(self) -> None:
        for state in self._starts():
            self._number(state, None)
        done = 0
        while done < len(self.states):
            # A lane for each state and input.
            lanes = [
                (number, given)
                for number in range(done, min(len(self.states), done + 512))
                for given in self._inputs(self.states[number])
            ]
            done = lanes[-1][0] + 1
            self.steps += [{} for _ in range(done - len(self.steps))]
            values = self._evaluate(lanes)
            for lane, (number, given) in enumerate(lanes):
                self.steps[number][given] = self._step(number, given, values, lane)

    def _inputs(self, state: State) -> Iterator[Input]:
        final = state[-1] == self.block - 1
        for valid in (0, 1):
            for ready in (0, 1):
                if not (valid and final and self._model.shape.ended):
                    yield Input(valid, 0, ready)
                if self.marked and (final or not valid):
                    yield Input(valid, 1, ready)

    def _evaluate(self, lanes: list[tuple[int, Input]]) -> list[int]:
        net = self._net
        mask = (1 << len(lanes)) - 1
        word = [0] * net.size
        for i, node in enumerate(self._registers):
            word[node] = _across(self.states[number][i] for number, _ in lanes)
        word[net.inputs["s_axis_tvalid"] >> 1] = _across(x.valid for _, x in lanes)
        word[net.inputs["m_axis_tready"] >> 1] = _across(x.ready for _, x in lanes)
        for literal in net.port("s_axis_tlast"):
            word[literal >> 1] = _across(x.last for _, x in lanes)
        for node, a, b in self._gates:
            word[node] = (word[a >> 1] ^ -(a & 1)) & (word[b >> 1] ^ -(b & 1)) & mask
        return word

    def _step(self, number: int, driven: Input, values: list[int], lane: int) -> Step:
        net, shape = self._net, self._model.shape

        def bit(literal: int) -> int:
            return (values[literal >> 1] >> lane ^ literal) & 1

        (accepts,), (shown,) = net.port("s_axis_tready"), net.port("m_axis_tvalid")
        taken = bool(driven.valid and bit(accepts))
        position = (self.states[number][-1] + taken) % shape.block
        following = (*(bit(net.registers[node]) for node in self._registers), position)
        return Step(
            target=self._number(following, (number, driven)),
            taken=taken,
            given=bool(bit(shown) and driven.ready),
            effects=tuple(self._effect(cone, values, lane) for cone in self._cones),
            output=self._effect(self._output, values, lane),
        )


def _across(bits: Iterable[int]) -> int:
    return int("".join(map(str, bits))[::-1], 2)


def _grouped(model: Model) -> dict[int, int]:
    """Data register -> its group, from 1: those with one condition to keep and the same sources."""
    net = model.net
    nodes = [node for node in net.registers if model.data[node]]
    keys: dict[int, tuple[int, ...]] = {node: (keeps(model, node),) for node in nodes}
    beat = {literal >> 1: 1 for literal in model.tdata}
    size = 0
    while True:
        numbers = {key: i for i, key in enumerate(dict.fromkeys(keys.values()), 1)}
        group = {node: numbers[key] for node, key in keys.items()}
        if len(numbers) == size:
            return group
        size = len(numbers)
        mask = [0] * net.size
        for node, bit in (beat | {node: 1 << g for node, g in group.items()}).items():
            mask[node] = bit
        for node, a, b in net.gates:
            mask[node] = mask[a >> 1] | mask[b >> 1]
        keys = {node: (group[node], mask[net.registers[node] >> 1]) for node in nodes}
