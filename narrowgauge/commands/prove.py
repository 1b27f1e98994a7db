"""`narrowgauge prove`: claims about each point, settled."""

import argparse
import json
from typing import TYPE_CHECKING

from narrowgauge.console import Console, table
from narrowgauge.options import Command, output_option, shared
from narrowgauge.prove import LEVELS

if TYPE_CHECKING:
    from narrowgauge.verify.prove.claims import Proof

__all__ = ["COMMANDS", "prove"]


def prove(options: argparse.Namespace) -> int:
    """Claims about each point, settled; 1 where one is refuted or left unknown."""
    from narrowgauge import prove as proving

    console = Console(options.verbosity)
    results = proving.prove(
        options.names,
        level=options.level,
        overrides=options.overrides,
        output=options.output,
        cache=options.cache,
        limit=options.limit,
        jobs=options.jobs,
        progress=console.progress,
    )
    if options.json:
        print(json.dumps([result.to_json() for result in results], indent=2))
    else:
        rows: list[tuple[str, ...]] = []
        for result in results:
            for proof in result.proofs:
                end = (proof.status, f"{proof.seconds:.1f}")
                rows.append((result.name, proof.claim, proof.size, proof.method, *end))
            for claim in result.not_run:
                missing = "not run (--level full)"
                rows.append((result.name, claim.claim, claim.size, claim.method, missing, ""))
        print(table(("point", "claim", "size", "method", "status", "s"), rows))
        for result in results:
            for proof in result.proofs:
                print(_details(console.verdict(False), result.name, proof), end="")
    return 0 if all(result.passed for result in results) else 1


def _details(verdict: str, name: str, proof: "Proof") -> str:
    """What is to be said of a claim that was not proved."""
    if proof.status == "proved":
        return ""
    lines = [f"{verdict}  {name}: {proof.claim}: {proof.status}"]
    if proof.reason:
        lines.append(f"      {proof.reason}")
    shown = proof.counterexample
    if shown is not None:
        lines += [f"      {line}" for line in shown.text.splitlines()]
        if shown.file:
            lines.append(f"      again: narrowgauge verify {name} --input {shown.file}")
    return "\n".join(lines) + "\n"


def _prove_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "names", "set", "jobs", "cache", "json")
    sub.add_argument(
        "--level", choices=LEVELS, default="smoke",
        help="smoke: claims of about a minute at most, the others as kept; full: all claims",
    )  # fmt: skip
    sub.add_argument(
        "--limit", type=float, default=600.0, metavar="SECONDS",
        help="for one part of a claim; what is not done by then is unknown",
    )  # fmt: skip
    output_option(sub, "build/prove", "where counterexamples go, to be replayed by verify --input")


COMMANDS = (
    Command(
        prove,
        "prove what is claimed of a unit, or refute it with a counterexample",
        "narrowgauge prove lzc fp_add/fp8_e5m2",
        _prove_options,
    ),
)
