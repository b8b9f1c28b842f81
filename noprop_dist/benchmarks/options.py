"""What each benchmark can be asked; the fields are the flags of ``jobs/benchmark.py``."""

from dataclasses import dataclass, fields

from noprop_dist.config import flag
from noprop_dist.errors import UserError


@dataclass(frozen=True, kw_only=True)
class _Counts:
    def check(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            UserError: a number below 1, or numbers that do not go together.
        """
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, int) and value < 1:
                raise UserError(f"{flag(f.name)} must be at least 1, got {value}.")


@dataclass(frozen=True, kw_only=True)
class EngineBenchmark(_Counts):
    """Block-images/s of the engine against a plain eager float32 loop.

    Attributes:
        steps: Steps of one block in one measurement.
        repeats: Measurements of each side, alternating.
        batch_size: Images per step.
        threads: CPU threads that each side may use.
        cpus_per_worker: Threads of one of the engine's units; as many units run at once as fit.
    """

    steps: int = 20
    repeats: int = 5
    batch_size: int = 128
    threads: int = 2
    cpus_per_worker: int = 1

    def check(self) -> None:
        """See the base."""
        super().check()
        if self.threads % self.cpus_per_worker:
            raise UserError(
                f"--threads {self.threads} must be a multiple of --cpus-per-worker "
                f"{self.cpus_per_worker}."
            )


@dataclass(frozen=True, kw_only=True)
class ScalingBenchmark(_Counts):
    """Block-images/s of Ray workers, from one to many, and of a plain PyTorch loop.

    Attributes:
        workers: Most workers; each has one thread.
        units: Units of each worker in one measurement.
        steps: Steps of a unit.
        repeats: Measurements of each number of workers, alternating.
        batch_size: Images per step.
    """

    workers: int = 2
    units: int = 2
    steps: int = 40
    repeats: int = 3
    batch_size: int = 128


@dataclass(frozen=True, kw_only=True)
class SharingBenchmark(_Counts):
    """Ways to train learned class embeddings over the blocks, at the same budget.

    Attributes:
        dataset: As in ``noprop train``.
        images: Training images.
        epochs: Epochs of every block.
        seeds: Runs of each way, with seeds 0, 1, ...
        num_blocks: T.
        embedding_dim: D.
        batch_size: Images per step.
        freeze_after: Rounds of averaging in the way that freezes.
        alpha_bar_max: alpha_bar[T]; near 1 the last block's weight is large.
        workers: Units at once, where blocks do not wait for each other.
    """

    dataset: str = "digits"
    images: int = 6000
    epochs: int = 10
    seeds: int = 1
    num_blocks: int = 10
    embedding_dim: int = 64
    batch_size: int = 128
    freeze_after: int = 2
    alpha_bar_max: float = 0.99
    workers: int = 2
