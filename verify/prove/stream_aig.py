"""Small sequential circuits of AND gates and inverters, as model checkers take them.

A literal is an integer: twice the node's number, one more where it is inverted; 0 is false and 1 is
true. Equal gates are made once. Bits of a number are a list of literals, lowest first.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["FALSE", "TRUE", "Aig", "Bits"]

Bits = list[int]

FALSE = 0
TRUE = 1


class Aig:
    """A circuit under construction.

    Attributes
    ----------
    inputs : name -> literal
    latches : literal -> (next literal, initial value); a latch that was only declared is its own
    """

    def __init__(self) -> None:
        self._fanins: list[tuple[int, int] | None] = [None]
        self._known: dict[tuple[int, int], int] = {}
        self._delayed: dict[tuple[int, int], int] = {}
        self.inputs: dict[str, int] = {}
        self.latches: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._fanins)

    def fanins(self, node: int) -> tuple[int, int]:
        """The literals of a gate."""
        pair = self._fanins[node]
        if pair is None:
            raise ValueError(f"node {node} is no gate")
        return pair

    def _leaf(self) -> int:
        self._fanins.append(None)
        return 2 * (len(self._fanins) - 1)

    def input(self, name: str) -> int:
        """A new input."""
        if name in self.inputs:
            raise ValueError(f"input {name!r} is there already")
        made = self.inputs[name] = self._leaf()
        return made

    def latch(self, init: int = 0) -> int:
        """A new latch, which `connect` gives its next value."""
        made = self._leaf()
        self.latches[made] = (made, init)
        return made

    def connect(self, latch: int, following: int) -> None:
        """State what a latch holds in the next cycle."""
        self.latches[latch] = (following, self.latches[latch][1])

    def delay(self, literal: int, init: int = 0) -> int:
        """The value of a literal one cycle before; `init` in the first cycle."""
        if literal == init:
            return literal
        key = (literal, init)
        if key not in self._delayed:
            self._delayed[key] = made = self.latch(init)
            self.connect(made, literal)
        return self._delayed[key]

    def both(self, a: int, b: int) -> int:
        """AND."""
        if a > b:
            a, b = b, a
        if a < 2:
            return b if a else 0
        if a == b:
            return a
        if a ^ 1 == b:
            return 0
        made = self._known.get((a, b))
        if made is None:
            self._fanins.append((a, b))
            made = self._known[a, b] = 2 * (len(self._fanins) - 1)
        return made

    def either(self, a: int, b: int) -> int:
        """OR."""
        return self.both(a ^ 1, b ^ 1) ^ 1

    def differ(self, a: int, b: int) -> int:
        """XOR."""
        return self.either(self.both(a, b ^ 1), self.both(a ^ 1, b))

    def choose(self, select: int, a: int, b: int) -> int:
        """`a` where `select` holds, else `b`."""
        if a == b:
            return a
        return self.either(self.both(select, a), self.both(select ^ 1, b))

    def all(self, literals: Iterable[int]) -> int:
        """AND of any number."""
        made = TRUE
        for literal in literals:
            made = self.both(made, literal)
        return made

    def any(self, literals: Iterable[int]) -> int:
        """OR of any number."""
        made = FALSE
        for literal in literals:
            made = self.either(made, literal)
        return made

    def register(self, width: int) -> Bits:
        """A number held in latches, 0 at first."""
        return [self.latch() for _ in range(width)]

    def load(self, register: Bits, following: Bits) -> None:
        """State what a register holds in the next cycle."""
        for latch, literal in zip(register, following, strict=True):
            self.connect(latch, literal)

    def constant(self, value: int, width: int) -> Bits:
        """A number."""
        return [value >> i & 1 for i in range(width)]

    def plus(self, a: Bits, b: Bits, carry: int = FALSE) -> Bits:
        """Sum of two numbers of one width, modulo that width."""
        made = []
        for x, y in zip(a, b, strict=True):
            made.append(self.differ(self.differ(x, y), carry))
            carry = self.either(self.both(x, y), self.both(carry, self.either(x, y)))
        return made

    def minus_one(self, a: Bits, when: int) -> Bits:
        """The number, one less where `when` holds."""
        return self.plus(a, [when] * len(a))

    def equals(self, a: Bits, value: int) -> int:
        """Whether a number is a constant."""
        return self.all(x ^ 1 ^ (value >> i & 1) for i, x in enumerate(a))

    def above(self, a: Bits, value: int) -> int:
        """Whether a number is greater than a constant."""
        made = FALSE
        for i, x in enumerate(a):
            made = self.both(x, made) if value >> i & 1 else self.either(x, made)
        return made

    def pick(self, select: int, a: Bits, b: Bits) -> Bits:
        """`choose` for numbers."""
        return [self.choose(select, x, y) for x, y in zip(a, b, strict=True)]

    def values(
        self, state: Mapping[int, int], inputs: Mapping[str, int], mask: int = 1
    ) -> Callable[[int], int]:
        """Values of all literals in one cycle, each a word of independent runs.

        `state` is latch -> word, `inputs` name -> word, `mask` a word of ones.
        """
        word = [0] * len(self._fanins)
        for latch, value in state.items():
            word[latch >> 1] = value
        for name, literal in self.inputs.items():
            word[literal >> 1] = inputs.get(name, 0)
        for node, pair in enumerate(self._fanins):
            if pair is not None:
                a, b = pair
                word[node] = (word[a >> 1] ^ -(a & 1)) & (word[b >> 1] ^ -(b & 1)) & mask
        return lambda literal: (word[literal >> 1] ^ -(literal & 1)) & mask

    def start(self, mask: int = 1) -> dict[int, int]:
        """The first state."""
        return {latch: mask if init else 0 for latch, (_, init) in self.latches.items()}

    def step(self, value: Callable[[int], int]) -> dict[int, int]:
        """The state after a cycle with these values."""
        return {latch: value(following) for latch, (following, _) in self.latches.items()}

    def fixed(self, literal: int, leaf: int, value: int) -> int:
        """The literal with an input set to a constant in this cycle."""
        made = {0: 0, leaf >> 1: value}
        work = [literal >> 1]
        while work:
            node = work[-1]
            pair = self._fanins[node]
            if node in made or pair is None:
                made.setdefault(node, 2 * node)
                work.pop()
                continue
            missing = [x >> 1 for x in pair if x >> 1 not in made]
            if missing:
                work += missing
                continue
            made[node] = self.both(*(made[x >> 1] ^ (x & 1) for x in pair))
            work.pop()
        return made[literal >> 1] ^ (literal & 1)

    def cone(self, roots: Sequence[int]) -> set[int]:
        """Nodes that the roots depend on, through latches as well."""
        seen: set[int] = set()
        work = [root >> 1 for root in roots]
        while work:
            node = work.pop()
            if node in seen:
                continue
            seen.add(node)
            pair = self._fanins[node]
            if pair is not None:
                work += [pair[0] >> 1, pair[1] >> 1]
            elif 2 * node in self.latches:
                work.append(self.latches[2 * node][0] >> 1)
        return seen

    def aiger(self, bad: int) -> tuple[bytes, list[str]]:
        """Binary AIGER whose one output is `bad`, and the names of its inputs in order."""
        cone = self.cone([bad])
        names = [name for name, literal in self.inputs.items() if literal >> 1 in cone]
        latches = [latch for latch in self.latches if latch >> 1 in cone]
        gates = [n for n in sorted(cone) if self._fanins[n] is not None]
        order = [self.inputs[name] >> 1 for name in names] + [latch >> 1 for latch in latches]
        number = {0: 0} | {node: i for i, node in enumerate(order + gates, 1)}
        # The format's latches start at 0: one that starts at 1 is kept inverted.
        flip = {latch >> 1: self.latches[latch][1] for latch in latches}

        def literal(of: int) -> int:
            return 2 * number[of >> 1] + (of & 1 ^ flip.get(of >> 1, 0))

        head = f"aig {len(number) - 1} {len(names)} {len(latches)} 1 {len(gates)}\n"
        lines = [f"{literal(self.latches[x][0]) ^ self.latches[x][1]}\n" for x in latches]
        text = bytearray((head + "".join(lines) + f"{literal(bad)}\n").encode())
        for node in gates:
            pair = self._fanins[node]
            assert pair is not None
            low, high = sorted(literal(x) for x in pair)
            for delta in (2 * number[node] - high, high - low):
                while delta >= 128:
                    text.append(delta & 127 | 128)
                    delta >>= 7
                text.append(delta)
        return bytes(text), names
