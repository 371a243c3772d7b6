"""Set the kit up: a virtual environment in `.venv` with the versions of `constraints.txt`. The Makefile calls it.

It needs only the standard library, and syntax that an old Python can still read, so that it can say what is wrong.
A second run finds its stamp, and needs no network.
"""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
STAMP = VENV / "set-up-is-complete"
INPUTS = ("pyproject.toml", "constraints.txt", "tools/setup.py")
OLDEST, NEWEST = (3, 11), (3, 14)  # constraints.txt has wheels for these
GIGABYTES = 3  # what .venv takes, with some room; PyTorch with CUDA takes three times that

ANNOUNCEMENTS = "@jupyterlab/apputils-extension:announcements"

# pip's setting -> uv's variable for it, and what separates the items of a list there
UV_NAMES = {
    "find-links": ("UV_FIND_LINKS", ","),
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "no-index": ("UV_NO_INDEX", " "),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
}
PROGRESS = ("Collecting", "Downloading", "Downloaded", "Resolved", "Prepared", "Installing", "Installed")
FULL = r"No space left on device|Errno 28|Disk quota exceeded|os error 28|os error 122"
OFFLINE = (
    r"name resolution|Name or service not known|nodename nor servname|getaddrinfo failed|dns error"
    r"|NewConnectionError|ConnectTimeout|Connection refused|Network is unreachable|ProxyError|Failed to connect"
    r"|error sending request|operation timed out|Could not connect"
)


def main():
    """Set the kit up, unless that is done."""
    if is_ready():
        return
    check_python()
    check_space()
    make_environment()
    install()
    link_graphviz()
    # No pop-up that asks about news over the first picture.
    run(VENV / "bin" / "jupyter", "labextension", "disable", "--level=sys_prefix", ANNOUNCEMENTS, check=True)
    STAMP.write_text(fingerprint())
    print("The kit is set up.", flush=True)


def is_ready():
    """Say whether the last set-up was for this folder and these versions, and its Python still runs."""
    try:
        return STAMP.read_text() == fingerprint() and subprocess.call([str(PYTHON), "-c", ""]) == 0
    except OSError:
        return False


def fingerprint():
    """Return a digest of all that decides what is in the environment. An environment cannot be moved."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in INPUTS:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def check_python():
    """Stop if this Python is not one that the pinned versions have wheels for, or cannot make an environment."""
    here = "{}.{}".format(*sys.version_info[:2])
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        stop(
            "{} is Python {}, and the kit needs one from {}.{} to {}.{}: "
            "name one that you have, as in 'make lab PYTHON=python3.12'.".format(sys.executable, here, *OLDEST, *NEWEST)
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        stop(
            f"{sys.executable} cannot make a virtual environment, because its ensurepip module is missing: "
            f"on Debian or Ubuntu install the package python{here}-venv ('sudo apt install python{here}-venv')."
        )


def check_space():
    """Stop if the packages cannot fit."""
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if free < GIGABYTES and not PYTHON.exists():
        stop(f"The disk of {ROOT} has {free:.1f} GB left, and the set-up needs {GIGABYTES} GB: make some room.")


def make_environment():
    """Make `.venv`, or keep one whose Python and pip work."""
    if not (PYTHON.exists() and run(PYTHON, "-m", "pip", "--version")):
        print(f"Making {VENV} ...", flush=True)
        run(sys.executable, "-m", "venv", "--clear", VENV, check=True)


def install():
    """Install the kit and all that it needs, by uv where that works (seconds), else by pip (a minute or two)."""
    pinned = ("--constraint", ROOT / "constraints.txt")
    kit = ("--no-build-isolation", *pinned, "--editable", f"{ROOT}[dev]")
    print("Installing the kit's packages; the first time this can take some minutes ...", flush=True)
    pip = (PYTHON, "-m", "pip", "install", "--disable-pip-version-check")
    # setuptools first: it builds the kit in this environment, so that it is pinned too.
    run(*pip, "--quiet", *pinned, "setuptools", check=True)
    if run(*pip, "--quiet", *pinned, "uv") and run(UV, "pip", "install", "--python", PYTHON, *kit, env=uv_settings()):
        return
    print("uv did not manage it; once more with pip ...", flush=True)
    run(*pip, *kit, check=True)


def uv_settings():
    """Return the environment with pip's settings under the names that uv reads; what is set for uv itself stays."""
    settings = {}
    listed = subprocess.check_output([str(PYTHON), "-m", "pip", "config", "list"], text=True)
    rank = ("global", "install", ":env:")  # later ones win, as in pip
    for section in rank:
        for line in listed.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(section + "."):
                settings[key[len(section) + 1 :]] = ast.literal_eval(value)
    env = {}
    for name, value in settings.items():
        if name in UV_NAMES:
            variable, separator = UV_NAMES[name]
            env[variable] = separator.join(str(value).split())
    if "UV_INDEX" in env:
        env["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip too looks at every index
    return {**env, **os.environ}


def link_graphviz():
    """Give the environment a `dot`: the one of graphviz-pure, unless the system has the real one."""
    dot = VENV / "bin" / "dot"
    if not os.path.lexists(str(dot)) and shutil.which("dot") is None:
        dot.symlink_to("graphviz-pure")


def run(*command, check=False, env=None):
    """Run a command, showing how far it is; return whether it succeeded.

    With `check`, or where the disk is full, a failure ends the set-up with one sentence.
    """
    lines = []
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=str(ROOT),
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout:
            lines.append(line)
            if line.strip().startswith(PROGRESS):
                print(line, end="", flush=True)
    text = "".join(lines)
    succeeded = process.returncode == 0
    if not succeeded and re.search(FULL, text):
        stop(
            f"The disk is full: the set-up needs {GIGABYTES} GB in {VENV} and as much again for what it downloads "
            "(three times that where PyTorch comes with CUDA): make some room, then run the same command again."
        )
    if not succeeded and check:
        if re.search(OFFLINE, text, re.IGNORECASE):
            stop("The package index cannot be reached, and the set-up needs it: check the network and pip's settings.")
        stop("{}\nThe set-up failed at this step: {}".format(text, " ".join(str(part) for part in command)))
    return succeeded


def stop(sentence):
    """End the set-up with the one sentence that says what is wrong."""
    sys.exit(f"\n{sentence}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        stop("The set-up was interrupted; the same command takes it up again.")
