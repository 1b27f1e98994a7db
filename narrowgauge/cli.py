"""The command line: one parser for all commands, and errors as one line."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from narrowgauge import __version__
from narrowgauge.commands import COMMANDS
from narrowgauge.golden.errors import NarrowgaugeError
from narrowgauge.options import EXITS, Parser, common

__all__ = ["main", "parser"]


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(
        prog="narrowgauge",
        description="Generate, verify and synthesise narrow-number arithmetic.",
        epilog=EXITS,
    )
    top.add_argument("--version", action="version", version=f"narrowgauge {__version__}")
    subs = top.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    loudness = common()
    for command in COMMANDS:
        sub = subs.add_parser(
            command.name,
            help=command.text,
            description=command.text[0].upper() + command.text[1:] + ".",
            epilog=f"example:\n  {command.example}\n\n{EXITS}",
            parents=[loudness],
        )
        sub.set_defaults(run=command.run, error=sub.error)
        command.options(sub)
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
    options, unknown = parser().parse_known_args(arguments)
    if unknown:
        # Told by the command's parser, so that the line points to the command's help.
        options.error(f"unrecognized arguments: {' '.join(unknown)}")
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
