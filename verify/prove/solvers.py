"""SMT solvers out of Python wheels, each run in a process of its own with a time limit.

`python -m narrowgauge.verify.prove.solvers SOLVER FILE` runs a script with `(check-sat)` and prints
what the solver prints. Known are `bitwuzla`, `cvc5` and `z3`.
"""

import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from narrowgauge.golden.errors import MissingToolError, NarrowgaugeError, UsageError

__all__ = ["SOLVERS", "Answer", "main", "solve"]

SOLVERS = {"bitwuzla": "bitwuzla", "cvc5": "cvc5", "z3": "z3"}
"""Solver -> the module that it comes as."""


@dataclass(frozen=True)
class Answer:
    """What a solver says: for "sat", `value` is that of the term asked for."""

    verdict: Literal["sat", "unsat", "unknown"]
    value: int | None = None


def solve(solver: str, script: str, term: str, folder: Path, limit: float) -> Answer:
    """Satisfiability of an SMT-LIB script, and the value of a bit-vector constant where it is.

    `script` has no `(check-sat)`. Time that runs out gives "unknown"; a script that the solver
    rejects is a `NarrowgaugeError`, a solver that is not installed a `MissingToolError`.
    """
    if solver not in SOLVERS:
        raise UsageError(f"no solver {solver!r}; solvers: {', '.join(SOLVERS)}")
    if importlib.util.find_spec(SOLVERS[solver]) is None:
        raise MissingToolError(f"{solver} is not installed: pip install 'narrowgauge[prove]'")
    path = folder / f"{solver}.smt2"
    head = "(set-option :produce-models true)\n(set-logic ALL)\n"
    path.write_text(f"{head}{script}\n(check-sat)\n(get-value ({term}))\n")
    command = [sys.executable, "-m", "narrowgauge.verify.prove.solvers", solver, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return Answer("unknown")
    words = done.stdout.split()
    if words[:1] == ["unsat"]:
        return Answer("unsat")
    if words[:1] == ["unknown"]:
        return Answer("unknown")
    value = re.search(r"#b([01]+)|#x([0-9a-fA-F]+)", done.stdout)
    if words[:1] == ["sat"] and value:
        return Answer("sat", int(value[1], 2) if value[1] else int(value[2], 16))
    lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
    raise NarrowgaugeError(f"{solver}: {lines[-1]}")


def _bitwuzla(path: str) -> None:
    import bitwuzla

    options = bitwuzla.Options()
    options.set(bitwuzla.Option.PRODUCE_MODELS, True)
    bitwuzla.Parser(bitwuzla.TermManager(), options).parse(path, False, True)


def _cvc5(path: str) -> None:
    import cvc5

    solver = cvc5.Solver()
    parser = cvc5.InputParser(solver)
    parser.setFileInput(cvc5.InputLanguage.SMT_LIB_2_6, path)
    symbols = parser.getSymbolManager()
    while True:
        command = parser.nextCommand()
        if command.isNull():
            return
        print(command.invoke(solver, symbols), end="")


def _z3(path: str) -> None:
    import z3

    text = Path(path).read_text()
    script, _, rest = text.partition("(check-sat)")
    solver = z3.Solver()
    solver.from_string(script)
    verdict = solver.check()
    print(verdict)
    if verdict == z3.sat:
        wanted = rest.split("(get-value (")[1].split(")")[0]
        for constant in solver.model().decls():
            if constant.name() == wanted:
                print(solver.model()[constant].sexpr())


def main(solver: str, path: str) -> None:
    """Run a script; in the child."""
    {"bitwuzla": _bitwuzla, "cvc5": _cvc5, "z3": _z3}[solver](path)


if __name__ == "__main__":
    main(*sys.argv[1:])
