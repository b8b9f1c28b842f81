"""Exporting a run's network as one file that is checked against the original before it is written.

N samples, K classes.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export.passes import move_to_device_pass

from noprop_dist.data.shards import Array
from noprop_dist.errors import UserError
from noprop_dist.model.network import samples_at_once
from noprop_dist.record.network_files import from_bytes, header, to_bytes
from noprop_dist.record.portable import OUTPUTS, seeds_of
from noprop_dist.record.progress import shown_work
from noprop_dist.record.store import Store
from noprop_dist.use.flags import SUFFIXES
from noprop_dist.use.opening import OpenRun
from noprop_dist.use.rows import LabelledRows

TOLERANCE = 1e-5  # between probabilities, in float32
CHECKED = 1000  # images at most, times draws
CHECK_SEED = 0
DESCRIPTION = "noprop.json"  # its name inside the files
ONNX_BYTES = 2**31  # what one protocol buffer can hold

Answers = tuple[Array, ...]  # float32 (N, K) of each of OUTPUTS
Answer = Callable[[Array, Array], Answers]  # of samples and int64 (N,) seeds


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        file: where it is.
        to: what it is.
        size_bytes: how large it is.
        draws: noise draws that it averages over; None for safetensors, which holds weights alone.
        checked_images: on how many it was compared with the original.
        largest_difference: between any two probabilities.
        sample_shape: (C, H, W) of an image or (F,) of a vector.
        num_classes: K.
        answers_by: what "answer" is, in words.
    """

    file: str
    to: str
    size_bytes: int
    draws: int | None
    checked_images: int
    largest_difference: float
    sample_shape: tuple[int, ...]
    num_classes: int
    answers_by: str


def export_network(
    run: OpenRun, rows: LabelledRows, to: str, output: str | None = None, draws: int = 1
) -> Exported:
    """Write the network of ``run`` as a file.

    What is written takes raw samples, uint8 (N, C, H, W) or float32 (N, F), and a seed for each,
    int64 (N,), and gives probabilities, float32 (N, K), OUTPUTS; see ``PortableNetwork``. The
    safetensors file holds the weights and what they mean.

    Args:
        run: opened in fp32, on the device that what is written is checked on; ONNX Runtime checks
            its own on the CPU.
        rows: samples to compare on; at most 1,000 are used, of several draws as many fewer, and no
            label.
        to: "safetensors", "torch-export" or "onnx".
        output: the file; None: ``network`` and the target's suffix, in the working directory.
        draws: noise draws, fixed in the file.

    Raises:
        UserError: what was made does not answer as the original does, an optional package is
            missing, or the file cannot be written.
    """
    path = Path(output or f"network{SUFFIXES[to]}").expanduser()
    store = Store(path.parent, "--output")
    store.check_writable()
    if path.is_dir():
        raise UserError(f"--output {output or path} is a folder: give the name of a file.")
    with shown_work(f"making the {to} file", None):
        data, answer = _MAKERS[to](run, draws)
    samples, _ = rows.split.take(np.arange(min(max(1, CHECKED // draws), len(rows.split))))
    difference = largest_difference(run, answer, samples, draws)
    if not difference <= TOLERANCE:
        raise UserError(
            f"the {to} file would differ from the original by {difference:.1e} in a probability, "
            f"more than {TOLERANCE:.0e}, and was not written: give another --format."
        )
    store.write(path.name, data)
    spec = run.trained.network.spec
    return Exported(
        str(path),
        to,
        len(data),
        None if to == "safetensors" else draws,
        len(samples),
        difference,
        run.shape,
        spec.num_classes,
        run.trained.answering.words(),
    )


def largest_difference(run: OpenRun, answer: Answer, samples: Array, draws: int) -> float:
    """Between the probabilities of the original network and what was made of it.

    Args:
        run: the original.
        answer: what was made of it.
        samples: (N, ...) raw, N at least 1; given in batches of several sizes.
        draws: noise draws.
    """
    original = run.trained.portable(draws)
    largest = 0.0
    batch = samples_at_once(run.trained.device)
    starts = [0, 1, *range(batch, len(samples), batch)]
    with shown_work("checking images", len(samples)) as done:
        for start, stop in zip(starts, [*starts[1:], len(samples)], strict=True):
            part = samples[start:stop]
            if len(part):
                wanted = original.classify(part, CHECK_SEED)
                found = answer(part, seeds_of(part, CHECK_SEED))
                for one, other in zip(wanted, found, strict=True):
                    # A NaN would pass for the smaller of two: it counts as infinitely far.
                    far = np.nan_to_num(np.abs(one - other), nan=np.inf)
                    largest = max(largest, float(far.max()))
                done(len(part))
    return largest


def _safetensors(run: OpenRun, draws: int) -> tuple[bytes, Answer]:
    data = to_bytes(run.trained)
    code = run.trained.network.spec.block_code
    again = from_bytes(data, str(run.trained.device), "fp32", code=code)
    return data, _of_module(again.portable(draws), run.trained.device)


def _torch_export(run: OpenRun, draws: int) -> tuple[bytes, Answer]:
    buffer = io.BytesIO()
    torch.export.save(_graph(run, draws), buffer, extra_files={DESCRIPTION: header(run.trained)})
    data = buffer.getvalue()
    # What is checked are the bytes, as a user's PyTorch reads them. They were made in this process.
    program = torch.export.load(io.BytesIO(data))
    device = run.trained.device
    if device.type != "cpu":
        program = move_to_device_pass(program, device)
    return data, _of_module(program.module(), device)


def _onnx(run: OpenRun, draws: int) -> tuple[bytes, Answer]:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"--format onnx needs {' and '.join(missing)}: install noprop-dist[onnx], or give "
            "another --format."
        )
    size = sum(v.nbytes for v in run.trained.network.state_dict().values())
    if size > 0.95 * ONNX_BYTES:
        raise UserError(
            f"a network of {size / 2**30:.1f} GiB does not fit one ONNX file, which holds 2 GiB: "
            "give --format torch-export."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own insides
        program = torch.onnx.export(
            _graph(run, draws),
            dynamo=True,
            verbose=False,
            input_names=["samples", "seed"],
            output_names=list(OUTPUTS),
            dynamic_shapes=None,
        )
    assert program is not None
    program.model.metadata_props[DESCRIPTION] = header(run.trained)
    proto = program.model_proto
    _name_rows(proto.graph)
    data: bytes = proto.SerializeToString()
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def answer(samples: Array, seeds: Array) -> Answers:
        return tuple(session.run(list(OUTPUTS), {"samples": samples, "seed": seeds}))

    return data, answer


def _name_rows(graph: Any) -> None:
    """Call the axis of samples N, which the exporter gives a name of its own."""
    own = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == own:
                dim.dim_param = "N"


_MAKERS: dict[str, Callable[[OpenRun, int], tuple[bytes, Answer]]] = {
    "safetensors": _safetensors,
    "torch-export": _torch_export,
    "onnx": _onnx,
}


def _graph(run: OpenRun, draws: int) -> torch.export.ExportedProgram:
    # A copy, row-major in memory: the format of a file.
    code = run.trained.network.spec.block_code
    again = from_bytes(to_bytes(run.trained), "cpu", "fp32", code=code)
    again.network.to(memory_format=torch.contiguous_format)
    module = again.portable(draws).eval()
    shape = again.sample_shape
    dtype = torch.float32 if len(shape) == 1 else torch.uint8
    inputs = torch.zeros(2, *shape, dtype=dtype), torch.zeros(2, dtype=torch.int64)
    rows = torch.export.Dim("N", min=1)
    return torch.export.export(module, inputs, dynamic_shapes=({0: rows}, {0: rows}))


def _of_module(module: Any, device: torch.device) -> Answer:
    def answer(samples: Array, seeds: Array) -> Answers:
        inputs = (torch.from_numpy(array).to(device) for array in (samples, seeds))
        with torch.inference_mode():
            return tuple(said.cpu().numpy() for said in module(*inputs))

    return answer
