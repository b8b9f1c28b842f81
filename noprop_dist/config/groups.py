"""The options of a run by groups: of each its default, help line, bounds and traits, once."""

from dataclasses import dataclass
from typing import Any, Literal

from noprop_dist.config.fields import POSITIVE, Bounds, Checked, Former, Trait, at_least, option

MAX_IMAGE_SIZE = 4096
# What changes no weight is the same for every trial of a sweep, too: not where data lies decides,
# but what it holds.
FREE = Trait.FREE | Trait.OF_ALL_TRIALS
OF_ALL_TRIALS, ONE_SIDED = Trait.OF_ALL_TRIALS, Trait.ONE_SIDED
OF_A_BLOCK = Trait.OF_A_BLOCK


def _not(value: Any) -> Any:
    """Of a switch that was told by its opposite; another value is refused under its new name."""
    return not value if isinstance(value, bool) else value


def _without_gpu(value: Any) -> Any:
    return {True: "cpu", False: "auto"}[value] if isinstance(value, bool) else value


@dataclass(frozen=True, kw_only=True)
class DataOptions(Checked):
    """What a run learns from."""

    dataset: str = option(
        "digits",
        "data",
        "digits, mnist, fashion-mnist, kmnist, cifar10, cifar100, svhn, the path of a folder of "
        "class folders or of Parquet files, or hf:OWNER/NAME of the Hugging Face hub",
        traits=FREE,
    )
    data_dir: str | None = option(
        None, "data", "where named data sets are kept or downloaded to", traits=FREE
    )
    image_column: str | None = option(
        None,
        "data",
        "of Parquet files, the column of images or vectors; default: image, img or pixel_values",
        traits=FREE,
    )
    label_column: str | None = option(
        None,
        "data",
        "of Parquet files, the column of classes; default: label, labels, fine_label, "
        "coarse_label or target",
        traits=FREE,
    )
    image_size: int | None = option(
        None,
        "data",
        "scale images to cover this height and width and cut the middle out; auto: only those of "
        "several sizes, to the median of their shorter sides, at most 224",
        Bounds(least=4, most=MAX_IMAGE_SIZE),
        OF_ALL_TRIALS,
        unset="auto",
    )
    skip_bad_images: bool = option(
        False, "data", "go on past images that do not decode, and count them", traits=OF_ALL_TRIALS
    )
    features: str | None = option(
        None,
        "data",
        "train on the features of a frozen network, torchvision:NAME or timm:NAME, computed once",
        traits=OF_ALL_TRIALS,
    )
    features_weights: str | None = option(
        None,
        "data",
        "of --features, the state dict as a safetensors file; default: timm's own, else random",
        traits=FREE | Trait.LOCAL,
    )
    max_train_images: int | None = option(
        None,
        "data",
        "train on about N images, the same share of every class",
        at_least(1),
        OF_ALL_TRIALS,
    )
    val_fraction: float = option(
        0.1,
        "data",
        "share of the training set held out for validation, where the data has no such split",
        Bounds(least=0, below=1),
        OF_ALL_TRIALS,
    )


@dataclass(frozen=True, kw_only=True)
class OptimisationOptions(Checked):
    """How its blocks learn."""

    epochs: int = option(25, "optimisation", "epochs of every block", at_least(1))
    batch_size: int = option(128, "optimisation", "images per step", at_least(2))
    accumulate: int = option(
        1,
        "optimisation",
        "batches whose gradients are added up for a step",
        at_least(1),
        ONE_SIDED,
    )
    optimizer: Literal["adamw", "sgd", "muon"] = option(
        "adamw",
        "optimisation",
        "muon: for the blocks' matrices, AdamW for all else",
        traits=OF_A_BLOCK | ONE_SIDED,
    )
    momentum: float | None = option(
        None,
        "optimisation",
        "of sgd and muon; default: 0.9 and 0.95",
        Bounds(least=0, below=1),
        OF_A_BLOCK | ONE_SIDED,
    )
    nesterov: bool = option(
        False, "optimisation", "sgd: Nesterov's momentum", traits=OF_A_BLOCK | ONE_SIDED
    )
    lr: float = option(1e-3, "optimisation", "peak learning rate", POSITIVE, OF_A_BLOCK)
    lr_min: float = option(
        0.0,
        "optimisation",
        "least learning rate after the warm-up",
        at_least(0),
        OF_A_BLOCK,
    )
    weight_decay: float = option(
        1e-3,
        "optimisation",
        "weight decay; sgd adds it to the gradient, the others shrink weights by it",
        at_least(0),
        OF_A_BLOCK,
    )
    eta: float = option(
        0.1,
        "optimisation",
        "weight of the denoising term in the loss (eq. 8)",
        POSITIVE,
    )
    warmup_epochs: float = option(
        0.5, "optimisation", "linear warm-up, in epochs", at_least(0), OF_A_BLOCK
    )
    lr_schedule: Literal["constant", "cosine", "plateau"] = option(
        "cosine", "optimisation", "learning rate after the warm-up", traits=OF_A_BLOCK
    )
    lr_patience: int = option(
        5,
        "optimisation",
        "plateau: epochs without a better validation accuracy before lr halves",
        at_least(1),
        formerly="lr_scheduler_patience",
    )
    grad_clip: float | None = option(
        None,
        "optimisation",
        "clip a block's gradient norm at this times its loss weight",
        POSITIVE,
        OF_A_BLOCK | ONE_SIDED,
    )
    ema_decay: float | None = option(
        None,
        "optimisation",
        "evaluate an exponential average of the weights with this decay",
        Bounds(above=0, below=1),
        OF_A_BLOCK | ONE_SIDED,
    )
    freeze_after: int | None = option(
        None,
        "optimisation",
        "rounds after which learned embeddings stay fixed; default: never",
        at_least(0),
        ONE_SIDED,
    )
    early_stopping_patience: int | None = option(
        None,
        "optimisation",
        "stop after this many epochs without a better validation accuracy",
        at_least(1),
        ONE_SIDED,
    )


@dataclass(frozen=True, kw_only=True)
class RunOptions(Checked):
    """Where a run lives, and what it tells."""

    name: str | None = option(
        None,
        "run",
        "name of the run; default: data set, embedding and a hash of options and images",
        traits=FREE,
    )
    run_dir: str | None = option(
        None,
        "run",
        "run folder or URI; default: checkpoints_run/<name>",
        traits=FREE,
        formerly="checkpoint_dir",
    )
    resume_from: str | None = option(
        None,
        "run",
        "run folder or checkpoint to go on from",
        traits=FREE | ONE_SIDED,
        formerly="checkpoint",
    )
    init_from: str | None = option(
        None,
        "run",
        "run folder or exported file whose weights to begin with, but for layers of other shapes",
        traits=FREE | ONE_SIDED,
    )
    save_every: int = option(1, "run", "epochs between checkpoints", at_least(1), FREE)
    keep_checkpoints: int | None = option(
        None,
        "run",
        "newest checkpoints to keep; default: 2, and 1 when the run has finished",
        at_least(1),
        FREE,
    )
    history: str | None = option(
        None, "run", "also write the training history to this file", traits=FREE | ONE_SIDED
    )
    seed: int = option(0, "run", "seed of every random number", at_least(0), OF_ALL_TRIALS)
    dry_run: bool = option(
        False,
        "run",
        "check everything, estimate memory and time, leave nothing",
        traits=FREE | ONE_SIDED,
    )
    plots: bool = option(
        True,
        "run",
        "draw pictures at the end",
        traits=FREE,
        formerly=Former("no_plots", _not, is_switch=True),
    )
    profile: bool = option(
        False,
        "run",
        "write a chrome trace of some steps of one block into the run folder",
        traits=FREE | ONE_SIDED,
    )
    tensorboard: bool = option(
        False, "run", "write TensorBoard's event files into the run folder", traits=FREE | ONE_SIDED
    )
    tracker: Literal["none", "wandb", "mlflow"] = option(
        "none",
        "run",
        "also log to Weights & Biases or MLflow, set up by their own variables",
        traits=FREE | ONE_SIDED,
    )
    quiet: bool = option(False, "run", "print nothing but the result", traits=FREE)


@dataclass(frozen=True, kw_only=True)
class MachineOptions(Checked):
    """What it computes on."""

    device: str = option(
        "auto",
        "machine",
        "auto, cpu (never use a GPU), cuda or cuda:N",
        traits=FREE,
        formerly=Former("no_cuda", _without_gpu, is_switch=True),
    )
    precision: Literal["auto", "fp32", "tf32", "bf16"] = option(
        "auto",
        "machine",
        "auto: bf16 autocast where the device computes in it; tf32: on GPUs",
        traits=OF_ALL_TRIALS,
    )
    executor: Literal["ray", "local"] = option(
        "ray",
        "machine",
        "where blocks train; ray: on the Ray cluster of RAY_ADDRESS, else on a private one that "
        "ends with the run; local: in threads of this process",
        traits=FREE,
    )
    workers: int | None = option(
        None,
        "machine",
        "processes, or threads, that train blocks; default: one per GPU, else one per core, and "
        "of threads no more than memory holds; on a cluster as many as it holds",
        at_least(1),
        FREE,
    )
    cpus_per_worker: int = option(
        1,
        "machine",
        "threads that train a block; another number changes the weights' last digits",
        at_least(1),
        OF_ALL_TRIALS,
    )
    gpus_per_worker: float | None = option(
        None,
        "machine",
        "ray: GPUs of a worker; a fraction lets workers share one; default: 1 where there are any",
        at_least(0),
        FREE,
    )
    blocks_per_worker: int | None = option(
        None,
        "machine",
        "ray: blocks that a worker trains at once; default: as many as its GPU's memory holds, 1 "
        "on a CPU",
        at_least(1),
        FREE,
    )
    cuda_graphs: bool = option(
        True,
        "machine",
        "on a GPU, record a step once and replay it, instead of launching its kernels one by one",
        traits=FREE,
        formerly=Former("no_cuda_graphs", _not, is_switch=True),
    )
    resources: str | None = option(
        None,
        "machine",
        "ray: custom resources of a worker, for labelled nodes: name=amount,...",
        traits=FREE,
    )
    spares: int | None = option(
        None,
        "machine",
        "ray, without GPUs: warm workers per node that stand in for dead ones; default: 1 on a "
        "cluster, 0 on a private one",
        at_least(0),
        FREE,
    )
