"""The bundle for a computer without internet, with small wheels; `bundle.py` itself tries the real one."""

import base64
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deployments import bundle

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PROGRAM = """
def main():
    print("tvtasks of the bundle")
"""


def wheel(folder: Path, name: str, *requires: str, extras: tuple[str, ...] = (), program: str = "") -> None:
    """Write a wheel of version 1, which pip can install."""
    folder.mkdir(exist_ok=True)
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1"]
    metadata += [f"Provides-Extra: {extra}" for extra in extras] + [
        f"Requires-Dist: {text}" for text in requires
    ]
    info = f"{name}-1.dist-info"
    files = {
        f"{name}.py": program,
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if program:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {name}:main\n"
    record = ""
    with zipfile.ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as file:
        for path, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(text.encode())}\n"
            file.writestr(path, text)
        file.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")


class TestMissing:
    """What pip leaves out, since it judges by the computer that makes the bundle."""

    @pytest.mark.parametrize(
        ("platform", "python", "expected"),
        [
            ("windows", "3.13", ["colorama>=0.4"]),
            ("linux", "3.13", ["uvloop"]),
            ("linux", "3.11", ["backports", "uvloop"]),
        ],
    )
    def test_is_what_that_computer_needs(self, tmp_path, platform, python, expected):
        wheel(
            tmp_path,
            "tvtasks",
            "colorama>=0.4; sys_platform == 'win32'",
            "uvloop; platform_system != 'Windows'",
            "backports; python_version < '3.12'",
            "never; extra == 'em'",
            extras=("em",),
        )
        assert bundle.missing(tmp_path, bundle.environment(platform, python), ["fast"]) == expected

    def test_follows_extras_through_what_is_there(self, tmp_path):
        wheel(tmp_path, "tvtasks", "http_client[tls]; extra == 'fast'", extras=("fast",))
        wheel(tmp_path, "http_client", "certificates; extra == 'tls'", extras=("tls",))
        there = bundle.environment("linux", "3.13")
        assert bundle.missing(tmp_path, there, ["fast"]) == ["certificates"]
        assert bundle.missing(tmp_path, there, []) == []
        wheel(tmp_path, "certificates")
        assert bundle.missing(tmp_path, there, ["fast"]) == []


class TestFolder:
    @pytest.mark.skipif(sys.platform == "win32", reason="the installer for Linux")
    def test_its_installer_needs_no_index_and_nothing_but_python(self, tmp_path):
        wheel(tmp_path / "wheels", "tvtasks", "needed", "quick; extra == 'fast'", program=PROGRAM)
        for name in ("needed", "quick"):
            wheel(tmp_path / "wheels", name)
        bundle.add_installers(tmp_path, PYTHON, "fast")
        alone = bundle.without_internet()
        subprocess.run(
            ["sh", tmp_path / "install.sh", tmp_path / "in stalled"],
            env=alone,
            check=True,
            capture_output=True,
        )
        done = subprocess.run(
            [tmp_path / "in stalled/bin/tvtasks"], env=alone, check=True, capture_output=True, text=True
        )
        assert done.stdout == "tvtasks of the bundle\n"

    def test_its_installers_fit_their_shells(self, tmp_path):
        bundle.add_installers(tmp_path, "3.13", "fast,spm")
        windows, linux = ((tmp_path / name).read_bytes() for name in ("install.cmd", "install.sh"))
        assert windows.count(b"\r\n") == windows.count(b"\n")
        assert b"\r" not in linux
        assert b"py -3.13 -m venv" in windows
        assert b"python3.13 -m venv" in linux
        for text in (windows, linux):
            assert b"--no-index --find-links " in text
            assert b'"tvtasks[fast,spm]"' in text

    def test_carries_documents_and_no_secrets(self, tmp_path, monkeypatch):
        checkout = tmp_path / "checkout"
        carried = {"CHANGELOG.md", "LICENSE", "README.md", "deployments/compose.yaml", "docs/guide.md"}
        for name in carried | {"deployments/.env", "deployments/secrets/password"}:
            checkout.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
            checkout.joinpath(name).write_text(name, "utf-8")
        monkeypatch.setattr(bundle, "CHECKOUT", checkout)
        folder = tmp_path / "bundle"
        folder.mkdir()
        bundle.add_documents(folder)
        bundle.add_checksums(folder)
        lines = dict(
            reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text("utf-8").splitlines()
        )
        assert set(lines) == carried
        assert lines["docs/guide.md"] == hashlib.sha256(b"docs/guide.md").hexdigest()


def test_what_is_installed_knows_no_index_of_this_computer(monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", "/somewhere")
    monkeypatch.setenv("PIP_INDEX_URL", "https://example.org/simple")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.org:3128")
    there = {name.upper(): value for name, value in bundle.without_internet().items()}
    assert not {"PIP_FIND_LINKS", "PIP_INDEX_URL"} & set(there)
    assert there["HTTPS_PROXY"] == "http://127.0.0.1:9"
