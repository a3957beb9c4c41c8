"""On what code, packages and hardware a run was made."""

from __future__ import annotations

import functools
import getpass
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from winnow import __version__
from winnow.tracking.keys import COMMIT, VERSION


def build_provenance_tags() -> dict[str, str]:
    """Return the tags that tell who ran what code; MLflow sets the commit for plain scripts only."""
    tags = {
        "mlflow.user": _user(),
        "mlflow.source.name": Path(sys.argv[0]).name,
        "mlflow.source.type": "LOCAL",
        "winnow.argv": " ".join(sys.argv[1:]),
        VERSION: __version__,
    }
    if commit := current_commit():
        tags[COMMIT] = commit
        tags["winnow.git.dirty"] = str(bool(uncommitted_changes() or untracked_files())).lower()
    return tags


def current_commit() -> str:
    """Return the commit that the working tree stands at, empty where there is no git."""
    return _git("rev-parse", "HEAD")


def uncommitted_changes() -> str:
    """Return the difference of the working tree to its commit, empty where there is none or no git."""
    return _git("diff", "HEAD")


def untracked_files() -> str:
    """Return the files that git neither tracks nor ignores, a line each: the difference does not show them."""
    return _git("ls-files", "--others", "--exclude-standard")


@functools.cache
def installed_packages() -> str:
    """Return the installed packages, a line each, in the form that pip reads."""
    found = {dist.metadata["Name"]: dist.version for dist in metadata.distributions() if dist.metadata["Name"]}
    return "\n".join(f"{name}=={version}" for name, version in sorted(found.items(), key=lambda item: item[0].lower()))


def hardware() -> dict[str, str | int]:
    """Return the machine's processor, cores, threads and accelerators."""
    import psutil
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": ", ".join(gpus) or "none",
        "cuda": torch.version.cuda or "none",
    }


class MachineLoad:
    """How busy this process and its machine are, under the names that MLflow's pages show as system metrics."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only starts the watch

    def read(self) -> dict[str, float]:
        """Return the load since the last call: CPU of this process in percent of one core, and memory in MiB."""
        import psutil

        found = {
            "system/process_cpu_percent": self._process.cpu_percent(),
            "system/process_memory_mib": self._process.memory_info().rss / 2**20,
            "system/memory_used_percent": psutil.virtual_memory().percent,
        }
        torch = sys.modules.get("torch")  # loaded by whoever trains, and by nobody for this
        if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
            for place in range(torch.cuda.device_count()):
                found[f"system/gpu_{place}_memory_mib"] = torch.cuda.memory_reserved(place) / 2**20
        return found


def _processor() -> str:
    """Return the processor's own name, which `platform.processor` does not give on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user entry
        return "unknown"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603, S607
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
