"""The command line: its words and options. What each command does is in `commands`."""

import argparse
import ast
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from narrowgauge import __version__, commands, workers
from narrowgauge.api import LEVELS, SIMULATORS
from narrowgauge.compare import SLACK
from narrowgauge.golden.errors import NarrowgaugeError
from narrowgauge.golden.llm.scheme import SCHEMES
from narrowgauge.golden.policy import INPUTS
from narrowgauge.measures import MEASURES
from narrowgauge.perplexity import DEFAULT, FLOAT
from narrowgauge.prove import LEVELS as PROOF_LEVELS

__all__ = ["main", "parser"]

_EXITS = "exit codes: 0 pass, 1 mismatch, 2 usage, 3 missing tool, 130 interrupted"


class _Parser(argparse.ArgumentParser):
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


class _Set(argparse.Action):
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


class _Grid(argparse.Action):
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


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _value(word: str) -> Any:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    try:
        value = ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return word
    return value if isinstance(value, (int, float)) else word


def _count(word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {word!r}")
    return int(word)


def _periods(word: str) -> list[float]:
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


def _common() -> _Parser:
    common = _Parser(add_help=False)
    loudness = common.add_mutually_exclusive_group()
    loudness.add_argument(
        "-q", "--quiet", action="store_const", const=-1, default=0, dest="verbosity",
        help="no progress",
    )  # fmt: skip
    loudness.add_argument(
        "-v", "--verbose", action="store_const", const=1, dest="verbosity",
        help="a line for every step",
    )  # fmt: skip
    return common


def _options(sub: argparse.ArgumentParser, *wanted: str) -> None:
    """Add the options that several commands share."""
    if "names" in wanted:
        rest = "everything" if sub.prog.split()[-1] != "flow" else "the units and some of arith"
        sub.add_argument(
            "names", nargs="*", metavar="UNIT[/POINT]", help=f"what to work on; none is {rest}"
        )
    if "set" in wanted:
        sub.add_argument(
            "--set", action=_Set, default={}, metavar="NAME=VALUE", dest="overrides",
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
            "--jobs", type=_count, default=workers.cpus(), metavar="N", help="processes at once"
        )
    if "json" in wanted:
        sub.add_argument("--json", action="store_true", help="results as JSON on standard output")


def _scoring(sub: argparse.ArgumentParser) -> None:
    """Add what is scored, and how weights are quantised."""
    sub.add_argument(
        "--text", metavar="FILE", help="what is scored, from its start (default: a short passage)"
    )
    sub.add_argument(
        "--calibration", metavar="FILE",
        help="what weights are quantised for, its first 16 windows at most (default: what "
        "follows the windows in the text)",
    )  # fmt: skip
    sub.add_argument("--window", type=_count, default=256, metavar="N", help="tokens a window")
    sub.add_argument("--windows", type=_count, default=1, metavar="N", help="windows scored")
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
        "--batch", type=_count, default=4, metavar="N", help="windows of one scheme at a time"
    )
    sub.add_argument("--cache", default="build/cache", metavar="DIR", help="results by content")


def _output(sub: argparse.ArgumentParser, default: str | None, text: str) -> None:
    sub.add_argument("-o", "--output", default=default, metavar="DIR", help=text)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(
        prog="narrowgauge",
        description="Generate, verify and synthesise narrow-number arithmetic.",
        epilog=_EXITS,
    )
    top.add_argument("--version", action="version", version=f"narrowgauge {__version__}")
    subs = top.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    common = _common()

    def command(
        run: Callable[[argparse.Namespace], int], text: str, example: str
    ) -> argparse.ArgumentParser:
        sub = subs.add_parser(
            run.__name__.rstrip("_"),
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"example:\n  {example}\n\n{_EXITS}",
            parents=[common],
        )
        sub.set_defaults(run=run)
        return sub

    sub = command(commands.list_, "list units, points and parameters", "narrowgauge list mx_dot")
    _options(sub, "names", "json")

    sub = command(
        commands.generate,
        "write Verilog, metadata, FuseSoC core, aresetn wrapper and bench",
        "narrowgauge generate mx_dot/w4a4_l32 --set lanes=64 -o build/rtl",
    )
    _options(sub, "names", "set", "jobs", "json")
    sub.add_argument(
        "--system", action="store_true", help="cores behind AXI4-Lite registers, NAME_system"
    )
    _output(sub, "build/rtl", "where the files go")

    sub = command(
        commands.verify,
        "compare hardware with its golden model, bit for bit",
        "narrowgauge verify mx_dot/w4a4_l32 --level full --seed 7",
    )
    _options(sub, "names", "set", "level", "seed", "jobs", "json")
    sub.add_argument(
        "--simulator", choices=SIMULATORS, default="verilator", help="what runs the hardware"
    )
    sub.add_argument(
        "--input", metavar="FILE.npz", help="transactions to use in place of generated ones"
    )
    sub.add_argument("--waves", action="store_true", help="keep waveforms (FST) in the folder")
    sub.add_argument("--junit", metavar="FILE", help="write the results as JUnit XML")
    _output(sub, "build/verify", "where simulations are built and waves are kept")

    sub = command(
        commands.synth,
        "map to cells; report area, depth and delay",
        "narrowgauge synth mx_dot/w4a4_l32 --liberty generic",
    )
    _options(sub, "names", "set", "liberty", "jobs", "json")
    sub.add_argument("--cache", default="build/cache", metavar="DIR", help="results by content")
    _output(sub, None, "write each record as JSON and Markdown here")
    baseline = sub.add_mutually_exclusive_group()
    baseline.add_argument(
        "--compare", metavar="FILE",
        help="print what changed since the baseline in FILE, and end with 1 where a figure is "
        "worse by more than the slack; no name is what the baseline holds",
    )  # fmt: skip
    baseline.add_argument("--record", metavar="FILE", help="write the figures as a baseline")
    sub.add_argument(
        "--slack", type=float, default=SLACK, metavar="PERCENT",
        help="what --compare lets a figure grow",
    )  # fmt: skip

    sub = command(
        commands.gates,
        "compare mapped netlists with the golden model, and prove them equal to the RTL",
        "narrowgauge gates fp_add mx_dot/w4a4_l32",
    )
    _options(sub, "names", "set", "level", "seed", "liberty", "jobs", "json")
    sub.add_argument("--cache", default="build/cache", metavar="DIR", help="results by content")
    sub.add_argument("--seconds", type=_count, default=300, metavar="N", help="limit of each proof")

    sub = command(
        commands.timing,
        "shortest clock period, worst paths and area-delay curve of mapped netlists",
        "narrowgauge timing mx_dot/w4a4_l32 --curve 8",
    )
    _options(sub, "names", "set", "liberty", "jobs", "json")
    sub.add_argument(
        "--goal",
        choices=("speed", "area"),
        default="speed",
        help="the mapping whose paths are told",
    )
    asked = sub.add_mutually_exclusive_group()
    asked.add_argument(
        "--period", type=float, metavar="PS", help="map for this period, with the least area"
    )
    asked.add_argument(
        "--sweep", type=_periods, metavar="LO:HI:STEPS",
        help="map for so many periods from LO to HI ps, at equal ratios",
    )  # fmt: skip
    asked.add_argument(
        "--curve", type=_count, nargs="?", const=8, metavar="STEPS",
        help="the same between the fastest mapping found and the smallest (8 periods)",
    )  # fmt: skip
    sub.add_argument(
        "--paths", type=_count, default=1, metavar="N", help="worst paths, each to another end"
    )
    sub.add_argument(
        "--boundary", choices=("registers", "ideal"), default="registers",
        help="what stands at the ports: flip-flops, or inputs at the clock's edge and no load",
    )  # fmt: skip
    sub.add_argument("--cache", default="build/cache", metavar="DIR", help="results by content")
    _output(sub, None, "write each result as JSON here")

    sub = command(
        commands.energy,
        "energy of mapped netlists on their own vectors, an operation and a MAC",
        "narrowgauge energy mx_dot/w4a4_l32 --vectors real",
    )
    _options(sub, "names", "set", "seed", "liberty", "jobs", "json")
    sub.add_argument(
        "--goal", choices=("speed", "area"), default="speed", help="the mapping that is measured"
    )
    sub.add_argument(
        "--period", type=float, metavar="PS",
        help="of the clock; by default the shortest that each netlist allows",
    )  # fmt: skip
    sub.add_argument(
        "--vectors", default="random,real", metavar="KIND,...",
        help="random (level smoke) and real, the latter where a unit has recorded tensors",
    )  # fmt: skip
    sub.add_argument(
        "--operations", type=_count, metavar="N",
        help="transactions of each kind of vectors, at least; else 1024, or 64 programs of a core",
    )  # fmt: skip
    sub.add_argument("--no-glitch", action="store_true", help="leave out simulation with delays")
    sub.add_argument("--cache", default="build/cache", metavar="DIR", help="results by content")
    _output(sub, None, "write each result as JSON here")

    sub = command(
        commands.prove,
        "prove what is claimed of a unit, or refute it with a counterexample",
        "narrowgauge prove lzc fp_add/fp8_e5m2",
    )
    _options(sub, "names", "set", "jobs", "json")
    sub.add_argument(
        "--level", choices=PROOF_LEVELS, default="smoke",
        help="smoke: claims of about a minute at most, the others as kept; full: all claims",
    )  # fmt: skip
    sub.add_argument(
        "--limit", type=float, default=600.0, metavar="SECONDS",
        help="for one part of a claim; what is not done by then is unknown",
    )  # fmt: skip
    sub.add_argument("--cache", default="build/cache", metavar="DIR", help="results by content")
    _output(sub, "build/prove", "where counterexamples go, to be replayed by verify --input")

    sub = command(
        commands.mutate,
        "put faults into points and tell which share their benches notice",
        "narrowgauge mutate lzc/w8 mx_quantize/mxfp4_l8 --count 100",
    )
    _options(sub, "names", "set", "seed", "jobs", "json")
    sub.add_argument(
        "--level", choices=("smoke", "full"), default="smoke", help="vectors, as of verify"
    )
    sub.add_argument(
        "--count", type=_count, metavar="N", help="mutants a point; else 400 of arith, 200 of units"
    )
    sub.add_argument(
        "--limit", type=float, default=30.0, metavar="SECONDS",
        help="of the solver, for each mutant that lives",
    )  # fmt: skip
    sub.add_argument(
        "--least", type=float, default=95.0, metavar="PERCENT", help="a lower score fails"
    )
    sub.add_argument(
        "--build", default="build/mutate", metavar="DIR", help="where simulations are built"
    )
    sub.add_argument("--cache", default="build/cache", metavar="DIR", help="results by content")
    _output(sub, None, "write each score as JSON here")

    sub = command(
        commands.flow,
        "generate, verify and synthesise; write the report",
        "narrowgauge flow mx_dot bf16_dot",
    )
    _options(sub, "names", "seed", "liberty", "jobs", "json")
    sub.add_argument("--cache", default="build/cache", metavar="DIR", help="results by content")
    _output(sub, "build/flow", "where the report goes")

    sub = command(
        commands.sweep,
        "measure points over a grid of parameters, and keep the results",
        "narrowgauge sweep mx_dot/w4a4_l32 --grid w_bits=3:5 --grid a_bits=3:7:2",
    )
    _options(sub, "names", "set", "liberty", "jobs", "json")
    sub.add_argument(
        "--grid", action=_Grid, default={}, metavar="NAME=V1,V2,...",
        help="values of a parameter, each with each of the others'; A:B:STEP is a range that "
        "holds both ends; may be given again",
    )  # fmt: skip
    sub.add_argument(
        "--measure", type=_words, default="area", metavar="M1,M2,...",
        help=f"what to measure: {', '.join(MEASURES)}",
    )  # fmt: skip
    sub.add_argument(
        "--store", default="build/results.sqlite", metavar="FILE", help="SQLite file of the results"
    )
    sub.add_argument("--cache", default="build/cache", metavar="DIR", help="results by content")
    sub.add_argument(
        "--scheduler", metavar="ADDRESS", help="work on the cluster of this dask scheduler"
    )
    sub.add_argument(
        "--timeout", type=_count, default=10, metavar="SECONDS",
        help="how long to wait for the scheduler, and for a worker where it has none",
    )  # fmt: skip

    sub = command(
        commands.perplexity,
        "perplexity of a language model whose decoder computes in golden arithmetic",
        "narrowgauge perplexity --text wikitext-2/test.txt --window 512 --windows 8",
    )
    _options(sub, "jobs", "json")
    sub.add_argument(
        "--scheme", type=_words, default=",".join(DEFAULT), metavar="S1,S2,...",
        help=f"how it computes: all, or any of {FLOAT}, {', '.join(SCHEMES)}",
    )  # fmt: skip
    _scoring(sub)
    sub.add_argument(
        "--policy", metavar="FILE.json", help="widths by site and layer, for schemes that have them"
    )
    sub.add_argument("--record", metavar="FILE", help="write the results as JSON")

    sub = command(
        commands.layer,
        "run a decoder layer of a language model on a core's generated Verilog",
        "narrowgauge layer --point opal_core/p47_l128 --positions 64",
    )
    _options(sub, "json")
    sub.add_argument("--point", default="opal_core/p47_l128", help="a point of opal_core")
    sub.add_argument("--layer", type=int, default=1, metavar="N", help="of the model, from 0")
    sub.add_argument(
        "--positions", type=_count, default=64, metavar="N",
        help="positions in the caches of keys and values, the token's own included",
    )  # fmt: skip
    sub.add_argument("--cache", default="build/cache", metavar="DIR", help="results by content")
    sub.add_argument("--build", default="build/layer", metavar="DIR", help="model of the Verilog")
    sub.add_argument("--record", metavar="FILE", help="write the results as JSON")

    sub = command(
        commands.sensitivity,
        "loss with each input of a layer narrow alone, and a policy within a budget",
        "narrowgauge sensitivity --scheme w4a4_7_log2 --budget 0.02 --record policy.json",
    )
    _options(sub, "jobs", "json")
    sub.add_argument("--scheme", default="w4a4_7_log2", metavar="S", help="one with a policy")
    sub.add_argument(
        "--budget", type=float, default=0.02, metavar="NATS",
        help="how much more loss than with all sites high",
    )  # fmt: skip
    sub.add_argument(
        "--sites",
        type=_words,
        default=",".join(INPUTS),
        metavar="S1,S2,...",
        help="what may be low",
    )
    sub.add_argument(
        "--by-layer", action="store_true", help="choose in each layer alone (many measurements)"
    )
    _scoring(sub)
    sub.add_argument("--record", metavar="FILE", help="write the policy, for perplexity --policy")

    sub = command(
        commands.report,
        "write the page of all results, and its plots as SVG and PNG",
        "narrowgauge report mx_dot bf16_dot",
    )
    _options(sub, "names", "json")
    sub.add_argument(
        "--store", default="build/results.sqlite", metavar="FILE", help="SQLite file of the results"
    )
    sub.add_argument(
        "--library", metavar="NAME",
        help="cell library whose figures are shown, where the store has several (default: the "
        "only one, or nangate45)",
    )  # fmt: skip
    sub.add_argument("--cache", default="build/cache", metavar="DIR", help="results by content")
    _output(sub, "build/report", "where the page and plots/ go")

    sub = command(
        commands.vectors,
        "write input and expected beats for a bench of your own",
        "narrowgauge vectors mx_dot/w4a4_l32 -o build/vectors",
    )
    _options(sub, "names", "set", "level", "seed", "jobs", "json")
    sub.add_argument(
        "--input", metavar="FILE.npz", help="transactions to use in place of generated ones"
    )
    _output(sub, "build/vectors", "where the files go")

    sub = command(
        commands.doctor,
        "tell which tools are here, which are missing and how to get them",
        "narrowgauge doctor --json",
    )
    _options(sub, "json")
    return top


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning as one line."""
    print(f"narrowgauge: warning: {message}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an error made on purpose is one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _warn
        return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
    options = parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except NarrowgaugeError as error:
        print(f"narrowgauge: error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("narrowgauge: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone (`narrowgauge list | head`): nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


if __name__ == "__main__":
    sys.exit(main())
