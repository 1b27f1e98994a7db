"""RTL beside a specification in SMT-LIB, settled by solvers, one query a case.

The RTL is what Yosys's `write_smt2` makes of the flattened design: adders and shifts stay words.
A claim is cut into cases by what the inputs are assumed to be; one more query shows that no input
lies outside all of them.
"""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from narrowgauge.golden.errors import NarrowgaugeError
from narrowgauge.golden.payload import Payload
from narrowgauge.verify.prove.claims import Claim, Context, Counterexample, Proof, Stopwatch
from narrowgauge.verify.prove.counterexample import from_bits, unpacked
from narrowgauge.verify.prove.search import search
from narrowgauge.verify.prove.solvers import solve
from narrowgauge.verify.prove.wires import datapath
from narrowgauge.verify.prove.yosys import run

__all__ = ["Case", "Smt", "Wire"]


@dataclass(frozen=True)
class Case:
    """`goal` holds where `assume` does; both are SMT-LIB terms of sort Bool over the fields."""

    name: str
    goal: str
    assume: str = "true"


@dataclass(frozen=True)
class Wire:
    """A wire of the flattened design, of two bits or more.

    Parameters
    ----------
    name : in the terms
    path : in the design
    bits : its width
    cut : terms and design see any value there, as far as the prelude asserts nothing of it
    """

    name: str
    path: str
    bits: int
    cut: bool = False


@dataclass(frozen=True, kw_only=True)
class Smt(Claim):
    """RTL meets a specification in SMT-LIB.

    Parameters
    ----------
    cases : together they cover every input, which is itself asked of the solver. Terms speak of
        the fields of input and output by name, as bit-vectors (vector fields lie lowest first)
    prelude : SMT-LIB definitions that the terms use, and what is asserted of cut wires
    wires : of the design, that the terms use beside the fields
    solvers : asked one after the other, each for its share of the time, until one knows
    """

    cases: tuple[Case, ...]
    prelude: str = ""
    wires: tuple[Wire, ...] = ()
    solvers: tuple[str, ...] = ("bitwuzla", "cvc5")

    def settle(self, context: Context) -> Proof:
        """Settle cases `part`, `part + parts`, ...; the first part also asks that all are there."""
        watch = Stopwatch()
        path = datapath(context)
        if path.reason:
            return self.proof("unknown", watch.seconds, reason=path.reason)
        assumed = " ".join(case.assume for case in self.cases)
        everything = Case("that the cases cover all inputs", f"(or false {assumed})")
        cases = [everything] * (context.part == 0 and len(self.cases) > 1)
        cases += self.cases[context.part :: self.parts]
        undecided = []
        with tempfile.TemporaryDirectory(dir=context.folder) as name:
            design = _design(self, context, Path(name)) + _fields(context) + self.prelude
            for case in cases:
                query = f"{design}\n(assert {case.assume})\n(assert (not {case.goal}))"
                left = (context.limit - watch.seconds) / len(self.solvers)
                answer = None
                for solver in self.solvers:
                    answer = solve(solver, query, "given", Path(name), max(1.0, left))
                    if answer.verdict != "unknown":
                        break
                if answer is None or answer.verdict == "unknown":
                    undecided.append(case.name)
                elif answer.verdict == "sat":
                    if case is everything:
                        raise NarrowgaugeError(f"{self.claim}: the cases leave inputs out")
                    shown = _shown(context, answer.value or 0)
                    if shown is None and any(wire.cut for wire in self.wires):
                        undecided.append(f"{case.name}, with a value that the wire cannot have")
                        continue
                    if shown is None:
                        raise NarrowgaugeError(
                            f"{context.name}: a solver refutes the claim where RTL and golden "
                            "model agree: the golden model does not meet the specification"
                        )
                    return self.proof("refuted", watch.seconds, counterexample=shown)
        if undecided and (shown := search(context)) is not None:
            return self.proof("refuted", watch.seconds, counterexample=shown)
        if undecided:
            reason = f"no solver knew in {context.limit:g} s: {', '.join(undecided)}"
            return self.proof("unknown", watch.seconds, reason=reason)
        return self.proof("proved", watch.seconds)


def _design(claim: Smt, context: Context, folder: Path) -> str:
    """The design in SMT-LIB, with its input payload as the constant `given` and `tdata` out of it.

    Yosys writes functions of a state; here there is one state, so they become constants.
    """
    top = context.design.name
    (folder / "in.il").write_text(context.design.text)
    commands = [
        "read_rtlil in.il",
        f"hierarchy -top {top}",
        "proc",
        "flatten -noscopeinfo",
        *[f"expose {'-cut ' * wire.cut}w:{wire.path}" for wire in claim.wires],
        "opt -full",
        "opt_clean -purge",
        "write_smt2 -bv -stbv -nomem out.smt2",
    ]
    run(commands, folder)
    text = (folder / "out.smt2").read_text()
    lines = []
    for line in text.splitlines():
        line = line.split(" ; ")[0]
        if line.startswith(f"(define-sort |{top}_s|"):
            lines += [line, f"(declare-const state |{top}_s|)"]
        elif line.startswith("(define-fun") and "next_state" not in line:
            line = line.replace(f"((state |{top}_s|))", "()")
            lines.append(re.sub(r"\((\|[^|]*\|) state\)", r"\1", line))
    for wire in claim.wires:
        seen = f"|{top}_n {wire.path}{'.i' * wire.cut}|"
        lines.append(f"(define-fun {wire.name} () (_ BitVec {wire.bits}) {seen})")
    width, out = context.params.input.width, context.params.output.data_width
    lines += [
        f"(define-fun tdata () (_ BitVec {out}) |{top}_n m_axis_tdata|)",
        f"(declare-const given (_ BitVec {width}))",
        f"(assert (= given ((_ extract {width - 1} 0) |{top}_n s_axis_tdata|)))",
    ]
    return "\n".join(lines) + "\n"


def _fields(context: Context) -> str:
    """Every field as a constant of its own."""

    def slices(payload: Payload, word: str) -> list[str]:
        lines = []
        offset = 0
        for field in payload.fields:
            part = f"((_ extract {offset + field.bits - 1} {offset}) {word})"
            lines.append(f"(define-fun {field.name} () (_ BitVec {field.bits}) {part})")
            offset += field.bits
        return lines

    lines = slices(context.params.input, "given") + slices(context.params.output, "tdata")
    return "\n".join(lines) + "\n"


def _shown(context: Context, given: int) -> Counterexample | None:
    """A solver's input, with what the gates give for it, where the golden model differs."""
    params = context.params
    path = datapath(context)
    driven = {
        net: np.array([-(given >> bit & 1)], np.int64).view(np.uint64)
        for bit, net in enumerate(path.inputs)
    }
    words = path.gates.evaluate(driven, path.outputs)
    got = sum((int(word[0]) & 1) << bit for bit, word in enumerate(words))
    model = context.golden.model(params, unpacked(params.input, given))
    want = int.from_bytes(params.output.pack(model)[0].tobytes(), "little")
    return None if want == got else from_bits(params, given, want, got)
