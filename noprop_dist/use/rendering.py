"""What a person wants to know of an evaluation or an export, in a few lines."""

from functools import partial
from typing import Any

from noprop_dist.model.answering import READOUTS, Z_T, Answering
from noprop_dist.record.portable import OUTPUTS
from noprop_dist.record.result import Accuracy, measured
from noprop_dist.record.store import inside
from noprop_dist.run_files import EVALUATION
from noprop_dist.text import aligned, how_many, percent, printable, size
from noprop_dist.use.export import Exported
from noprop_dist.use.flags import SUFFIXES

MOST_CLASSES = 25  # more are told of by the worst ones
_percent = partial(percent, unit="")  # the head of a column has the unit


def render_evaluation(evaluation: dict[str, Any], folder: str) -> str:
    """The numbers as tables.

    Args:
        evaluation: what ``evaluate`` returns, with its split.
        folder: where the files are.
    """
    e = evaluation
    draws, last = e["draws"], len(e["accuracy_after_t"])
    answering = Answering.from_dict(e["answering"])
    noise = how_many(draws, "noise draw")
    heads = ["", "accuracy, %", f"of {draws} averaged", "macro F1, %", "calibration error, %"]
    rows = [[*heads, *measured(e["readouts"]["z_T"])]]
    for name, found in e["readouts"].items():
        rows.append(
            [
                READOUTS[name],
                str(Accuracy(**found["accuracy"])),
                _percent(found["accuracy_of_averaged_draws"][-1]),
                _percent(found["macro"]["f1"]),
                _percent(found["calibration"]["expected_calibration_error"]),
                *measured(found).values(),
            ]
        )
    quiet = []
    if (noise_free := e["accuracy_noise_free"]) is not None:
        quiet = [f"z_T without noise in the steps, %: {Accuracy(**noise_free)}"]
    after = "  ".join(f"{100 * a:.1f}" for a in e["accuracy_after_t"])
    return "\n".join(
        [
            f"{e['images']:,} images of {printable(e['dataset'])} ({e['split']}), {noise}, "
            f"{e['precision']}",
            "",
            *aligned(rows),
            "+-: a 95 % interval, of the noise and of the images",
            answering.words(),
            "",
            f"by class, as {READOUTS[answering.readout]} answers:",
            *aligned(_classes(e, answering)),
            "",
            *quiet,
            f"readout after t = 1..{last}, %: {after}",
            f"written to {printable(inside(folder, EVALUATION))}",
        ]
    )


def _classes(evaluation: dict[str, Any], answering: Answering) -> list[list[str]]:
    """Of what answers and z_T, by class or, where there are many, for those of the lowest F1."""
    told = {n: evaluation["readouts"][n]["per_class"] for n in (answering.readout, Z_T)}
    answer = told[answering.readout]
    order = list(range(len(answer)))
    title = "class"
    if len(order) > MOST_CLASSES:
        order = sorted(order, key=lambda k: (answer[k]["f1"] or 0.0, k))[:MOST_CLASSES]
        title = f"{MOST_CLASSES} classes of the lowest F1"
    f1_of = [f"F1 of {READOUTS[name]}, %" for name in told]
    rows = [[title, "images", "precision, %", "recall, %", *f1_of]]
    for k in order:
        found = [_percent(answer[k][score]) for score in ("precision", "recall")]
        f1 = [_percent(of[k]["f1"]) for of in told.values()]
        rows.append([printable(answer[k]["class"]), str(answer[k]["images"]), *found, *f1])
    return rows


def render_exported(exported: Exported) -> str:
    """What was written, what it takes and gives, and how far it is from the original."""
    e = exported
    vector = len(e.sample_shape) == 1
    shape, k = " x ".join(map(str, ("N", *e.sample_shape))), e.num_classes
    noise = "1 noise draw" if e.draws == 1 else f"the mean of {e.draws} noise draws"
    takes = [
        f"takes samples ({'float32' if vector else 'uint8'}, {shape}) and seed (int64, N)",
        f"gives {', '.join(OUTPUTS)} (float32, N x {k}), probabilities, {noise}",
        e.answers_by,
    ]
    named = e.file.endswith(SUFFIXES["safetensors"])
    once = "" if named else f"once its name ends in {SUFFIXES['safetensors']}, "
    loaded = {
        "safetensors": [f"{once}load_network and the commands of noprop read it", e.answers_by],
        "torch-export": [
            *takes,
            "torch.export.load reads it; it can run code, so load such files only from whom you "
            "trust",
        ],
        "onnx": takes,
    }
    return "\n".join(
        [
            f"wrote {printable(e.file)}, {size(e.size_bytes)}",
            *loaded[e.to],
            f"largest difference from the original on {e.checked_images:,} images: "
            f"{e.largest_difference:.1e}",
        ]
    )
