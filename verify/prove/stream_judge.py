"""Whether a run of a stream design breaks a rule, by its wires alone.

Nothing of the proofs is used here: a counterexample that this confirms is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from narrowgauge.verify.prove.stream_shape import Shape
from narrowgauge.verify.prove.stream_trace import Drive, Row, Trace

__all__ = ["judge"]


@dataclass(frozen=True, kw_only=True)
class _Story:
    """Beats of a run: those taken and given, with the number of their transaction."""

    taken: list[tuple[int, int, int]]
    given: list[tuple[int, int, int]]


def _story(shape: Shape, run: Sequence[Drive], rows: Sequence[Row]) -> _Story:
    taken: list[tuple[int, int, int]] = []
    given: list[tuple[int, int, int]] = []
    number = beats = 0
    for drive, row in zip(run, rows, strict=True):
        if drive.valid and row.ready:
            taken.append((number, drive.last, drive.data))
            beats += 1
            if drive.last if shape.by_last else beats % shape.block == 0:
                number += 1
        if row.valid and drive.ready:
            given.append((len(given) // shape.answer, row.last, row.data))
    return _Story(taken=taken, given=given)


def judge(shape: Shape, trace: Trace, answers: Sequence[Sequence[Row]]) -> str:
    """How a trace breaks its rule on what the design answered to each run; "" where it does not."""
    run, rows = trace.runs[0], answers[0]
    if trace.rule in ("hold", "stable"):
        return _held(trace.rule, run, rows)
    if trace.rule in ("count", "answer", "accept"):
        return _counted(shape, trace, run, rows)
    if trace.rule == "apart":
        pair = [each[-1].valid for each in answers]
        if pair[0] != pair[1]:
            return f"cycle {len(rows) - 1}: m_axis_tvalid depends on m_axis_tready"
        return ""
    stories = [_story(shape, r, a) for r, a in zip(trace.runs, answers, strict=True)]
    if trace.rule == "schedule":
        if [x[1:] for x in stories[0].taken] != [x[1:] for x in stories[1].taken]:
            return ""
        for i, (a, b) in enumerate(zip(stories[0].given, stories[1].given, strict=False)):
            if a != b:
                return f"output beat {i} is {a[2]:#x} in the first run, {b[2]:#x} in the second"
        if len(stories[0].given) != len(stories[1].given):
            counts = " and ".join(str(len(s.given)) for s in stories)
            return f"{counts} output beats of the same input"
        return ""
    if stories[0].taken and trace.rule == "origin":
        mine = [[x[1:] for x in s.taken if x[0] == trace.watched] for s in stories]
        got = [[x for x in s.given if x[0] == trace.watched] for s in stories]
        if mine[0] == mine[1] and any(a != b for a, b in zip(*got, strict=False)):
            return f"the answer to transaction {trace.watched} differs, its beats are the same"
    if trace.rule == "idle":
        for cycle, (a, b) in enumerate(zip(*answers, strict=True)):
            if (a.ready, a.valid) != (b.ready, b.valid):
                return f"cycle {cycle}: the handshake depends on what nobody offered"
    return ""


def _held(rule: str, run: Sequence[Drive], rows: Sequence[Row]) -> str:
    pairs = zip(run, rows, rows[1:], strict=False)
    for cycle, (drive, row, after) in enumerate(pairs, 1):
        if row.valid and not drive.ready:
            if rule == "hold" and not after.valid:
                return f"cycle {cycle}: m_axis_tvalid falls before the transfer"
            same = (row.last, row.data) == (after.last, after.data)
            if rule == "stable" and after.valid and not same:
                return f"cycle {cycle}: the payload changes while it waits"
    if rule == "hold" and rows[0].valid and not run[0].valid:
        return "cycle 0: m_axis_tvalid is high after reset"
    return ""


def _counted(shape: Shape, trace: Trace, run: Sequence[Drive], rows: Sequence[Row]) -> str:
    owed = beats = given = silent = refused = 0
    for cycle, (drive, row) in enumerate(zip(run, rows, strict=True)):
        ends = drive.last if shape.by_last else beats % shape.block == shape.block - 1
        silent = silent + 1 if owed > 0 and not row.valid else 0
        if drive.valid and row.ready:
            refused = 0
        elif drive.valid and not (row.valid and not drive.ready):
            refused += 1
        if trace.rule == "count" and row.valid:
            if owed <= 0 and not (drive.valid and ends):
                return f"cycle {cycle}: an output beat although none is due"
            if drive.ready and owed <= 0 and not row.ready:
                return f"cycle {cycle}: an output beat of an input beat that is not taken"
            if shape.marks is not None and row.last != shape.marks[given % shape.answer]:
                return f"cycle {cycle}: m_axis_tlast is {row.last} on beat {given} given"
        if trace.rule == "answer" and silent > trace.limit:
            return f"cycle {cycle}: {owed} beats are due, none offered for {silent} cycles"
        if trace.rule == "accept" and refused > trace.limit:
            return f"cycle {cycle}: an offered beat is refused for {refused} cycles"
        if drive.valid and row.ready:
            owed += shape.answer if ends else 0
            beats += 1
        if row.valid and drive.ready:
            owed -= 1
            given += 1
    return ""
