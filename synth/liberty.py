"""A reader and writer of Liberty files: groups, attributes and cell functions.

The reader knows the grammar and no schema: every group and attribute is kept as text, timing
tables included, so that area, mapping and timing analysis read what they need from one tree. It
takes what real libraries contain: gzip, a simple attribute without its semicolon, line
continuations, and a semicolon or none after a group. Source: Liberty User Guide, volume 1.
"""

import functools
import gzip
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from narrowgauge.golden.errors import UsageError

__all__ = ["Group", "evaluate", "expression", "parse", "read_bytes", "truth_table", "write"]

T = TypeVar("T")

_SKIP = re.compile(r"(?:[\s;\\]+|/\*.*?\*/|//[^\n]*)*", re.S)
_NAME = re.compile(r"[\w.$\[\]-]+")
_VALUE = re.compile(
    r'[ \t]*(?:\\\r?\n\s*)?("(?:[^"\\]|\\.)*"|[^;\n"{}]*?(?=\s*(?:;|\n|\}|/\*|//)))', re.S
)
_ARGS = re.compile(r'\s*\(((?:[^()"]|"(?:[^"\\]|\\.)*")*)\)', re.S)
_ARG = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s,"\\]+)', re.S)
_CONTINUED = re.compile(r"\\\s*")
_OPEN = re.compile(r"(?:\s|/\*.*?\*/|//[^\n]*)*\{", re.S)
_TOKEN = re.compile(r"\s*([A-Za-z_][\w\[\]]*|[01]|[!'*&+|^()])\s*")


def _split(text: str) -> tuple[str, ...]:
    return tuple(quoted or bare for quoted, bare in _ARG.findall(text))


@dataclass
class Group:
    """One group: `kind (args) { attributes, lists and groups }`.

    Attributes
    ----------
    kind : "library", "cell", "pin", "timing", ...
    raw_args : the text between the parentheses
    attributes : simple attributes, name -> value as written (quotes kept); the last one counts
    lists : complex attributes in order, (name, text between the parentheses)
    groups : groups inside, in order
    """

    kind: str
    raw_args: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    lists: list[tuple[str, str]] = field(default_factory=list)
    groups: list["Group"] = field(default_factory=list)

    @property
    def args(self) -> tuple[str, ...]:
        """The arguments, unquoted."""
        return _split(self.raw_args)

    @property
    def name(self) -> str:
        """The first argument, or an empty string."""
        args = self.args
        return args[0] if args else ""

    def get(self, attribute: str) -> str | None:
        """A simple attribute, unquoted, or None."""
        value = self.attributes.get(attribute)
        return None if value is None else value.strip().strip('"').strip()

    def values(self, attribute: str) -> tuple[str, ...]:
        """The arguments of the first complex attribute of that name; empty without one."""
        return next((_split(text) for name, text in self.lists if name == attribute), ())

    def each(self, *kinds: str) -> Iterator["Group"]:
        """The groups inside of these kinds."""
        return (group for group in self.groups if group.kind in kinds)


def read_bytes(path: Path) -> bytes:
    """A file's bytes, unpacked when it is gzip; an unreadable file is a `UsageError`."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read the library {path}: {reason}") from None


def parse(text: str, source: str) -> Group:
    """The library group of a Liberty text; `source` names the file in a `UsageError`."""
    root = Group("")
    stack = [root]
    position = _end(_SKIP, text, 0)
    while position < len(text):
        if text[position] == "}":
            stack.pop()
            position += 1
            if not stack:
                raise _error(text, position, source, "a closing brace without a group")
        else:
            position = _statement(text, position, source, stack)
        position = _end(_SKIP, text, position)
    if len(stack) > 1:
        raise _error(text, position, source, f"the file ends inside a {stack[-1].kind!r} group")
    library = next(root.each("library"), None)
    if library is None:
        raise UsageError(f"{source}: not a Liberty file, it has no library group")
    return library


def _statement(text: str, position: int, source: str, stack: list[Group]) -> int:
    """Read one attribute, or the head of one group, into the tree; the position after it."""
    name = _NAME.match(text, position)
    if name is None:
        raise _error(text, position, source, f"unexpected {text[position]!r}")
    position = name.end()
    while text[position : position + 1] in (" ", "\t"):
        position += 1
    if text[position : position + 1] == ":":
        value = _VALUE.match(text, position + 1)
        if value is None:
            raise _error(text, position, source, f"no value for {name.group()!r}")
        stack[-1].attributes[name.group()] = value.group(1).strip()
        return value.end()
    args = _ARGS.match(text, position)
    if args is None:
        raise _error(text, position, source, f"expected ':' or '(' after {name.group()!r}")
    opened = _OPEN.match(text, args.end())
    if opened is None:
        stack[-1].lists.append((name.group(), _CONTINUED.sub(" ", args.group(1)).strip()))
        return args.end()
    group = Group(name.group(), args.group(1).strip())
    stack[-1].groups.append(group)
    stack.append(group)
    return opened.end()


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _error(text: str, position: int, source: str, what: str) -> UsageError:
    line = text.count("\n", 0, position) + 1
    return UsageError(f"{source}: not a Liberty file, line {line}: {what}")


def write(group: Group, drop: Collection[str] = (), indent: str = "") -> str:
    """The text of a group; groups of the kinds in `drop` are left out at every depth."""
    lines = [f"{indent}{group.kind} ({group.raw_args}) {{"]
    lines += [f"{indent}  {name} : {value};" for name, value in group.attributes.items()]
    lines += [f"{indent}  {name} ({value});" for name, value in group.lists]
    lines += [write(g, drop, indent + "  ") for g in group.groups if g.kind not in drop]
    lines.append(f"{indent}}}")
    return "\n".join(lines)


Expression = tuple[Any, ...]
"""A function as a tree: ("pin", name), ("const", 0 or 1), ("not", e), ("and"|"or"|"xor", e, e)."""


@functools.lru_cache(maxsize=4096)
def expression(function: str) -> Expression:
    """The tree of a Liberty function; a malformed one is a `UsageError`.

    From the tightest: `!a` and `a'`, `^`, `*` `&` or a space, `+` `|`.
    """
    tokens: list[str] = []
    position = 0
    while position < len(function):
        match = _TOKEN.match(function, position)
        if match is None:
            raise UsageError(f"malformed function {function!r}")
        tokens.append(match.group(1))
        position = match.end()
    tokens.append("")

    def atom() -> Expression:
        token = tokens.pop(0)
        if token == "!":
            return ("not", atom())
        if token == "(":
            value = any_of()
            if tokens.pop(0) != ")":
                raise UsageError(f"malformed function {function!r}")
        elif token in ("0", "1"):
            value = ("const", int(token))
        elif token and (token[0].isalpha() or token[0] == "_"):
            value = ("pin", token)
        else:
            raise UsageError(f"malformed function {function!r}")
        while tokens[0] == "'":
            tokens.pop(0)
            value = ("not", value)
        return value

    def xor() -> Expression:
        value = atom()
        while tokens[0] == "^":
            tokens.pop(0)
            value = ("xor", value, atom())
        return value

    def all_of() -> Expression:
        value = xor()
        while tokens[0] and tokens[0] not in ")+|":
            if tokens[0] in "*&":
                tokens.pop(0)
            value = ("and", value, xor())
        return value

    def any_of() -> Expression:
        value = all_of()
        while tokens[0] in ("+", "|"):
            tokens.pop(0)
            value = ("or", value, all_of())
        return value

    result = any_of()
    if tokens != [""]:
        raise UsageError(f"malformed function {function!r}")
    return result


def evaluate(function: str, values: Mapping[str, T], ones: Any) -> T:
    """The value of a Liberty function for given pins, bit by bit.

    `values` are booleans, integers or arrays of integers, a bit an independent case; `ones` is true
    in every case (`True`, or all bits set). A pin that is not given is a `UsageError`.
    """

    def value(tree: Expression) -> Any:
        match tree:
            case ("pin", name):
                if name not in values:
                    raise UsageError(f"malformed function {function!r}: no pin {name!r}")
                return values[name]
            case ("const", bit):
                return ones if bit else ones ^ ones
            case ("not", inner):
                return value(inner) ^ ones
            case ("and", left, right):
                return value(left) & value(right)
            case ("or", left, right):
                return value(left) | value(right)
            case (_, left, right):
                return value(left) ^ value(right)
        raise AssertionError(tree)

    result: T = value(expression(function))
    return result


def truth_table(function: str, pins: Collection[str]) -> int:
    """Bit k is the function's value where pin j carries bit j of k."""
    names = list(pins)
    cases = 1 << len(names)
    ones = (1 << cases) - 1
    # Pin j is 2**j zeros, then as many ones, again and again.
    values = {name: ones // ((1 << (1 << j)) + 1) << (1 << j) for j, name in enumerate(names)}
    return evaluate(function, values, ones)
