"""Simulate what one machine can show about larger ones: a lost Ray node, 100,000 tracked runs and 10,000 cells.

    python benchmarks/scale.py --json FILE [--parts ray postgres plan]

- ``ray``: two Ray nodes score rows; one of them is killed midway. ``identical`` compares all verdicts with those of one
  process.
- ``postgres``: an MLflow server on PostgreSQL with synthetic runs, which are copies of a study of 15 runs. A fifth of
  them are in one experiment. Only the 15 runs have artifacts. Needs PostgreSQL's ``initdb``.
- ``plan``: the plan of a sweep with 10,000 cells.

Every measurement has the client's CPU seconds and the elapsed seconds, which include the server and other programs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from winnow.tracking.run_environment import describe_hardware

PARTS = ("ray", "postgres", "plan")
WORDS = ("good", "bad", "lovely", "ugly")
INDEXED_QUERIES = ("start_cell", "start_cell_large", "runs_page", "runs_page_by_metric", "resolve_unknown")
RUNS_PER_STUDY, LARGE_FRACTION = 15, 5
COPIED_PARAMETERS = COPIED_METRICS = 20


def measure(function: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Call a function; return its CPU seconds, its elapsed seconds and its result."""
    elapsed, cpu = time.perf_counter(), time.process_time()
    result = function()
    return {"cpu_seconds": time.process_time() - cpu, "seconds": time.perf_counter() - elapsed}, result


def lose_ray_node(rows: int) -> dict[str, Any]:
    """Score rows on two Ray nodes, kill one after the first batch, and compare the verdicts with one process."""
    import ray
    from ray.cluster_utils import Cluster

    from filtering import build_corpus
    from winnow.filters import Filter, Mentions, PythonFunction, VaderSentiment

    corpus = build_corpus([f"a {WORDS[row % 4]} shoe {row}" for row in range(rows)])
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "nodes"

        def record_node(texts: list[str]) -> list[float]:
            if ray.is_initialized():
                with log.open("a") as stream:
                    stream.write(f"{ray.get_runtime_context().get_node_id()}\n")
                time.sleep(0.1)
            return [float(len(text)) for text in texts]

        signals = {
            "mood": VaderSentiment(at_least=0.1),
            "shoe": Mentions(words=["shoe"]),
            "length": PythonFunction(function=record_node, at_least=1),
        }
        settings: dict[str, Any] = {"name": "ray", "signals": signals, "keep": "mood & shoe & length"}
        local, expected = measure(lambda: Filter(**settings).compute_verdicts(corpus, Path(folder) / "a", False))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        killed_at: list[int] = []

        def kill_second_node(filtered: int, kept: int) -> None:
            if not killed_at and len(set(log.read_text().splitlines())) == 2:
                cluster.remove_node(second, allow_graceful=False)
                killed_at.append(filtered)

        try:
            remote, verdicts = measure(
                lambda: Filter(**settings, engine="ray").compute_verdicts(
                    corpus, Path(folder) / "b", False, kill_second_node
                )
            )
        finally:
            ray.shutdown()
            cluster.shutdown()
        batches = log.read_text().splitlines()
    return {
        "rows": rows,
        "rows_before_the_kill": killed_at,
        "batches_per_node": sorted(map(batches.count, set(batches))),
        "identical": verdicts.table.equals(expected.table),
        "kept": int(verdicts.keep_mask().sum()),
        "one_process": local,
        "two_nodes_with_one_killed": remote,
    }


def plan_cells(arms: int = 250) -> dict[str, Any]:
    """Plan a sweep with 40 seeds per arm in a new process."""
    script = Path(__file__).with_name("sweep_planning.py")
    output = subprocess.run(
        [sys.executable, script, "--arms", str(arms), "--without-full"], check=True, capture_output=True, text=True
    ).stdout
    plan: dict[str, Any] = json.loads(output)
    return plan


@contextmanager
def start_database(folder: Path) -> Iterator[str]:
    """Start PostgreSQL in a folder and yield the URI of an empty database."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    path = os.pathsep.join([*map(str, binaries[-1:]), os.environ["PATH"]])
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        shutil.chown(folder, "postgres")
    owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []

    def run(command: str) -> None:
        with (folder.parent / "database.log").open("ab") as log:
            subprocess.run(
                [*owner, "env", f"PATH={path}", "bash", "-ec", command], check=True, stdout=log, stderr=log, cwd=folder
            )

    port = find_port()
    run(f"initdb --pgdata={folder}/data --username=mlflow --auth=trust --encoding=UTF8 --no-sync")
    options = (
        f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off "
        "-c synchronous_commit=off -c max_wal_size=8GB -c shared_buffers=512MB "
        "-c shared_preload_libraries=pg_stat_statements"
    )
    run(f'pg_ctl --pgdata={folder}/data --log={folder}/server.log --wait --options="{options}" start')
    try:
        run(f"createdb --host=127.0.0.1 --port={port} --username=mlflow mlflow")
        yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/mlflow"
    finally:
        run(f"pg_ctl --pgdata={folder}/data --mode=immediate --wait stop")


@contextmanager
def start_server(database: str, folder: Path, port: int) -> Iterator[str]:
    """Start an MLflow server on a database and yield its URI."""
    environment = os.environ | {"MLFLOW_BACKEND_STORE_URI": database, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [Path(sys.executable).with_name("mlflow"), "server", "--host", "127.0.0.1", "--port", str(port)]
    arguments = ["--artifacts-destination", str(folder / "artifacts"), "--workers", "1"]
    with (folder / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, *arguments], env=environment, start_new_session=True, stdout=log, stderr=log, cwd=folder
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def wait_for(address: str, seconds: float = 300) -> None:
    """Wait until a server responds."""
    import urllib.request

    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def find_port() -> int:
    """Return a free port on this machine."""
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


COPY_RUNS = f"""
CREATE TEMP TABLE template AS SELECT *, row_number() OVER (ORDER BY start_time) - 1 AS number FROM runs
    WHERE experiment_id = %(source)s AND run_uuid IN (SELECT run_uuid FROM tags WHERE value = 'cell');
CREATE TEMP TABLE copies AS SELECT md5(i::text) AS id, number, i,
    CASE WHEN i < %(runs)s / {LARGE_FRACTION} THEN 'large' ELSE 'study-' || i / {RUNS_PER_STUDY} END AS study
    FROM generate_series(0, %(runs)s - 1) i JOIN template ON number = i %% {RUNS_PER_STUDY};
INSERT INTO experiments (name, lifecycle_stage, artifact_location, creation_time, last_update_time, workspace)
    SELECT study, 'active', 'mlflow-artifacts:/none', min(i), min(i), 'default' FROM copies GROUP BY study;
INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time,
    source_version, lifecycle_stage, artifact_uri, experiment_id)
    SELECT id, t.name, source_type, source_name, entry_point_name, user_id, status, start_time + i, end_time + i,
    source_version, t.lifecycle_stage, artifact_uri, e.experiment_id
    FROM copies JOIN template t USING (number) JOIN experiments e ON e.name = study;
CREATE TEMP TABLE pairs AS SELECT run_uuid AS source, id, study FROM copies JOIN template USING (number);
INSERT INTO tags (key, value, run_uuid) SELECT key, CASE key WHEN 'winnow.study' THEN study
    WHEN 'winnow.cell_id' THEN substr(id, 1, 16) ELSE value END, id FROM tags JOIN pairs ON run_uuid = source;
INSERT INTO params (key, value, run_uuid) SELECT key, value, id FROM pairs CROSS JOIN LATERAL
    (SELECT * FROM params WHERE run_uuid = source ORDER BY key LIMIT {COPIED_PARAMETERS}) p;
INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)
    SELECT key, value, timestamp, step, is_nan, id FROM pairs CROSS JOIN LATERAL
    (SELECT * FROM latest_metrics WHERE run_uuid = source ORDER BY key LIMIT {COPIED_METRICS}) m;
ANALYZE;
"""


def fill_database(database: str, experiment_id: str, runs: int) -> dict[str, Any]:
    """Copy the runs of an experiment until the store has the given number of additional runs."""
    import psycopg2

    connection = psycopg2.connect(database.replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION pg_stat_statements")
        measured, _ = measure(lambda: cursor.execute(COPY_RUNS, {"source": experiment_id, "runs": runs}))
        cursor.execute("SELECT count(*) FROM experiments")
        experiments = cursor.fetchone()[0]
        cursor.execute("SELECT pg_database_size('mlflow')")
        size = cursor.fetchone()[0]
    connection.close()
    return {"seconds": measured["seconds"], "experiments": experiments, "database_megabytes": size / 1e6}


def list_slowest_queries(database: str, count: int = 5) -> list[dict[str, Any]]:
    """Return the queries with the longest mean time since the statistics were last reset, and reset them."""
    import psycopg2

    connection = psycopg2.connect(database.replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT left(query, 400), calls, mean_exec_time, rows FROM pg_stat_statements "
            "ORDER BY mean_exec_time DESC LIMIT %s",
            [count],
        )
        keys = ("query", "calls", "mean_milliseconds", "rows")
        slowest = [dict(zip(keys, row, strict=True)) for row in cursor.fetchall()]
        cursor.execute("SELECT pg_stat_statements_reset()")
    connection.close()
    return slowest


def build_queries(uri: str, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return the measured operations by name."""
    from mlflow import MlflowClient

    from winnow.errors import WinnowError
    from winnow.reporting import compare
    from winnow.tracking import Store
    from winnow.tracking.process.stale_runs import close_stale_runs
    from winnow.tracking.run_queries import load_attempts
    from winnow.tracking.run_references import resolve_run

    store, client = Store(uri=uri), MlflowClient(uri)
    large = client.get_experiment_by_name("large").experiment_id

    def start_cell(name: str) -> None:
        experiment = store.experiment(name)
        close_stale_runs(store, experiment)
        load_attempts(store, experiment, "0123456789abcdef")
        run = client.create_run(experiment)
        client.set_terminated(run.info.run_id)
        client.delete_run(run.info.run_id)

    def resolve_unknown_run() -> None:
        try:
            resolve_run(client, "f" * 32)
        except WinnowError:
            return
        raise AssertionError("an unknown run was found")

    newest = ["attributes.start_time DESC"]
    by_loss = ["metrics.`final/test/all/loss` ASC"]
    return {
        "compare": lambda: compare(uri, "thousand", folder / "out", publish=False),
        "start_cell": lambda: start_cell("thousand"),
        "start_cell_large": lambda: start_cell("large"),
        "runs_page": lambda: client.search_runs([large], max_results=100, order_by=newest),
        "runs_page_by_metric": lambda: client.search_runs([large], max_results=100, order_by=by_loss),
        "experiments_page": lambda: client.search_experiments(max_results=25),
        "resolve_prefix": lambda: resolve_run(client, "c4ca4238a0b9"),
        "resolve_unknown": resolve_unknown_run,
    }


def query_tracked_runs(runs: int) -> dict[str, Any]:
    """Measure commands and pages on a server whose store has many runs."""
    from comparison import write_study
    from winnow.tracking import Store

    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        folder.chmod(0o755)
        (folder / "pg").mkdir()
        with start_database(folder / "pg") as database, start_server(database, folder, find_port()) as uri:
            local = Store(uri=database, artifacts=str(folder / "artifacts"))
            write_study(local, RUNS_PER_STUDY // 5)
            filled = fill_database(database, local.experiment("thousand"), runs)
            queries = build_queries(uri, folder)
            measured = measure_queries(database, queries)
            execute(database, "CREATE INDEX ON runs (experiment_id, start_time); ANALYZE runs")
            indexed = measure_queries(database, {name: queries[name] for name in INDEXED_QUERIES})
    return {"runs": runs, **filled, **measured, "with_index": indexed}


def measure_queries(database: str, queries: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """Measure operations and the slowest database query of each."""
    measured: dict[str, Any] = {}
    for name, query in queries.items():
        query()  # warm the caches of the database
        list_slowest_queries(database)
        measured[name], _ = measure(query)
        measured[name]["slowest_query"] = list_slowest_queries(database, 1)
    return measured


def execute(database: str, statement: str) -> None:
    """Execute an SQL statement."""
    import psycopg2

    connection = psycopg2.connect(database.replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


def main() -> None:
    """Run the selected simulations, and print and save the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rows", type=int, default=100_000, help="rows that the Ray nodes score")
    parser.add_argument("--runs", type=int, default=100_000, help="synthetic runs in PostgreSQL")
    options = parser.parse_args()
    simulations: dict[str, Callable[[], dict[str, Any]]] = {
        "ray": lambda: lose_ray_node(options.rows),
        "postgres": lambda: query_tracked_runs(options.runs),
        "plan": plan_cells,
    }
    results: dict[str, Any] = {"hardware": describe_hardware()}
    for part in options.parts:
        load = os.getloadavg()[0]
        results[part] = simulations[part]() | {"load_average_before": load}
    text = json.dumps(results, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
