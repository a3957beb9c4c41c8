"""Collect the code version, installed packages and hardware for a run."""

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
from winnow.machine import processor_name
from winnow.tracking.keys import COMMIT, WINNOW_VERSION


def build_provenance_tags() -> dict[str, str]:
    """Return tags with the user, command, version and git commit; MLflow sets the commit only for plain scripts."""
    tags = {
        "mlflow.user": _user_name(),
        "mlflow.source.name": Path(sys.argv[0]).name,
        "mlflow.source.type": "LOCAL",
        "winnow.argv": " ".join(sys.argv[1:]),
        WINNOW_VERSION: __version__,
    }
    if commit := read_git_commit():
        tags[COMMIT] = commit
        tags["winnow.git.dirty"] = str(bool(read_git_diff() or list_untracked_files())).lower()
    return tags


def read_git_commit() -> str:
    """Return the current git commit, or an empty string outside a repository."""
    return _run_git("rev-parse", "HEAD")


def read_git_diff() -> str:
    """Return the output of ``git diff HEAD``, or an empty string outside a repository."""
    return _run_git("diff", "HEAD")


def list_untracked_files() -> str:
    """Return the untracked files that git does not ignore, one per line; ``git diff`` does not list these files."""
    return _run_git("ls-files", "--others", "--exclude-standard")


@functools.cache
def list_installed_packages() -> str:
    """Return the installed packages in the format of ``requirements.txt``."""
    versions = {dist.metadata["Name"]: dist.version for dist in metadata.distributions() if dist.metadata["Name"]}
    return "\n".join(
        f"{name}=={version}" for name, version in sorted(versions.items(), key=lambda item: item[0].lower())
    )


def describe_hardware() -> dict[str, str | int]:
    """Return this machine's platform, Python version, processor, cores, threads, memory, GPUs and CUDA version."""
    import psutil
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processor": processor_name(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": ", ".join(gpus) or "none",
        "cuda": torch.version.cuda or "none",
    }


class MachineLoad:
    """Measures CPU and memory usage; metric names have the ``system/`` prefix, as in MLflow's system metrics."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call always returns 0

    def read(self) -> dict[str, float]:
        """Return CPU, memory and GPU metrics. CPU usage since the last call is a percentage of one core."""
        import psutil

        metrics = {
            "system/process_cpu_percent": self._process.cpu_percent(),
            "system/process_memory_mib": self._process.memory_info().rss / 2**20,
            "system/memory_used_percent": psutil.virtual_memory().percent,
        }
        torch = sys.modules.get("torch")  # don't import torch here, because importing it is slow
        if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
            for gpu in range(torch.cuda.device_count()):
                metrics[f"system/gpu_{gpu}_memory_mib"] = torch.cuda.memory_reserved(gpu) / 2**20
        return metrics


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the user may not exist in a container's password database
        return "unknown"


def _run_git(*arguments: str) -> str:
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603, S607
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
