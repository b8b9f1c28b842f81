"""Runs submitted to a cluster as jobs, as ``ray job submit --working-dir . -- ...`` does."""

import shutil
import sys
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster
from ray.job_submission import JobInfo, JobStatus, JobSubmissionClient

from runs import (
    block_in_package,
    events,
    local_model,
    result_of,
    steps_trained,
    wait_until,
)

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]

SMALL = "--max-train-images 400 --num-blocks 3 --batch-size 32 --no-plots --device cpu"


@pytest.fixture(scope="module")
def working_dir(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose code differs from the installed one: its workers say another host.

    Beside it lies a package with a block.
    """
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("noprop_dist", "jobs"):
        shutil.copytree(repo / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    worker = folder / "noprop_dist/distributed/worker.py"
    code = worker.read_text()
    assert "platform.node()" in code
    worker.write_text(code.replace("platform.node()", "'from-the-checkout'"))
    block_in_package(folder)
    return folder


@pytest.fixture
def client(cluster: Cluster) -> JobSubmissionClient:
    made = JobSubmissionClient(f"http://{cluster.webui_url}")
    wait_until(lambda: isinstance(made.list_jobs(), list))
    return made


def submit(
    client: JobSubmissionClient,
    working_dir: Path,
    options: str,
    home: Path,
    script: str = "train.py",
) -> str:
    environment = {"HOME": str(home), "RAY_JOB_STOP_WAIT_TIME_S": "20"}
    job: list[str] = []

    def submitted() -> bool:
        try:
            job.append(
                client.submit_job(
                    entrypoint=f"{sys.executable} jobs/{script} {SMALL} {options}",
                    runtime_env={"working_dir": str(working_dir), "env_vars": environment},
                )
            )
        except RuntimeError as error:  # the cluster's own agents take a while on a busy machine
            if "No available agent" not in str(error):
                raise
        return bool(job)

    wait_until(submitted)
    return job[0]


def ended(client: JobSubmissionClient, job: str) -> JobInfo:
    wait_until(lambda: client.get_job_status(job).is_terminal(), 120)
    return client.get_job_info(job)


def test_submitted_run_trains_with_the_code_of_its_working_directory(
    client: JobSubmissionClient, working_dir: Path, tmp_path: Path
) -> None:
    own = "--block of_blocks.inner.blocks:Own"
    job = submit(client, working_dir, f"--epochs 2 --name a {own}", tmp_path)
    info = ended(client, job)
    logs = client.get_job_logs(job)
    assert info.driver_exit_code == 0, logs
    assert info.status == JobStatus.SUCCEEDED
    # The working directory is temporary, so what a run leaves is in the home directory.
    folder = tmp_path / "checkpoints_run/a"
    assert f"results in {folder}" in logs
    assert "epoch 2/2" in logs
    assert result_of(folder)["epochs"] == 2
    assert {e["host"] for e in events(folder, "worker_started")} == {"from-the-checkout"}


def test_submitted_sweep_is_searched_with_the_code_of_its_working_directory(
    client: JobSubmissionClient, working_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "space.yaml").write_text("lr: {choice: [1e-3, 3e-3]}\n")
    options = f"--epochs 1 --name a --samples 2 --space {tmp_path / 'space.yaml'}"
    job = submit(client, working_dir, f"{options} --workers-per-trial 1", tmp_path, "tune.py")
    info = ended(client, job)
    logs = client.get_job_logs(job)
    assert info.driver_exit_code == 0, logs
    folder = tmp_path / "checkpoints_run/a"
    assert f"best settings in {folder}/best_config.yaml" in logs
    for number in (0, 1):
        started = events(folder / f"trials/000{number}", "worker_started")
        assert {e["host"] for e in started} == {"from-the-checkout"}


def test_bad_option_of_a_submitted_run_is_one_sentence_and_exit_code_2(
    client: JobSubmissionClient, working_dir: Path, tmp_path: Path
) -> None:
    job = submit(client, working_dir, "--lrr 1", tmp_path)
    info = ended(client, job)
    assert info.status == JobStatus.FAILED
    assert info.driver_exit_code == 2
    assert "error: Unrecognized options: --lrr, 1; did you mean --lr?" in client.get_job_logs(job)


def test_stopped_job_goes_on_when_it_is_submitted_again(
    client: JobSubmissionClient, working_dir: Path, tmp_path: Path
) -> None:
    options = "--epochs 14 --embedding-type learned"
    folder = tmp_path / "run"
    job = submit(client, working_dir, f"{options} --run-dir {folder}", tmp_path)
    wait_until(lambda: len(events(folder, "round_closed")) > 3)
    assert client.stop_job(job)
    assert ended(client, job).status == JobStatus.STOPPED
    assert "goes on from" in client.get_job_logs(job)
    trained = len(events(folder, "round_closed"))
    assert trained < 14

    job = submit(client, working_dir, f"{options} --run-dir {folder}", tmp_path)
    info = ended(client, job)
    assert info.driver_exit_code == 0, client.get_job_logs(job)
    (_, again) = events(folder, "run_started")
    assert again["checkpoint"] is not None
    assert steps_trained(folder) == 3 * 14 * 11
    assert result_of(folder)["block_sha256"] == local_model(14, "learned").block_sha256
