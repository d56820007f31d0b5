"""Make a folder from which tvtasks is installed on a computer without internet.

    python deployments/bundle.py DIR --platform windows --python 3.13

The folder holds the wheels of tvtasks and of all that it needs, an installer for Windows and one for Linux,
the documentation, and a list of checksums. Copy it to the microscope's computer, which needs Python of that
version and nothing else, and run ``install.cmd`` or ``sh install.sh`` there.

If the bundle is for this computer, it is installed from the folder alone into an empty environment, and an
image is restored there.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parent.parent
PLATFORMS = {
    "windows": ["win_amd64"],
    "linux": [*(f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)), "manylinux2014_x86_64"],
}
"""Wheels that a platform takes; Linux from glibc 2.28 (Debian 10, Red Hat 8, Ubuntu 18.10)."""
MARKERS = {
    "windows": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
}
PRIVATE = shutil.ignore_patterns("__pycache__", ".env", "secrets")
MACHINE = {"windows": "AMD64", "linux": "x86_64"}
HERE = "windows" if sys.platform == "win32" else sys.platform
PYTHON_HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

INSTALL_SH = """#!/bin/sh
# Installs tvtasks from this folder, without internet:  sh install.sh [FOLDER]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${{1:-$HOME/tvtasks}}
python{python} -m venv "$target" || {{ echo "Install Python {python} with its venv module first."; exit 1; }}
"$target/bin/python" -m pip install --no-index --find-links "$here/wheels" "tvtasks[{extras}]"
echo "Installed. Try it: $target/bin/tvtasks demo"
"""
INSTALL_CMD = """@echo off
rem Installs tvtasks from this folder, without internet:  install.cmd [FOLDER]
setlocal
set "target=%~1"
if "%target%"=="" set "target=C:\\tvtasks"
py -{python} -m venv "%target%" || (echo Install Python {python} from python.org first. & exit /b 1)
set "python=%target%\\Scripts\\python"
"%python%" -m pip install --no-index --find-links "%~dp0wheels" "tvtasks[{extras}]" || exit /b 1
echo Installed. Try it: "%target%\\Scripts\\tvtasks" demo
"""


def main() -> None:
    """Read the command line, make the bundle, and check it if it is for this computer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a new folder for the bundle")
    parser.add_argument("--platform", choices=sorted(PLATFORMS), default=HERE)
    parser.add_argument(
        "--python", default=PYTHON_HERE, help="version of Python on that computer, such as 3.13"
    )
    parser.add_argument("--extras", default="fast,spm", help="extras of tvtasks, separated by commas")
    asked = parser.parse_args()
    if asked.folder.exists() and any(asked.folder.iterdir()):
        parser.error(f"{asked.folder} is not empty: name a new folder.")
    make(asked.folder, asked.platform, asked.python, asked.extras)
    print(f"{len(list((asked.folder / 'wheels').iterdir()))} wheels in {asked.folder}")
    if (asked.platform, asked.python) == (HERE, PYTHON_HERE):
        check(asked.folder, asked.extras)
        print("Checked: installed without an index, and an image restored.")
    else:
        print(f"Not tried: this computer has {HERE} and Python {PYTHON_HERE}.")


def make(folder: Path, platform: str, python: str, extras: str) -> None:
    """Fill the folder."""
    wheels = folder / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    collect(wheels, platform, python, extras)
    add_installers(folder, python, extras)
    add_documents(folder)
    add_checksums(folder)


def collect(wheels: Path, platform: str, python: str, extras: str) -> None:
    """Build the wheel of tvtasks, and fetch the wheels of all that it needs."""
    pip("wheel", "--no-deps", "--wheel-dir", wheels, CHECKOUT)
    (own,) = wheels.iterdir()
    wanted = [f"tvtasks[{extras}] @ {own.resolve().as_uri()}"]
    while wanted:  # pip judges by this computer what another one needs, so what it left out is fetched after
        pip("download", "--dest", wheels, *target(platform, python), *wanted)
        wanted = missing(wheels, environment(platform, python), extras.split(","))


def add_installers(folder: Path, python: str, extras: str) -> None:
    """Write the installers for both shells."""
    names = {"python": python, "extras": extras}
    (folder / "install.sh").write_text(INSTALL_SH.format(**names), "utf-8", newline="\n")
    (folder / "install.cmd").write_text(INSTALL_CMD.format(**names), "utf-8", newline="\r\n")


def add_documents(folder: Path) -> None:
    """Copy the documentation, and the files for services."""
    for name in ("README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, folder)
    for name in ("docs", "deployments"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=PRIVATE)


def add_checksums(folder: Path) -> None:
    """Write the checksums of all files, as ``sha256sum --check`` reads them."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    (folder / "SHA256SUMS").write_text("".join(lines), "utf-8", newline="\n")


def pip(*words: str | Path) -> None:
    """Run pip in this interpreter; end with its message if it fails."""
    done = subprocess.run([sys.executable, "-m", "pip", "--quiet", *map(str, words)], check=False)
    if done.returncode:
        sys.exit("The bundle is not complete: pip's message above names what could not be had.")


def target(platform: str, python: str) -> list[str]:
    """Return pip's options for wheels of another computer."""
    abi = "cp" + python.replace(".", "")
    words = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for tag in (abi, "abi3", "none"):
        words += ["--abi", tag]
    for tag in PLATFORMS[platform]:
        words += ["--platform", tag]
    return words


def environment(platform: str, python: str) -> dict[str, str]:
    """Return what the markers of requirements refer to, on that computer."""
    return MARKERS[platform] | {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "platform_machine": MACHINE[platform],
    }


def missing(wheels: Path, there: dict[str, str], extras: list[str]) -> list[str]:
    """Return the requirements that no wheel in the folder fulfils on that computer."""
    names = {canonicalize_name(path.name.split("-")[0]) for path in wheels.iterdir()}
    wanted: dict[str, set[str]] = {"tvtasks": {"", *extras}}  # the extras that are asked of each package
    left: dict[str, str] = {}
    todo = ["tvtasks"]
    while todo:
        name = todo.pop()
        (wheel,) = (path for path in wheels.iterdir() if canonicalize_name(path.name.split("-")[0]) == name)
        for requirement in requirements(wheel):
            marker = requirement.marker
            if marker and not any(marker.evaluate(there | {"extra": extra}) for extra in wanted[name]):
                continue
            needed = canonicalize_name(requirement.name)
            if needed not in names:
                left[needed] = f"{requirement.name}{requirement.specifier}"
            elif not {"", *requirement.extras} <= wanted.get(needed, set()):
                wanted[needed] = {"", *requirement.extras} | wanted.get(needed, set())
                todo.append(needed)
    return sorted(left.values())


def requirements(wheel: Path) -> list[Requirement]:
    """Return what a wheel requires."""
    with zipfile.ZipFile(wheel) as file:
        (name,) = (
            name for name in file.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1
        )
        headers = HeaderParser().parsestr(file.read(name).decode("utf-8"))
    return [Requirement(text) for text in headers.get_all("Requires-Dist", [])]


def check(folder: Path, extras: str) -> None:
    """Install from the folder alone into an empty environment, and restore an image there."""
    with tempfile.TemporaryDirectory(prefix="tvtasks-bundle-") as place:
        venv.create(place, with_pip=True)
        python = Path(place, "Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        wheels = str((folder / "wheels").resolve())
        scan, archive = str(Path(place, "scan.npy")), str(Path(place, "archive"))
        save = f"import numpy; numpy.save({scan!r}, numpy.random.default_rng(0).random((64, 64)))"
        for words in (
            ["-m", "pip", "--quiet", "install", "--no-index", "--find-links", wheels, f"tvtasks[{extras}]"],
            ["-m", "pip", "check"],
            ["-c", save],
            ["-m", "tvtasks.cli", "restore", scan, "--archive", archive, "--no-dashboard"],
        ):
            if subprocess.run([python, *words], env=without_internet(), cwd=place, check=False).returncode:
                sys.exit(f"The bundle does not work: {' '.join(words[:3])} failed, see above.")


def without_internet() -> dict[str, str]:
    """Return an environment in which pip and Python know no other place for packages, and no way out."""
    alone = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("PIP_", "UV_", "PYTHON", "NUMBA_"))
        and not name.upper().endswith("_PROXY")
    }
    blocked = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    return (
        alone
        | blocked
        | {
            "no_proxy": "127.0.0.1,localhost",
            "PIP_CONFIG_FILE": os.devnull,
            "PYTHONNOUSERSITE": "1",
        }
    )


if __name__ == "__main__":
    main()
