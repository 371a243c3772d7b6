"""The set-up says in one sentence what keeps it from going on, and does nothing when there is nothing to do."""

import ast
import importlib.util
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tools" / "setup.py"


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, on a folder of its own."""
    spec = importlib.util.spec_from_file_location("kit_setup", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in module.INPUTS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(module, "PYTHON", Path(sys.executable))
    return module


def test_an_old_python_can_read_it() -> None:
    ast.parse(SCRIPT.read_text(), feature_version=(3, 8))


def test_no_python() -> None:
    done = subprocess.run(
        ["make", "setup", "PYTHON=/nowhere/python3"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "/nowhere/python3 is missing or too old: install Python 3.11 or newer" in done.stderr


@pytest.mark.parametrize("version", [(3, 9, 2), (3, 99, 0)])
def test_wrong_python(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int]) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(SystemExit, match=rf"is Python {version[0]}\.{version[1]}, .* from 3\.11 to .*PYTHON="):
        setup.check_python()


def test_debian_without_ensurepip(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    setup.check_python()
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    with pytest.raises(SystemExit, match=f"ensurepip module is missing.*{package}"):
        setup.check_python()


def test_no_space(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(setup, "PYTHON", Path("/nowhere/python"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(8e9))
    setup.check_space()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(3e8))
    with pytest.raises(SystemExit, match=r"has 0\.3 GB left, and the set-up needs 3 GB"):
        setup.check_space()


@pytest.mark.parametrize(
    ("printed", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("NewConnectionError: Temporary failure in name resolution", "cannot be reached"),
        ("error: Request failed\n  cause: dns error", "cannot be reached"),
        ("error: no such package", "(?s)no such package.*failed at this step"),
    ],
)
def test_failing_step(setup: ModuleType, printed: str, sentence: str) -> None:
    command = (sys.executable, "-c", f"import sys; print({printed!r}); sys.exit(1)")
    with pytest.raises(SystemExit, match=sentence):
        setup.run(*command, check=True)


def test_a_step_that_may_fail(setup: ModuleType) -> None:
    assert setup.run(sys.executable, "-c", "")
    assert not setup.run(sys.executable, "-c", "import sys; sys.exit(1)")


def test_second_run_does_nothing(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not setup.is_ready()
    setup.STAMP.write_text(setup.fingerprint())
    assert setup.is_ready()
    monkeypatch.setattr(setup, "run", None)  # it would fail if it were called
    setup.main()


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "tools/setup.py"])
def test_a_change_is_seen(setup: ModuleType, name: str) -> None:
    setup.STAMP.write_text(setup.fingerprint())
    with (setup.ROOT / name).open("a") as file:
        file.write("# changed")
    assert not setup.is_ready()


def test_a_moved_folder_is_seen(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setup.STAMP.write_text(setup.fingerprint())
    moved = shutil.copytree(tmp_path, tmp_path / "moved")
    monkeypatch.setattr(setup, "ROOT", moved)
    assert not setup.is_ready()


def test_a_python_that_is_gone_is_seen(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    setup.STAMP.write_text(setup.fingerprint())
    monkeypatch.setattr(setup, "PYTHON", Path("/nowhere/python"))
    assert not setup.is_ready()


def test_uv_gets_the_settings_of_pip(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = tmp_path / "pip.conf"
    settings.write_text("[global]\nfind-links = /one /two\nproxy = http://localhost:1\n[install]\nno-index = true\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    monkeypatch.setenv("PIP_PROXY", "http://localhost:2")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "file:///a file:///b")
    monkeypatch.setenv("UV_INDEX", "file:///c")
    for name in ("ALL_PROXY", "PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    env = setup.uv_settings()
    assert set(env["UV_FIND_LINKS"].split(",")) >= {"/one", "/two"}  # the machine's own settings may add some
    assert env["UV_NO_INDEX"] == "true"
    assert env["ALL_PROXY"] == "http://localhost:2"  # pip's environment wins over its files
    assert env["UV_INDEX"] == "file:///c"  # uv's own over both
    assert env["UV_INDEX_STRATEGY"] == "unsafe-best-match"
