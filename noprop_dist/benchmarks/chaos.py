"""What a run loses when its workers, nodes and coordinator are killed, by seed."""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from noprop_dist.benchmarks.benchmark_options import ChaosBenchmark
from noprop_dist.benchmarks.local_cluster import Machine, machine
from noprop_dist.errors import UserError
from noprop_dist.record.events import read_events
from noprop_dist.record.store import Store

LIMIT_S = 3600.0  # of one run
POLL_S = 0.05
ABSENCE_S = (2.0, 8.0)  # how long a process is stopped, or a node is away

Event = dict[str, Any]


def measure_chaos(options: ChaosBenchmark) -> dict[str, Any]:
    """Train undisturbed, then again under faults, on a cluster of this machine.

    Args:
        options: what is trained and what is done to it.

    Returns:
        ``faults``: how often each kind happened; ``noticed_s``: by SIGKILL, from the signal to the
        event that says so; ``steps``: of the model; ``replayed_steps``: trained more than once,
        an estimate from above, and ``replayed``, their share; ``goodput``: useful steps per second,
        from the first unit to the last, as a share of the undisturbed run's; ``seconds`` of both;
        ``same_sha256``: whether both made the same model; ``set_aside``: blocks that were given up.

    Raises:
        UserError: a run failed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(options.folder or temporary)
        results = {}
        with machine(options.workers, apart="node" in options.faults) as there:
            for name in ("undisturbed", "disturbed"):
                run = Run(options, place / name, there.address)
                killer = Killer(options, run, there) if name == "disturbed" else None
                run.start()
                try:
                    run.wait(killer.act if killer else lambda: None)
                finally:
                    run.kill()
                results[name] = run.result()
        assert killer is not None
        logs = {name: read_events(Store(place / name)) for name in results}
    seconds = {name: span(events) for name, events in logs.items()}
    steps = sum(e["num_steps"] for e in logs["undisturbed"] if e["event"] == "unit")
    replayed = replayed_steps(logs["disturbed"], steps)
    return {
        "faults": dict(killer.counts),
        "noticed_s": [round(s, 3) for s in killer.noticed(logs["disturbed"])],
        "steps": steps,
        "replayed_steps": replayed,
        "replayed": replayed / steps,
        "goodput": seconds["undisturbed"] / seconds["disturbed"],
        "seconds": seconds,
        "same_sha256": results["disturbed"]["block_sha256"]
        == results["undisturbed"]["block_sha256"],
        "set_aside": results["disturbed"]["set_aside"],
    }


def span(events: list[Event]) -> float:
    """Seconds from the start of the first unit to the end of the last."""
    units = [e for e in events if e["event"] == "unit"]
    first = min(float(e["started"]) for e in units)
    return max(float(e["started"]) + float(e["seconds"]) for e in units) - first


def replayed_steps(events: list[Event], steps: int) -> int:
    """Steps that were trained more than once: lost with a worker, or with the coordinator.

    What a worker had done of its unit dies with it. It is taken for all that the block trains at
    its usual pace in the time since the unit was handed out, which is never too little.
    """
    units = [e for e in events if e["event"] == "unit"]
    rates: dict[int, list[float]] = {}
    for unit in units:
        rates.setdefault(unit["block"], []).append(unit["num_steps"] / unit["seconds"])
    with_worker = sum(
        e["seconds"] * statistics.median(rates[t])
        for e in events
        if e["event"] == "worker_lost"
        for t in e["blocks"]
        if t in rates
    )
    with_coordinator = sum(int(unit["num_steps"]) for unit in units) - steps
    return round(float(with_worker)) + with_coordinator


def render(measured: dict[str, Any]) -> str:
    """The result for people."""
    faults = ", ".join(f"{n} {kind}" for kind, n in measured["faults"].items()) or "none"
    noticed = measured["noticed_s"]
    seconds = measured["seconds"]
    return "\n".join(
        [
            f"faults          {faults}",
            f"noticed after   {max(noticed):.2f} s at most" if noticed else "noticed after   -",
            f"replayed steps  {measured['replayed_steps']:,} of {measured['steps']:,} "
            f"({measured['replayed']:.1%})",
            f"goodput         {measured['goodput']:.1%} of the undisturbed run "
            f"({seconds['disturbed']:.0f} s against {seconds['undisturbed']:.0f} s)",
            f"same weights    {'yes' if measured['same_sha256'] else 'NO'}",
            f"blocks lost     {len(measured['set_aside'])}",
        ]
    )


class Run:
    """A run in a process of its own, which can be killed and started again."""

    def __init__(self, options: ChaosBenchmark, folder: Path, address: str) -> None:
        self.folder = folder
        self._environment = os.environ | {"RAY_ADDRESS": address}
        self._command = [
            *(sys.executable, "-m", "noprop_dist", "train"),
            *("--no-plots", "--device=cpu", "--quiet"),
            *("--dataset", options.dataset, "--epochs", str(options.epochs)),
            *("--num-blocks", str(options.num_blocks), "--workers", str(options.workers)),
            *("--embedding-type", options.embedding_type, "--spares", str(options.spares)),
            *("--run-dir", str(folder)),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, or go on."""
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def wait(self, meanwhile: Callable[[], None]) -> None:
        """Wait for the end and do things meanwhile.

        Raises:
            UserError: it failed, or takes too long.
        """
        deadline = time.monotonic() + LIMIT_S
        assert self._process is not None
        while self._process.poll() is None:
            meanwhile()
            time.sleep(POLL_S)
            if time.monotonic() > deadline:
                raise UserError(f"the run did not end within {LIMIT_S:.0f} s.")
        # A run that set blocks aside has a result, and says so by its exit code.
        if self._process.returncode and not (self.folder / "result.json").exists():
            assert self._process.stderr is not None
            said = self._process.stderr.read().decode().strip().splitlines()[-1:]
            raise UserError(f"the run failed ({' '.join(said)}).")

    def kill(self) -> None:
        """SIGKILL to the coordinator, unless it has ended."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def result(self) -> dict[str, Any]:
        """What it reports."""
        result: dict[str, Any] = json.loads((self.folder / "result.json").read_bytes())
        return result

    def events(self) -> list[Event]:
        """What it has logged."""
        return read_events(Store(self.folder))


class Killer:
    """Does something bad every so often, by seed; a run that has no worker yet is left alone."""

    def __init__(self, options: ChaosBenchmark, run: Run, machine: Machine) -> None:
        self._options, self._run, self._machine = options, run, machine
        self._random = random.Random(options.seed)
        self._killed: dict[int, float] = {}
        self._undo: list[tuple[float, Callable[[], object]]] = []
        self._next: float | None = None
        self.counts: Counter[str] = Counter()

    def act(self) -> None:
        """Called every moment."""
        now = time.monotonic()
        for when, undo in list(self._undo):
            if now >= when:
                self._undo.remove((when, undo))
                undo()
        if self._next is None:
            if any(e["event"] == "unit" for e in self._run.events()):
                self._next = now + self._options.every
        elif now >= self._next:
            self._next = now + self._options.every
            kind = self._random.choice(self._options.faults)
            if getattr(self, f"_{kind}")():
                self.counts[kind] += 1

    def _workers(self) -> list[int]:
        """Processes of the workers that are alive as far as the log says, in its order."""
        pids: dict[str, int] = {}
        for event in self._run.events():
            if event["event"] == "run_started":
                pids.clear()
            elif event["event"] == "worker_started" and not event["spare"]:
                pids[event["worker"]] = event["pid"]
            elif event["event"] == "worker_lost":
                pids.pop(event["worker"], None)
        return list(pids.values())

    def _kill(self) -> bool:
        pid = self._signal_one(signal.SIGKILL)
        if pid is not None:
            self._killed[pid] = time.time()
        return pid is not None

    def _stop(self) -> bool:
        pid = self._signal_one(signal.SIGSTOP)
        if pid is not None:
            self._later(lambda: _signal(pid, signal.SIGCONT))
        return pid is not None

    def _signal_one(self, number: signal.Signals) -> int | None:
        """Signal a worker by chance; its process, or None where there is none."""
        workers = self._workers()
        pid = self._random.choice(workers) if workers else None
        return pid if pid is not None and _signal(pid, number) else None

    def _node(self) -> bool:
        if self._undo:
            return False
        self._machine.remove_node()
        self._later(self._machine.add_node)
        return True

    def _coordinator(self) -> bool:
        self._run.kill()
        self._run.start()
        return True

    def _later(self, undo: Callable[[], object]) -> None:
        self._undo.append((time.monotonic() + self._random.uniform(*ABSENCE_S), undo))

    def noticed(self, events: list[Event]) -> list[float]:
        """Seconds from each SIGKILL of a worker to the event that says so."""
        found: list[float] = []
        pids: dict[str, int] = {}
        for event in events:
            if event["event"] == "worker_started":
                pids[event["worker"]] = event["pid"]
            elif event["event"] == "worker_lost" and pids.get(event["worker"]) in self._killed:
                found.append(event["time"] - self._killed[pids[event["worker"]]])
        return sorted(found)


def _signal(pid: int, number: signal.Signals) -> bool:
    """Whether there is still such a process."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
