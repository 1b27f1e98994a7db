"""A cache of compiled objects, for the OBJCACHE hook of Verilator's makefiles.

Called as `python objcache.py COMPILER ARGS...` with the folder in NARROWGAUGE_OBJCACHE. A compile
with `-c` is keyed by the compiler, its arguments and the preprocessed source; the object is stored
under that key and copied on a hit. Anything else runs as it is. Entries carry a digest, so a
damaged one is compiled again, and appear by rename, so parallel builds may share the folder.

Precompiled headers belong to one design and cost more than they save with so few files: a command
that would make one writes a plain header of the same name instead.

Imports the standard library alone: it runs as a script, once a file.
"""

import hashlib
import os
import subprocess
import sys

__all__ = ["compile_cached"]

_LIMIT = 512 << 20
"""Bytes that the folder may hold before the entries used longest ago are dropped."""


def _write(path: str, data: bytes) -> None:
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)


def _load(path: str) -> bytes | None:
    """The object in an entry; None where there is none, or it is damaged."""
    try:
        with open(path, "rb") as file:
            entry = file.read()
        os.utime(path)
    except OSError:
        return None
    digest, data = entry[:32], entry[32:]
    return data if data and hashlib.sha256(data).digest() == digest else None


def _trim(folder: str) -> None:
    """Drop the entries used longest ago once the folder is over its limit."""
    entries = []
    for name in os.listdir(folder):
        try:
            status = os.stat(os.path.join(folder, name))
        except OSError:
            continue
        entries.append((status.st_mtime, status.st_size, os.path.join(folder, name)))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= _LIMIT:
            break
        try:
            os.unlink(path)
        except OSError:
            continue
        total -= size


def _key(command: list[str], source: bytes) -> str:
    version = subprocess.run([command[0], "--version"], capture_output=True, check=True).stdout
    kept = []
    skip = False
    for argument in command[1:]:
        # Where the object and its dependencies go does not change the object; include paths and
        # macros have done their work in the preprocessed source.
        if skip:
            skip = False
        elif argument in ("-o", "-MF", "-MT", "-MQ", "-I", "-D", "-include"):
            skip = True
        elif argument not in ("-MMD", "-MD", "-MP") and not argument.startswith(("-I", "-D")):
            kept.append(os.path.basename(argument) if argument.endswith(".cpp") else argument)
    parts = [version, *(part.encode() for part in kept), source]
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def compile_cached(command: list[str], folder: str) -> int:
    """Run one compiler command, or copy what it made before; the exit code."""
    if "c++-header" in command and command[-1].endswith(".gch"):
        header = command[command.index("c++-header") + 1]
        _write(command[-1].removesuffix(".gch"), f'#include "{header}"\n'.encode())
        # An empty file satisfies make; the compiler sees that it is none of its own.
        _write(command[-1], b"")
        return 0
    if "-c" not in command or "-o" not in command:
        return subprocess.run(command).returncode
    target = command[command.index("-o") + 1]
    # The preprocessor also writes the dependency file that make reads, as the compile would.
    preprocess = ["-E" if word == "-c" else word for word in command]
    at = preprocess.index("-o")
    preprocess[at : at + 2] = ["-P", "-MT", target]
    if any(word in ("-MMD", "-MD") for word in preprocess) and "-MF" not in preprocess:
        preprocess += ["-MF", os.path.splitext(target)[0] + ".d"]
    done = subprocess.run(preprocess, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if done.returncode != 0:
        return subprocess.run(command).returncode
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, _key(command, done.stdout))
    data = _load(path)
    if data is not None:
        _write(target, data)
        return 0
    code = subprocess.run(command).returncode
    if code == 0:
        with open(target, "rb") as file:
            data = file.read()
        _write(path, hashlib.sha256(data).digest() + data)
        _trim(folder)
    return code


if __name__ == "__main__":
    sys.exit(compile_cached(sys.argv[1:], os.environ["NARROWGAUGE_OBJCACHE"]))
