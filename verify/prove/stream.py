"""Claims about streams: the handshake rules, and nothing lost, doubled, reordered or mixed.

They hold for every unit from its registry entry alone: the netlist is the emitted one at its real
parameters, the transactions are the golden model's. docs/proofs.md says how, and what is not shown.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from narrowgauge.verify.prove.claims import Claim, Context, Proof, Stopwatch
from narrowgauge.verify.prove.stream_judge import judge
from narrowgauge.verify.prove.stream_netlist import Netlist, netlist
from narrowgauge.verify.prove.stream_question import Question, Settled
from narrowgauge.verify.prove.stream_replay import Frame, beats, fill, observe
from narrowgauge.verify.prove.stream_rules import RULES
from narrowgauge.verify.prove.stream_shape import Shape, rows, shape
from narrowgauge.verify.prove.stream_trace import Drive, Row, Trace, show

__all__ = ["HANDSHAKE", "StreamClaim", "claims", "replay", "row_claims"]

HANDSHAKE = ("hold", "stable", "apart")
"""Rules that speak of no transaction: what a design keeps whose answers differ in length."""

_TRIES = 64
"""Payloads that are tried at once to confirm a run."""

_ROUNDS = 4


@dataclass(frozen=True, kw_only=True)
class StreamClaim(Claim):
    """A claim about the streams of a design.

    Parameters
    ----------
    rule : a name of `stream_rules.RULES`
    row, answer : of a unit that answers rows of any length, the length of all rows here and of
        their answers; 0 where the golden model says what a transaction is
    """

    rule: str
    row: int = 0
    answer: int = 0

    def shape(self, context: Context) -> Shape:
        """The transactions that the claim is about."""
        if self.row:
            return rows(context.golden, context.params, self.row, self.answer)
        return shape(context.golden, context.params)

    def settle(self, context: Context) -> Proof:
        """Settle it on the gates of the design; a refutation is confirmed by running them."""
        watch = Stopwatch()
        net = netlist(context.design, context.folder)
        form = self.shape(context)
        pace = int(context.design.latency or 0) + int(context.design.interval or 1)
        question = Question(net=net, shape=form, pace=pace, limit=context.limit)
        found = RULES[self.rule](question)
        while found.status == "refuted":
            trace = _confirmed(self.rule, net, form, found, context)
            if trace is not None:
                return self.proof("refuted", watch.seconds, counterexample=trace)
            if found.again is None:
                reason = "a run was found that might break it, but no payload that does"
                return self.proof("unknown", watch.seconds, reason=reason)
            found = found.again()
        return self.proof(found.status, watch.seconds, reason=found.reason)


def _confirmed(
    rule: str, net: Netlist, form: Shape, found: Settled, context: Context
) -> Trace | None:
    """The trace of a run that breaks the rule on the gates, with a payload that shows it."""
    rng = random.Random(1)
    for _ in range(_ROUNDS):
        tried = [_filled(rule, form, found.runs, rng) for _ in range(_TRIES)]
        flat = [run for runs in tried for run in runs]
        rows = observe(net, flat, found.start or {}, rng if found.garbage else None)
        for i, runs in enumerate(tried):
            answers = rows[i * len(runs) : (i + 1) * len(runs)]
            trace = Trace(
                text="",
                rule=rule,
                runs=runs,
                start=found.start or {},
                limit=found.bound,
                watched=found.watched,
                garbage=found.garbage,
            )
            verdict = judge(form, trace, answers)
            if verdict:
                if rule != "apart":
                    trace, answers = _cut(form, trace, answers)
                told = show(form, trace.runs, answers, context.params.input, context.params.output)
                return replace(trace, text=f"{told}\n{verdict}")
    return None


def _cut(form: Shape, trace: Trace, answers: list[list[Row]]) -> tuple[Trace, list[list[Row]]]:
    """The same without cycles at the end that show nothing."""
    for i in range(len(trace.runs)):
        while len(trace.runs[i]) > 1 and not (trace.runs[i][-1].valid or answers[i][-1].valid):
            runs = (*trace.runs[:i], trace.runs[i][:-1], *trace.runs[i + 1 :])
            rows = [*answers[:i], answers[i][:-1], *answers[i + 1 :]]
            shorter = replace(trace, runs=runs)
            if not judge(form, shorter, rows):
                break
            trace, answers = shorter, rows
    return trace, answers


def _filled(
    rule: str, form: Shape, runs: tuple[tuple[Frame, ...], ...], rng: random.Random
) -> tuple[tuple[Drive, ...], ...]:
    """Runs with payloads: the same beats in both, or the same of the watched transaction alone."""
    words = beats(form, 1 + max(sum(x.taken for x in run) for run in runs), rng)
    made = [fill(form, runs[0], words, rng)]
    if rule == "origin":
        fresh = beats(form, len(words), rng)
        own = [x.own for x in runs[1] if x.taken] + [runs[1][-1].own] * len(words)
        words = [a if mine else b for a, b, mine in zip(words, fresh, own, strict=False)]
        made.append(fill(form, runs[1], words, rng, settled=lambda frame: frame.own))
    elif len(runs) > 1:
        made.append(fill(form, runs[1], words, rng, settled=lambda frame: frame.valid))
    return tuple(made)


def replay(context: Context, trace: Trace, form: Shape | None = None) -> str:
    """How a trace breaks its rule on the gates of a design; "" where it does not.

    `form` is the shape of the claim that the trace refutes, where that is not the golden model's.
    """
    net = netlist(context.design, None)
    form = form or shape(context.golden, context.params)
    rng = random.Random(2) if trace.garbage else None
    return judge(form, trace, observe(net, trace.runs, trace.start, rng))


_METHOD = "ABC pdr on the control of the emitted netlist"
_SIZE = "all payloads, any number of cycles, any stalls, after a reset from any state"

_CLAIMS = {
    "hold": ("valid stays until the transfer, and is low after reset", _METHOD),
    "stable": ("payload and last stay while they wait", f"{_METHOD}, which registers keep"),
    "apart": ("valid does not depend on ready within a cycle", _METHOD),
    "answer": ("what is due is offered without waiting for ready or input", _METHOD),
    "accept": ("an offered beat is taken unless the output waits", _METHOD),
    "count": ("an answer for each transaction, none too early, none doubled", _METHOD),
    "idle": (
        "what nobody offered does not change the handshake",
        f"{_METHOD}, with information flow through all gates",
    ),
    "schedule": (
        "stalls and idle cycles change no answer",
        "all states of the control, data as terms of the emitted gates",
    ),
    "origin": (
        "an answer depends on its own transaction alone",
        f"{_METHOD}, with information flow through all gates",
    ),
}


def claims(params: Any, rules: Sequence[str] = tuple(_CLAIMS)) -> tuple[StreamClaim, ...]:
    """The claims that every unit with streams has to keep, whatever its parameters.

    A bench whose design keeps fewer, because the answers differ in length or depend on what came
    before, has `claims(params)` of its own that names them (`HANDSHAKE`, say).
    """
    return tuple(
        StreamClaim(claim=claim, method=method, size=_SIZE, rule=rule)
        for rule, (claim, method) in _CLAIMS.items()
        if rule in rules
    )


def row_claims(
    answers: Mapping[int, int], rules: Sequence[str] = tuple(_CLAIMS)
) -> tuple[StreamClaim, ...]:
    """The claims of a unit that takes rows of any length.

    The handshake whatever comes; the others of `rules` for streams of rows of one length.

    Parameters
    ----------
    answers : beats of a row -> beats of its answer
    """
    every = {rule: claim for rule, claim in _CLAIMS.items() if rule not in HANDSHAKE}
    return claims(None, HANDSHAKE) + tuple(
        StreamClaim(
            claim=f"{claim}: rows of {size}",
            method=method,
            size=_SIZE,
            rule=rule,
            row=size,
            answer=answer,
        )
        for size, answer in answers.items()
        for rule, (claim, method) in every.items()
        if rule in rules
    )
