"""The package as users get it: its list of sub-packages, its wheel, its version in all places."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("golden", "hdl", "verify", "synth")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def modules() -> set[str]:
    """Files of the installed package, as paths below it, for every source in the tree."""
    front = ROOT / "narrowgauge"
    found = {f"narrowgauge/{p.relative_to(front).as_posix()}" for p in front.rglob("*.py")}
    for part in PARTS:
        for path in (ROOT / part).rglob("*.py"):
            found.add(f"narrowgauge/{path.relative_to(ROOT).as_posix()}")
    return found


def test_every_folder_is_a_listed_package() -> None:
    folders = {
        "narrowgauge." + path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for part in PARTS
        for path in (ROOT / part).rglob("*.py")
    }
    folders |= {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for path in (ROOT / "narrowgauge").rglob("*.py")
    }
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(folders)
    for part in PARTS:
        for path in (ROOT / part).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file()


def test_the_version_is_the_same_everywhere() -> None:
    version = PROJECT["project"]["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (\S+)$", citation, re.M)[1] == version  # type: ignore[index]


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the tree, built without the network."""
    copy = tmp_path_factory.mktemp("source")
    for folder in ("narrowgauge", *PARTS):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_everything(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert modules() <= names
    assert {"narrowgauge/py.typed", "narrowgauge/golden/samples/smollm2.npz"} <= names
    data = {
        f"narrowgauge/{path.relative_to(ROOT).as_posix()}"
        for part in PARTS
        for path in (ROOT / part).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert data <= names, "package-data leaves these out"
    outside = {name for name in names if not name.startswith(("narrowgauge/", "narrowgauge-"))}
    assert not outside


def test_the_wheel_is_imported_and_works(wheel: Path, tmp_path: Path) -> None:
    """From the wheel's own files, with the editable installation out of reach."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        "from narrowgauge import api, golden\n"
        f"assert golden.__file__.startswith({str(tmp_path)!r}), golden.__file__\n"
        "from narrowgauge.golden import samples\n"
        "assert samples.load().activations\n"
        "print(len(api.points()))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
