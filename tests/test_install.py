"""Tests that the lock files agree with the constraints, and that the demo does not install the development tools."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
OTHER_BUILDS = re.compile("torch|triton|nvidia-.*|cuda-.*")  # depend on the device


def read_pins(lines: list[str]) -> dict[str, str]:
    """Return the pinned version of each package that this kind of machine (CPython on Linux) installs."""
    environment = {"sys_platform": "linux", "platform_python_implementation": "CPython", "platform_machine": "x86_64"}
    requirements = [Requirement(line.removesuffix("\\").strip()) for line in lines if re.match(r"[A-Za-z].*==", line)]
    return {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate(environment)
    }


@pytest.fixture(scope="module")
def constraints() -> dict[str, str]:
    return read_pins((ROOT / "constraints.txt").read_text().splitlines())


def test_requirements_lock_agrees_with_the_constraints_and_has_hashes(constraints: dict[str, str]) -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = read_pins(lines)
    assert locked.items() <= constraints.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    assert direct - {"torch"} <= set(locked)
    assert not [name for name in locked if OTHER_BUILDS.fullmatch(name)]
    allowed = re.compile(r"#.*|    --hash=sha256:[0-9a-f]{64}( \\)?|[A-Za-z][^/@]*==[^/@]* \\")
    assert [line for line in lines if not allowed.fullmatch(line)] == []  # in particular, no addresses or paths


def test_uv_lock_agrees_with_the_constraints_and_names_only_the_public_index(constraints: dict[str, str]) -> None:
    text = (ROOT / "uv.lock").read_text()
    packages = {package["name"]: package.get("version") for package in tomllib.loads(text)["package"]}
    assert {name: packages.get(name) for name in constraints} == constraints
    others = set(packages) - set(constraints) - {"winnow-mlm"}
    windows_and_macos = {"appnope", "colorama", "pywin32", "tzdata", "waitress"}
    assert {name for name in others if not OTHER_BUILDS.fullmatch(name)} == windows_and_macos
    assert set(re.findall(r"https?://[^/\"]*", text)) == {"https://pypi.org", "https://files.pythonhosted.org"}
    assert "file:" not in text


@pytest.mark.slow
@pytest.mark.parametrize(("target", "extras"), [("demo", []), ("docs", ["docs"]), ("test", ["dev"])])
def test_each_make_target_installs_what_it_needs(target: str, extras: list[str], tmp_path: Path) -> None:
    command = ["make", "--dry-run", target, f"VENV={tmp_path / 'venv'}"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"--editable '?\.(?:\[(.*)\])?'?$", output, re.MULTILINE) == ["", *extras]
    assert re.search(r"--constraint constraints.txt --no-deps --retries 2 --extra-index-url \S+/cpu torch\n", output)
