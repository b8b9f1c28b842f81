"""What the folder of a run, a sweep or a comparison holds, by the names of its files."""

from collections.abc import Collection

CONFIG, RESULT, HISTORY, EVENTS = (
    "config.yaml",
    "result.json",
    "training_history.json",
    "events.jsonl",
)
CHECKPOINTS, MODEL = "checkpoints", "model"
OWN_PARTS, BACKBONE = "own_parts.safetensors", "backbone.safetensors"
FEATURES = "features"
FIRST_EMBEDDING, PREDICTIONS = "first_embedding.safetensors", "test_predictions.parquet"
EVALUATION, ABLATION = "evaluation.json", "ablation.json"
REPORT, PLOTS, CARD = "report.html", "plots", "README.md"
OWN_BLOCK = "block.py"
PROFILE, TRACE = "profile.json", "trace.json"
TENSORBOARD, TRACKERS = "tensorboard", "tracker.json"
CONTENTS = {  # of a run folder, in the order in which it is told
    CONFIG: "every option",
    OWN_BLOCK: "the source of its own block",
    RESULT: "the numbers",
    HISTORY: "numbers by epoch",
    EVENTS: "what happened, a line each",
    CHECKPOINTS: "what training goes on from",
    MODEL: "the network",
    PREDICTIONS: "its answer to every test image",
    FIRST_EMBEDDING: "prototypes before training",
    OWN_PARTS: "noise schedule and class embeddings that were given in Python",
    BACKBONE: "the network that makes features of pictures",
    FEATURES: "what it made of them, a data set",
    PLOTS: "pictures",
    EVALUATION: "of the last evaluation",
    ABLATION: "what z is good for",
    REPORT: "all of it on one page",
    CARD: "the model card",
    PROFILE: "some steps of one block, a chrome trace",
    TRACE: "all units, a chrome trace",
    TENSORBOARD: "event files for TensorBoard",
    TRACKERS: "what trackers call it, and what they have",
}

# Which sweep or comparison a folder holds; and in the folder of a sweep's trial, what it tries.
SWEEP, COMPARISON, TRIAL = "sweep.json", "comparison-of.json", "trial.json"

# What tells a run, a sweep and a comparison as soon as they have begun; the lock is there before.
SIGNS = ({CONFIG, EVENTS}, {SWEEP}, {COMPARISON})
LOCK = ".lock"


def holds_run(names: Collection[str]) -> bool:
    """Whether a folder of these names is a run's."""
    return any(name in names for name in (CONFIG, RESULT, HISTORY, EVENTS, CHECKPOINTS, MODEL))


def is_ours(names: Collection[str]) -> bool:
    """Whether a folder of these names is a run's, a sweep's or a comparison's, told by its files.

    By files alone: "model" and "checkpoints" may be the names of runs.
    """
    return any(name in names for name in (CONFIG, RESULT, EVENTS, SWEEP, COMPARISON))
