"""`winnow ui`: MLflow's pages over the store, or the address of the server that shows them."""

from __future__ import annotations

import os
import subprocess
import sys

from winnow.config import UiConfig, construct
from winnow.tracking import Store
from winnow.tracking.mlflow_ui import VIEW_TAG, view_address


def run_ui(config: UiConfig) -> int:
    """Print a link to each recent study's cells, then serve MLflow's pages until Ctrl-C; return its exit code."""
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    client = store.client()
    address = store.shown_uri if store.is_server else f"http://{config.host}:{config.port}"
    for found in client.search_experiments(max_results=5, order_by=["last_update_time DESC"]):
        if VIEW_TAG in found.tags:
            print(f"{found.name:<20} {view_address(address, found.experiment_id)}")
    if store.is_server:
        print(f"The pages of this store are the server's own: {store.shown_uri}")
        return 0
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # six processes that nothing here needs
    where = ["--backend-store-uri", store.tracking_uri, "--host", config.host, "--port", str(config.port)]
    where += ["--workers", "1"]  # four, as for a team, take as many times as long to start
    command = ["-m", "mlflow", "ui", *where]
    print(f"MLflow on http://{config.host}:{config.port}; Ctrl-C ends it.")
    try:
        return subprocess.call([sys.executable, *command])  # noqa: S603 - the arguments are checked above
    except KeyboardInterrupt:
        return 0
