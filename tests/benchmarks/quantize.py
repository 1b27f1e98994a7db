"""Elements a second of the block quantisers, beside plain torch and gfloat, in one run.

    python -m tests.benchmarks.quantize [--elements N] [--repeats R]

All on one thread, CPU time, best of R. The torch rows emulate the formats as microscaling
libraries do: the exponent of the maximum from log2, scale, round, clamp, scale back; with topk and
a scatter for the outliers. They go from float32 values to float32 values, so ours is given in that
form too, and the two results are compared. Rows whose library is not installed say so.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable
from importlib import metadata
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.formats import (
    BF16,
    BlockFormat,
    MXOpal,
    bf16_codes,
    bf16_values,
    dequantize,
    get_block,
    kernel,
    quantize,
    reference,
)

Floats = npt.NDArray[np.float32]


def best(run: Callable[[], object], repeats: int) -> float:
    """Least CPU time of some runs after a first one, in seconds: other load shows less in it."""
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def torch_opal(torch: ModuleType, x: Any, fmt: MXOpal) -> Any:
    """MX-OPAL in torch, values to values; x has shape (blocks, k)."""
    magnitude, index = torch.topk(x.abs(), fmt.n + 1, dim=1)
    exponent = torch.floor(torch.log2(magnitude[:, -1:].clamp(min=2.0**-126)))
    scale = torch.exp2(exponent - fmt.fraction_bits)
    limit = fmt.element.max
    y = torch.round(x / scale).clamp(-limit, limit) * scale
    outliers = index[:, : fmt.n]
    return y.scatter(1, outliers, x.gather(1, outliers))


def torch_mx(torch: ModuleType, x: Any, fmt: BlockFormat) -> Any:
    """MXFP4 in torch, values to values; x has shape (blocks, 32)."""
    exponent = torch.floor(torch.log2(x.abs().amax(1, keepdim=True).clamp(min=2.0**-126)))
    scale = torch.exp2(exponent - fmt.emax)
    y = x / scale
    step = torch.exp2(torch.floor(torch.log2(y.abs().clamp(min=1.0))) - 1)
    return (torch.round(y / step) * step).clamp(-6.0, 6.0) * scale


def row(name: str, elements: int, seconds: float, ours: float | None = None) -> float:
    """Print one line; returns the elements a second."""
    rate = elements / seconds
    ratio = "" if ours is None else f"   ours is {ours / rate:.1f}x as fast"
    print(f"  {name:<44} {rate / 1e6:10.3f} M/s{ratio}")
    return rate


def measure(name: str, x: Floats, torch: ModuleType | None, repeats: int) -> None:
    """All rows of one format."""
    fmt = get_block(name)
    x = x.reshape(-1, fmt.k)
    codes = bf16_codes(x)
    print(f"{name}, {x.size} elements")
    row(
        "ours, bf16 codes to codes",
        x.size,
        best(lambda: kernel.quantize_blocks(fmt, codes), repeats),
    )

    def ours() -> Any:
        return dequantize(quantize(x, fmt, axis=1))

    rate = row("ours, float32 to codes to float32", x.size, best(ours, repeats))
    if torch is None:
        print("  torch is not installed: no comparison")
    else:
        tensor = torch.from_numpy(x)
        emulate = torch_opal if isinstance(fmt, MXOpal) else torch_mx
        run = lambda: emulate(torch, tensor, fmt)  # noqa: E731
        row("torch emulation, float32 to float32", x.size, best(run, repeats), rate)
        different = run().numpy() != ours()
        sure = np.ones(len(x), np.bool_)
        if isinstance(fmt, MXOpal):
            # Among equal magnitudes topk takes any, ours the first.
            ordered = np.sort(np.abs(x), axis=1)
            sure = ordered[:, -fmt.n - 1] != ordered[:, -fmt.n]
        print(
            f"  elements that differ from ours: {different[sure].sum()}, in {sure.sum()} blocks "
            f"without a tie for the last outlier; {different[~sure].sum()} in the others"
        )

    few = x[: max(1, 2048 // fmt.k)]
    if isinstance(fmt, MXOpal):
        lists = codes[: len(few)].tolist()
        slow = best(lambda: [reference.quantize_opal(fmt, b) for b in lists], 1)
        row("ours, scalar reference", few.size, slow, rate)
        return
    numbers = [[reference.decode(BF16, c) for c in b] for b in codes[: len(few)].tolist()]
    slow = best(lambda: [reference.quantize_ocp(fmt, b) for b in numbers], 1)
    row("ours, scalar reference", few.size, slow, rate)
    try:
        import gfloat
        import gfloat.formats
    except ImportError:
        print("  gfloat is not installed: no comparison")
        return
    info = getattr(gfloat.formats, f"format_info_{name}")
    wide = few.astype(np.float64)
    theirs = lambda: [  # noqa: E731
        gfloat.quantize_block(info, b, gfloat.compute_scale_amax) for b in wide
    ]
    row(f"gfloat.quantize_block ({few.size} elements)", few.size, best(theirs, 1), rate)
    differ = int((np.array(theirs()) != dequantize(quantize(few, fmt, axis=1))).sum())
    print(f"  elements that differ from ours: {differ}")


def main() -> None:
    """Parse, print versions, measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--elements", type=int, default=1 << 22, help="default 4194304")
    parser.add_argument("--repeats", type=int, default=5, help="default 5")
    arguments = parser.parse_args()
    torch: ModuleType | None = None
    try:
        import torch
    except ImportError:
        pass
    else:
        torch.set_num_threads(1)
    versions = [f"python {platform.python_version()}"]
    for package in ("numpy", "torch", "gfloat"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} absent")
    print(f"{', '.join(versions)}; {platform.machine()}, {sys.platform}, one thread")
    rng = np.random.default_rng(1)
    count = max(1, arguments.elements // 128)
    # The bf16 grid, so that both sides see the same numbers.
    x = bf16_values(bf16_codes(rng.standard_normal(count * 128).astype(np.float32)))
    for name in ("mx_opal4", "mx_opal7", "mxfp4_e2m1"):
        measure(name, x, torch, arguments.repeats)


if __name__ == "__main__":
    main()
