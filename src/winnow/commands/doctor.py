"""`winnow doctor`: checks the installation and prints what is missing and how to get it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from winnow import __version__
from winnow.config import StoreConfig, construct
from winnow.errors import WinnowError
from winnow.tracking import Store
from winnow.tracking.embedded_store import SQLITE_PREFIX

Status = Literal["ok", "optional", "problem"]
_STYLES: Final = {"ok": "green", "optional": "yellow", "problem": "red"}

DISTRIBUTION: Final = "winnow-mlm"
DEVELOPER_EXTRAS: Final = ("benchmarks", "dev", "docs")
MAIN_PACKAGES: Final = ("torch", "pytorch-lightning", "transformers", "mlflow", "hydra-core", "datasets", "pyarrow")
BROWSERS: Final = ("chromium", "google-chrome", "chromium-browser")
MIN_FREE_BYTES: Final = 10**9
LOW_FREE_BYTES: Final = 5 * 10**9
"""Less free space than this is reported, because a checkpoint of DistilBERT takes almost 1 GB."""
NETWORK_TIMEOUT_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: What was checked.
        status: `problem` if Winnow does not work without a fix, `optional` if only some features are missing.
        detail: The state that was found.
        fix: How to get what is missing; empty if nothing is missing.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""


def run_doctor(config: StoreConfig, console: Console) -> int:
    """Print the result of every check. Return 1 if a check found a problem, otherwise 0."""
    checks = [*_check_packages(), check_device(), *_check_stores(config), *_check_surroundings(config)]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for check in checks:
        text = escape(check.detail) + (f"\n[bold]fix[/bold]: {escape(check.fix)}" if check.fix else "")
        grid.add_row(f"[{_STYLES[check.status]}]{check.status}[/]", check.name, text)
    console.print(grid)
    console.print()
    problems = sum(check.status == "problem" for check in checks)
    missing = any(check.status == "optional" for check in checks)
    if problems:
        console.print(f"[bold red]{problems} {'problem' if problems == 1 else 'problems'}[/bold red]")
    else:
        console.print(
            "[bold]Winnow is ready.[/bold] Optional items are needed only for the features named above."
            if missing
            else "[bold]Winnow is ready.[/bold]",
            soft_wrap=True,
        )
    return 1 if problems else 0


def _check_packages() -> Iterator[Check]:
    python_version = ".".join(map(str, sys.version_info[:3]))
    is_supported = sys.version_info >= (3, 11)
    yield Check(
        "Python",
        "ok" if is_supported else "problem",
        f"{python_version}, {sys.executable}",
        "" if is_supported else "Install Python 3.11 or newer.",
    )
    versions = (f"{name} {version}" for name in MAIN_PACKAGES if (version := find_version(name)))
    yield Check("versions", "ok", ", ".join([f"winnow {__version__}", *versions]))
    if find_version(DISTRIBUTION) is None:
        fix = "In the folder of the repository: pip install --constraint constraints.txt --editable ."
        yield Check("packages", "problem", f"{DISTRIBUTION} is not installed in this environment", fix)
        return
    requirements = _read_requirements()
    missing = [name for name, extra in requirements if not extra and find_version(name) is None]
    if missing:
        yield Check("packages", "problem", f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    for extra in sorted({extra for _, extra in requirements if extra and extra not in DEVELOPER_EXTRAS}):
        absent = [name for name, of in requirements if of == extra and find_version(name) is None]
        if absent:
            yield Check(
                f"extra {extra}", "optional", f"not installed: {', '.join(absent)}", f"pip install {' '.join(absent)}"
            )


def find_version(package: str) -> str | None:
    """Return the version of an installed package, or `None`. The package is not imported."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _read_requirements() -> list[tuple[str, str]]:
    """Return the name of each required package and the extra that requires it, which is empty for all installations."""
    requirements = []
    for line in metadata.requires(DISTRIBUTION) or []:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if name and name[0] != DISTRIBUTION:
            requirements.append((name[0], extra[1] if extra else ""))
    return requirements


def check_device() -> Check:
    """Return the device for training. PyTorch is imported only if the machine seems to have an accelerator."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    description = f"{cores} CPU cores{_describe_memory()}"
    has_driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    is_apple = sys.platform == "darwin" and platform.machine() == "arm64"
    if not (has_driver or is_apple):
        return Check("device", "ok", f"{description}; no GPU driver. Use trainer=cpu, the default.")
    try:
        import torch
    except Exception as error:  # a damaged installation raises errors of many types
        return Check(
            "device", "problem", f"PyTorch cannot be imported ({error})", "pip install --force-reinstall torch"
        )
    if torch.cuda.is_available():
        names = sorted({torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())})
        return Check("device", "ok", f"{description}; {torch.cuda.device_count()} x {', '.join(names)}: trainer=gpu")
    if is_apple and torch.backends.mps.is_available():
        return Check("device", "ok", f"{description}; Apple GPU: trainer=gpu trainer.accelerator=mps")
    return Check(
        "device",
        "optional",
        f"{description}; PyTorch {torch.__version__} cannot use the GPU",
        "Install a CUDA build: https://pytorch.org/get-started/locally",
    )


def _describe_memory() -> str:
    try:
        import psutil
    except ImportError:
        return ""
    return f", {psutil.virtual_memory().available / 1e9:.1f} GB of memory available"


def _check_stores(config: StoreConfig) -> Iterator[Check]:
    try:
        store = construct(config.tracking, "tracking", Store, config.allow_targets)
    except WinnowError as error:
        yield Check("store", "problem", str(error), "Correct the value.")
        return
    if store.is_server:
        yield _check_server(store)
    elif store.uri.startswith(SQLITE_PREFIX):
        yield check_database(Path(store.tracking_uri.removeprefix(SQLITE_PREFIX)))
    else:
        yield Check("store", "ok", f"{store.redacted_uri} (not checked)")
    waiting = sum(path.is_file() for path in Path(store.spool).rglob("*")) if Path(store.spool).is_dir() else 0
    if waiting:
        yield Check("spool", "optional", f"{waiting} files in {store.spool} are not uploaded", "winnow sync")


def _check_server(store: Store) -> Check:
    address = store.redacted_uri
    try:
        url = f"{store.uri.rstrip('/')}/health"
        urllib.request.urlopen(url, timeout=NETWORK_TIMEOUT_SECONDS).close()  # noqa: S310 - the user's own address
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Check(
            "store", "problem", f"{address} does not respond ({reason})", "Start the server, or omit tracking=server."
        )
    return Check("store", "ok", f"{address} responds")


def check_database(file: Path) -> Check:
    """Check the embedded store without creating it and without importing MLflow."""
    if not file.exists():
        return Check("store", "ok", f"{file} does not exist yet; the first run creates it")
    try:
        with closing(sqlite3.connect(file, timeout=NETWORK_TIMEOUT_SECONDS, isolation_level=None)) as connection:
            (runs,) = connection.execute("SELECT count(*) FROM runs").fetchone()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        return Check(
            "store",
            "problem",
            f"{file} cannot be used ({error})",
            "Close the program that uses it, restore a backup, or choose another folder with output_dir=FOLDER.",
        )
    return Check("store", "ok", f"{file}: {runs:,} runs")


def _check_surroundings(config: StoreConfig) -> Iterator[Check]:
    folder = find_existing_folder(config.output_dir)
    yield check_disk(folder, shutil.disk_usage(folder).free)
    is_git = shutil.which("git") is not None
    yield Check(
        "git",
        "ok" if is_git else "optional",
        "found" if is_git else "not found; runs do not record the commit of your code",
        "" if is_git else "Install git, for example with: apt-get install git",
    )
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    yield Check(
        "browser",
        "ok" if browser else "optional",
        browser or "no Chromium on this machine; only the browser tests need it. Reports open in any browser.",
        "" if browser else "Install Chromium, for example with: apt-get install chromium",
    )
    yield _check_network()


def find_existing_folder(folder: Path) -> Path:
    """Return the folder, or its first parent that exists."""
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())


def check_disk(folder: Path, free_bytes: int) -> Check:
    """Check the permissions of an existing folder and the free space on its disk."""
    detail = f"{free_bytes / 1e9:.1f} GB free in {folder}"
    if not os.access(folder, os.W_OK):
        return Check("disk", "problem", f"{folder} is not writable", "Choose another folder with output_dir=FOLDER.")
    if free_bytes < LOW_FREE_BYTES:
        status: Status = "problem" if free_bytes < MIN_FREE_BYTES else "optional"
        return Check("disk", status, detail, "Free disk space, or choose another disk with output_dir=FOLDER.")
    return Check("disk", "ok", detail)


def _check_network() -> Check:
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    fix = "Only models and datasets from the Hub need it. To use a mirror, set HF_ENDPOINT."
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        return Check("network", "optional", "HF_HUB_OFFLINE is set, so nothing is downloaded from the Hub", fix)
    try:
        request = urllib.request.Request(address, method="HEAD")  # noqa: S310 - the user's own address
        urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT_SECONDS).close()  # noqa: S310 - the same request
    except urllib.error.HTTPError:
        pass  # the server responds, which is sufficient
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Check("network", "optional", f"the Hub at {address} does not respond ({reason})", fix)
    return Check("network", "ok", f"the Hub at {address} responds")
