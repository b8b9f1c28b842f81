"""The options of a run by groups: of each its default, help line, bounds and traits, once."""

from dataclasses import dataclass
from typing import Literal

from noprop_dist.config.fields import POSITIVE, Bounds, Checked, Trait, at_least, option

MAX_IMAGE_SIZE = 4096
# What changes no weight is the same for every trial of a sweep, too: not where data lies decides,
# but what it holds.
FREE = Trait.FREE | Trait.OF_ALL_TRIALS
OF_ALL_TRIALS, ONE_SIDED = Trait.OF_ALL_TRIALS, Trait.ONE_SIDED
OF_A_BLOCK = Trait.OF_A_BLOCK


@dataclass(frozen=True, kw_only=True)
class DataOptions(Checked):
    """What a run learns from."""

    dataset: str = option(
        "digits",
        "data",
        "digits, mnist, fashion-mnist, kmnist, cifar10, cifar100, svhn, or the path of a folder of "
        "class folders or of Parquet files",
        traits=FREE,
    )
    data_dir: str | None = option(
        None, "data", "where named data sets are kept or downloaded to", traits=FREE
    )
    image_size: int | None = option(
        None,
        "data",
        "resize images to this height and width",
        Bounds(least=4, most=MAX_IMAGE_SIZE),
        OF_ALL_TRIALS,
    )
    skip_bad_images: bool = option(
        False, "data", "go on past images that do not decode, and count them", traits=OF_ALL_TRIALS
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
    augmentation: Literal["none", "standard"] = option(
        "none",
        "data",
        "standard: random crop with padding 4, less for small images, and flips for colour "
        "photographs",
        traits=OF_A_BLOCK,
    )
    flip: Literal["auto", "yes", "no"] = option(
        "auto",
        "data",
        "whether the standard augmentation mirrors; auto: colour images, but not digits of svhn",
    )


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Checked):
    """What a network is made of."""

    embedding_type: Literal["one-hot", "learned", "prototype", "own"] = option(
        "one-hot",
        "model",
        "class embeddings: fixed one-hot, learned, prototype images, or fixed ones given in Python",
    )
    embedding_dim: int | None = option(
        None,
        "model",
        "D; default: classes for one-hot, 64 for learned, pixels for prototype",
        at_least(1),
    )
    num_blocks: int = option(10, "model", "T, the number of blocks", at_least(1))
    block: Literal["auto", "conv", "conv-pooled", "mlp", "resnet18"] = option(
        "auto",
        "model",
        "block architecture; auto: conv (Fig. 6) for images, conv-pooled for those above 64 "
        "pixels, mlp for vectors",
    )
    dropout: float = option(
        0.2,
        "model",
        "dropout of every block but resnet18, to the nearest 1/256",
        Bounds(least=0, below=1),
        OF_A_BLOCK,
    )
    schedule: Literal["cosine", "linear", "own"] = option(
        "cosine", "model", "noise schedule; own: given in Python"
    )
    alpha_bar_min: float = option(
        1e-4, "model", "alpha_bar[0], the share of label in z_0", Bounds(above=0, below=1)
    )
    alpha_bar_max: float = option(
        0.99, "model", "alpha_bar[T], the share of label in z_T", Bounds(above=0, below=1)
    )
    readout: Literal["softmax", "radial"] = option("softmax", "model", "readout of z_T")
    objective: Literal["dt"] = option(
        "dt", "model", "what a block learns; dt: NoProp's discrete time (eq. 8)"
    )


@dataclass(frozen=True, kw_only=True)
class OptimisationOptions(Checked):
    """How its blocks learn."""

    epochs: int = option(25, "optimisation", "epochs of every block", at_least(1))
    batch_size: int = option(128, "optimisation", "images per step", at_least(2))
    lr: float = option(1e-3, "optimisation", "peak learning rate of AdamW", POSITIVE, OF_A_BLOCK)
    weight_decay: float = option(
        1e-3, "optimisation", "weight decay of AdamW", at_least(0), OF_A_BLOCK
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
    lr_scheduler_patience: int = option(
        5,
        "optimisation",
        "plateau: epochs without a better validation accuracy before lr halves",
        at_least(1),
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
    checkpoint_dir: str | None = option(
        None, "run", "run folder or URI; default: checkpoints_run/<name>", traits=FREE
    )
    checkpoint: str | None = option(
        None, "run", "run folder or checkpoint to go on from", traits=FREE | ONE_SIDED
    )
    init_from: str | None = option(
        None,
        "run",
        "run folder or exported file whose weights to begin with, but for layers of other shapes",
        traits=FREE | ONE_SIDED,
    )
    save_every: int = option(1, "run", "epochs between checkpoints", at_least(1), FREE)
    keep_checkpoints: int = option(2, "run", "newest checkpoints to keep", at_least(1), FREE)
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
    no_plots: bool = option(False, "run", "draw no pictures at the end", traits=FREE)
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

    device: str = option("auto", "machine", "auto, cpu, cuda or cuda:N", traits=FREE)
    no_cuda: bool = option(False, "machine", "never use a GPU", traits=FREE)
    precision: Literal["auto", "fp32", "tf32", "bf16"] = option(
        "auto",
        "machine",
        "auto: bf16 autocast where the device computes in it; tf32: on GPUs",
        traits=OF_ALL_TRIALS,
    )
    executor: Literal["ray", "local"] = option(
        "ray",
        "machine",
        "where units run: on the Ray cluster of RAY_ADDRESS, else on a private one that ends with "
        "the run; or in this process",
        traits=FREE,
    )
    workers: int | None = option(
        None,
        "machine",
        "default: one per GPU, else one per core; on a cluster as many as it holds",
        at_least(1),
        FREE,
    )
    cpus_per_worker: int = option(
        1, "machine", "threads of a unit; they change the bits", at_least(1), OF_ALL_TRIALS
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
    no_cuda_graphs: bool = option(
        False, "machine", "launch each kernel of a step on its own", traits=FREE
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
