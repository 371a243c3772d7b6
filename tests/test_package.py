"""`pip install .` gives a working package: a wheel holds all files of both packages, and works away from the tree."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("nascore", "nasviz")
LEFT_BEHIND = {".pyc", ".sqlite-wal", ".sqlite-shm", ".lock"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built without network from a copy of what a checkout holds."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY.md"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", target, source]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("*.whl")
    return built


def test_it_holds_every_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in LEFT_BEHIND
    }
    assert expected - names == set()
    extra = {name for name in names - expected if ".dist-info/" not in name}
    assert extra == set()
    assert {name.rpartition("/")[2] for name in names} >= {"LICENSE", "THIRD_PARTY.md"}


def test_it_works_away_from_the_tree(wheel: Path, tmp_path: Path) -> None:
    """Both packages import from the wheel, read their data there, and leave torch alone."""
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import sys, nascore, nasviz, nascore.record\n"
        "assert 'torch' not in sys.modules\n"
        f"assert all(module.__file__.startswith({str(site)!r}) for module in (nascore, nasviz))\n"
        "assert all(len(nascore.record.Recording.open(name)) for name in nascore.record.shipped())\n"
        "print(len(nascore.published()), len(nascore.record.shipped()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    cells, recordings = map(int, done.stdout.split())
    assert cells >= 11
    assert recordings >= 1


def test_the_command_line_is_installed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "nascore = nascore.__main__:main" in archive.read(name).decode()
