"""CPU seconds of a step of the bit search, by net and format: `python -m tests.benchmarks.attack`.

Nets of random weights on 64 random images, one thread; the time is that of gradients, order and
tries of one flip, without the test images. Needs torch.
"""

import time

import torch

from narrowgauge.golden.attack import get_weights
from narrowgauge.golden.training import nets
from narrowgauge.golden.training.attack.search import Search, progressive
from narrowgauge.golden.training.attack.victim import Victim

FORMATS = ("int8", "int4", "mx_opal4", "mxint8", "fb12")
STEPS = 5


def step(net: str, fmt: str) -> float:
    """Mean of some steps, the first, which makes tables, left out."""
    torch.manual_seed(1)
    victim = Victim(nets.make(net), get_weights(fmt))
    images, labels = torch.randn(64, 1, 28, 28), torch.randint(0, 10, (64,))
    times = [time.process_time()]

    def watch(flips: int) -> tuple[dict[str, float], bool]:
        times.append(time.process_time())
        return {}, False

    search = Search(fields=("top", "element"))
    progressive(victim, images, labels, search=search, budget=STEPS + 1, watch=watch)
    return (times[-1] - times[1]) / (len(times) - 2)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("| net | " + " | ".join(f"`{fmt}`" for fmt in FORMATS) + " |")
    print("| :-- |" + " --: |" * len(FORMATS))
    for net in nets.NETS:
        print(f"| {net} | " + " | ".join(f"{step(net, fmt):.2f}" for fmt in FORMATS) + " |")


if __name__ == "__main__":
    main()
