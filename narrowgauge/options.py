"""What the commands' options are made of: the parser, kinds of values, options that many share."""

import argparse
import ast
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NoReturn, TypeVar

from narrowgauge import output, store, workers
from narrowgauge.arguments import LEVELS
from narrowgauge.page.build import need_extra

__all__ = [
    "EXITS",
    "Command",
    "Grid",
    "Parser",
    "Set",
    "common",
    "count",
    "output_option",
    "periods",
    "places",
    "record_option",
    "request_options",
    "requested",
    "scoring",
    "shared",
    "tell",
    "words",
]

T = TypeVar("T")

EXITS = "exit codes: 0 pass, 1 mismatch, 2 usage, 3 missing tool, 130 interrupted"


@dataclass(frozen=True)
class Command:
    """One command: what it runs, its help, an example, and what adds its options.

    Its word is the name of `run`, less a `_` at the end.
    """

    run: Callable[[argparse.Namespace], int]
    text: str
    example: str
    options: Callable[[argparse.ArgumentParser], None]

    @property
    def name(self) -> str:
        """Its word on the command line."""
        return self.run.__name__.rstrip("_")


class Parser(argparse.ArgumentParser):
    """Errors in one line; help that shows defaults and keeps the example as written."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("formatter_class", _Help)
        options.setdefault("allow_abbrev", False)
        super().__init__(*arguments, **options)

    def error(self, message: str) -> NoReturn:
        print(f"narrowgauge: error: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        plain = action.default in (None, False, [], {}) or action.nargs == 0
        return action.help if plain else super()._get_help_string(action)


class Set(argparse.Action):
    """`--set NAME=VALUE` into a dict; the value is a number, true, false or a word."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        name, sign, word = str(values).partition("=")
        if not (sign and word and name.isidentifier()):
            parser.error(f"argument --set: expected NAME=VALUE, got {values!r}")
        kept = dict(getattr(namespace, self.dest))
        kept[name] = _value(word)
        setattr(namespace, self.dest, kept)


class Grid(argparse.Action):
    """`--grid NAME=V1,V2,A:B:STEP` into a dict of lists; a range holds both its ends."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        name, sign, words = str(values).partition("=")
        parts = words.split(",")
        if not (sign and all(parts) and name.isidentifier()):
            parser.error(
                f"argument --grid: expected NAME=V1,V2,... or NAME=A:B:STEP, got {values!r}"
            )
        kept = dict(getattr(namespace, self.dest))
        if name in kept:
            parser.error(f"argument --grid: {name} is given twice")
        try:
            kept[name] = [value for part in parts for value in _range(part)]
        except ValueError:
            parser.error(f"argument --grid: expected integers A:B:STEP, A <= B, got {values!r}")
        setattr(namespace, self.dest, kept)


def _range(word: str) -> Sequence[Any]:
    if ":" not in word:
        return [_value(word)]
    first, last, *step = map(int, word.split(":"))
    width = step[0] if step else 1
    if len(step) > 1 or width < 1 or not 0 <= last - first < 100_000 * width:
        raise ValueError(word)
    return range(first, last + 1, width)


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _value(word: str) -> Any:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    try:
        value = ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return word
    return value if isinstance(value, (int, float)) else word


def count(word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {word!r}")
    return int(word)


def periods(word: str) -> list[float]:
    """LO:HI:STEPS as periods at equal ratios."""
    parts = word.split(":")
    try:
        low, high, steps = float(parts[0]), float(parts[1]), int(parts[2])
    except (IndexError, ValueError):
        low, high, steps = 0.0, 0.0, 0
    if len(parts) != 3 or not 0 < low < high < float("inf") or not 2 <= steps <= 100:
        raise argparse.ArgumentTypeError(
            f"expected LO:HI:STEPS, 0 < LO < HI, 2 to 100 steps, got {word!r}"
        )
    return [low * (high / low) ** (index / (steps - 1)) for index in range(steps)]


def common() -> Parser:
    made = Parser(add_help=False)
    loudness = made.add_mutually_exclusive_group()
    loudness.add_argument(
        "-q", "--quiet", action="store_const", const=-1, default=0, dest="verbosity",
        help="no progress",
    )  # fmt: skip
    loudness.add_argument(
        "-v", "--verbose", action="store_const", const=1, dest="verbosity",
        help="a line for every step",
    )  # fmt: skip
    return made


def shared(sub: argparse.ArgumentParser, *wanted: str) -> None:
    """Add the options that several commands share."""
    if "names" in wanted:
        rest = "everything" if sub.prog.split()[-1] != "flow" else "the units and some of arith"
        sub.add_argument(
            "names", nargs="*", metavar="UNIT[/POINT]", help=f"what to work on; none is {rest}"
        )
    if "set" in wanted:
        sub.add_argument(
            "--set", action=Set, default={}, metavar="NAME=VALUE", dest="overrides",
            help="replace a parameter of every point named; may be given again",
        )  # fmt: skip
    if "level" in wanted:
        sub.add_argument(
            "--level", choices=LEVELS, default="smoke",
            help="smoke: seconds; full: exhaustive or at least 100000; real: captured activations",
        )  # fmt: skip
    if "seed" in wanted:
        sub.add_argument("--seed", type=int, default=1, help="of the random stimuli")
    if "liberty" in wanted:
        sub.add_argument(
            "--liberty", default="nangate45", metavar="NAME|FILE",
            help="cell library: nangate45, generic (built in, technology-free), or a Liberty file",
        )  # fmt: skip
    if "jobs" in wanted:
        sub.add_argument(
            "--jobs", type=count, default=workers.cpus(), metavar="N", help="processes at once"
        )
    if "cache" in wanted:
        sub.add_argument("--cache", default="build/cache", metavar="DIR", help="results by content")
    if "store" in wanted:
        sub.add_argument(
            "--store", default=store.DEFAULT, metavar="FILE", help="SQLite file of the results"
        )
    if "json" in wanted:
        sub.add_argument("--json", action="store_true", help="results as JSON on standard output")


def scoring(sub: argparse.ArgumentParser) -> None:
    """Add what is scored, and how weights are quantised."""
    sub.add_argument(
        "--text", metavar="FILE", help="what is scored, from its start (default: a short passage)"
    )
    sub.add_argument(
        "--calibration", metavar="FILE",
        help="what weights are quantised for, its first 16 windows at most (default: what "
        "follows the windows in the text)",
    )  # fmt: skip
    sub.add_argument("--window", type=count, default=256, metavar="N", help="tokens a window")
    sub.add_argument("--windows", type=count, default=1, metavar="N", help="windows scored")
    sub.add_argument(
        "--layers", type=int, metavar="N",
        help="layers that compute in the scheme, from the first, the others in float32 "
        "(default: all)",
    )  # fmt: skip
    sub.add_argument(
        "--no-compensation", action="store_true",
        help="quantise weights without spreading errors, in half the time",
    )  # fmt: skip
    sub.add_argument(
        "--batch", type=count, default=4, metavar="N", help="windows of one scheme at a time"
    )
    shared(sub, "cache")


def record_option(sub: argparse.ArgumentParser, text: str = "write the results as JSON") -> None:
    """Add `--record`, for `places` and `tell`."""
    sub.add_argument("--record", metavar="FILE", help=text)


def places(options: argparse.Namespace) -> None:
    """Refuse `--record` and `--plots` that could not be written, before hours of work."""
    if options.record is not None:
        output.file(options.record)
    if getattr(options, "plots", None) is not None:
        need_extra("the plot")
        output.folder(options.plots)


def tell(options: argparse.Namespace, plain: Any, text: str) -> None:
    """Results into the file of `--record`, and on standard output, as JSON where asked for."""
    written = json.dumps(plain, indent=2)
    if options.record is not None:
        output.record(options.record, written + "\n")
    print(written if options.json else text)


Row = tuple[str, Callable[[str], Any], str, str]


def request_options(sub: argparse.ArgumentParser, request: type, *rows: Row) -> None:
    """Add options for fields of a request: name, type, what stands for the value, and help.

    The defaults are the request's.
    """
    for name, kind, shown, text in rows:
        sub.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind, default=getattr(request, name), metavar=shown, help=text,
        )  # fmt: skip


def requested(options: argparse.Namespace, request: type[T]) -> T:
    """The request that options ask for: each of its fields that is one of them."""
    known = (field.name for field in fields(request))  # type: ignore[arg-type]
    given = vars(options)
    return request(**{name: given[name] for name in known if name in given})


def output_option(sub: argparse.ArgumentParser, default: str | None, text: str) -> None:
    sub.add_argument("-o", "--output", default=default, metavar="DIR", help=text)
