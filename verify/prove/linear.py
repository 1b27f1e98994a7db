"""Words of a design that are weighted sums of other words, proved by algebra at any width.

As in `verify.prove.algebra`: adders of a tree keep their sum, the bits that enter it are
polynomials of a few bits, and a multilinear polynomial on Booleans has one form. Each `Sum` speaks
of one tree, whose terms are words that another one speaks of, so that no polynomial becomes large.
What a word can be at most is followed from sum to sum, so that equal modulo 2**width is equal.
"""

from dataclasses import dataclass

from narrowgauge.golden.errors import NarrowgaugeError
from narrowgauge.verify.prove.algebra import FoundError, Polynomial, tree_polynomial
from narrowgauge.verify.prove.claims import Claim, Context, Proof, Stopwatch
from narrowgauge.verify.prove.gates import Gates, gates
from narrowgauge.verify.prove.search import search

__all__ = ["Sum", "Sums", "Term", "Word"]


Word = str | tuple[str, int, int]
"""A wire, or (wire, lowest bit, width) for a part of it."""


@dataclass(frozen=True)
class Term:
    """factor * product of words, or its negative where the bit `minus` is set.

    What no `Sum` speaks of is unsigned and may be anything.
    """

    factor: int
    words: tuple[Word, ...]
    minus: Word | None = None


@dataclass(frozen=True, kw_only=True)
class Sum:
    """A word is the sum of its terms; without a tree, modulo what it has room for.

    Parameters
    ----------
    word, terms : what is summed
    tree : prefix of the adders' signals
    signed : the word is in two's complement
    zero : (factor, word): the tree has so many times the terms of that word too, and as often takes
        the word away, which a `Sum` before this one has shown to be the same
    """

    word: Word
    terms: tuple[Term, ...]
    tree: str = ""
    signed: bool = False
    zero: tuple[int, Word] | None = None


@dataclass(frozen=True, kw_only=True)
class Sums(Claim):
    """Each of `sums` holds; those that a sum is made of come before it.

    Parameters
    ----------
    path : of the module, with a dot at the end
    """

    path: str
    sums: tuple[Sum, ...]

    def settle(self, context: Context) -> Proof:
        """Compare one word after the other; where one fails, look for a counterexample."""
        watch = Stopwatch()
        made = gates(context.design.text, context.design.name, optimised=False)
        known: dict[Word, _Known] = {}
        reason = ""
        for each in self.sums:
            try:
                reason = _compared(made, self.path, each, known)
            except FoundError as error:
                reason = f"{each.word}: {error}"
            if reason:
                break
        if not reason:
            return self.proof("proved", watch.seconds)
        shown = search(context)
        if shown is not None:
            return self.proof("refuted", watch.seconds, counterexample=shown)
        return self.proof("unknown", watch.seconds, reason=reason)


def _nets(made: Gates, path: str, word: Word) -> tuple[int, ...]:
    name, low, width = word if isinstance(word, tuple) else (word, 0, None)
    if path + name not in made.names:
        raise NarrowgaugeError(f"the design has no wire {path + name!r}")
    nets = made.names[path + name]
    return nets[low:] if width is None else nets[low : low + width]


def _value(nets: tuple[int, ...], signed: bool) -> Polynomial:
    """The number that bits stand for; net 0 is the constant 0, net 1 the constant 1."""
    value: Polynomial = {}
    for place, net in enumerate(nets):
        weight = -(1 << place) if signed and place == len(nets) - 1 else 1 << place
        key: frozenset[int] = frozenset() if net == 1 else frozenset((net,))
        if net != 0:
            value[key] = value.get(key, 0) + weight
    return value


def _times(a: Polynomial, b: Polynomial) -> Polynomial:
    product: Polynomial = {}
    for x, f in a.items():
        for y, g in b.items():
            product[x | y] = product.get(x | y, 0) + f * g
    return product


@dataclass(frozen=True)
class _Known:
    """Of a word: its `Sum`, its largest magnitude, and whether it may be negative."""

    what: Sum
    most: int
    signed: bool


class _Reader:
    """Terms as polynomials, with what they read and how large they may be."""

    def __init__(self, made: Gates, path: str, known: dict[Word, _Known]) -> None:
        self._made, self._path, self._known = made, path, known
        self.leaves: set[int] = set()

    def word(self, word: Word) -> tuple[Polynomial, int, bool]:
        """Value, largest magnitude, and whether it may be negative."""
        nets = _nets(self._made, self._path, word)
        self.leaves |= {*nets} - {0, 1}
        at = self._known.get(word)
        signed = at is not None and at.signed
        most = (1 << len(nets)) - 1 if at is None else at.most
        return _value(nets, signed), most, signed

    def term(self, term: Term) -> tuple[Polynomial, int, bool]:
        """The same of a term."""
        value: Polynomial = {frozenset(): term.factor}
        most, either = abs(term.factor), term.factor < 0
        for word in term.words:
            part, size, signed = self.word(word)
            value, most, either = _times(value, part), most * size, either or signed
        if term.minus is not None:
            sign = self.word(term.minus)[0]
            turned = {key: -2 * factor for key, factor in sign.items()}
            turned[frozenset()] = turned.get(frozenset(), 0) + 1
            value, either = _times(value, turned), True
        return value, most, either


def _add(to: Polynomial, value: Polynomial, factor: int = 1) -> None:
    for monomial, coefficient in value.items():
        to[monomial] = to.get(monomial, 0) + factor * coefficient


def _compared(made: Gates, path: str, what: Sum, known: dict[Word, _Known]) -> str:
    """Why a word is not its sum; empty where it is, and then it is known."""
    nets = _nets(made, path, what.word)
    reader = _Reader(made, path, known)
    want: Polynomial = {}
    least = most = 0
    for term in what.terms:
        value, bound, either = reader.term(term)
        most += bound
        least -= bound * either
        _add(want, value)
    if what.zero is not None:
        factor, word = what.zero
        assert known[word].what.tree, f"{word} is known modulo its width only"
        for term in known[word].what.terms:
            _add(want, reader.term(term)[0], factor)
        _add(want, reader.word(word)[0], -factor)
    width = len(nets)
    low, high = (-(1 << width - 1), 1 << width - 1) if what.signed else (0, 1 << width)
    if what.tree and not (low <= least and most < high):
        return f"{what.word} has no room for {least} to {most}"
    got = tree_polynomial(made, nets, path + what.tree, reader.leaves)
    _add(want, got, -1)
    wrong = sum(1 for coefficient in want.values() if coefficient % (1 << width))
    if wrong:
        return f"{wrong} coefficients of {what.word} are not those of its sum"
    known[what.word] = _Known(
        what, max(most, -least) if what.tree else (1 << width) - 1, what.signed
    )
    return ""
