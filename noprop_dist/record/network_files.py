"""The trained network as files, and its way back: safetensors and JSON, no pickle.

N samples, K classes.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from noprop_dist.config import TrainConfig
from noprop_dist.data.normalise import Normalisation
from noprop_dist.errors import UserError, reading
from noprop_dist.model.answering import UNFITTED, Answering
from noprop_dist.model.block import Block
from noprop_dist.model.device import resolve_device, resolve_precision, use_number_format
from noprop_dist.model.network import NoPropNetwork
from noprop_dist.model.own_block import BlockCode, block_name
from noprop_dist.model.spec import ModelSpec
from noprop_dist.record.backbones import named, parted, tensors_beside
from noprop_dist.record.folder import Reader, home_of, is_network_file
from noprop_dist.record.run_config import read_config
from noprop_dist.record.store import Store
from noprop_dist.record.trained import TrainedNetwork
from noprop_dist.run_files import MODEL

FORMAT = 1  # of network.json
FILE_FORMAT = "noprop-network-1"


Precision = Literal["run", "auto", "fp32", "bf16"]


def save_network(
    store: Store,
    network: NoPropNetwork,
    normalisation: Normalisation,
    class_names: tuple[str, ...],
    data_sha256: str,
    answering: Answering = UNFITTED,
) -> None:
    """Write ``model/network.safetensors`` and then ``model/network.json``, which vouches for it."""
    data = save(_file_tensors(network))
    store.write(f"{MODEL}/network.safetensors", data)
    described = describe(network.spec, normalisation, class_names, data_sha256, answering)
    described |= {"format": FORMAT, "network_sha256": hashlib.sha256(data).hexdigest()}
    described["sha256"] = _sha256_of(described)
    store.write(f"{MODEL}/network.json", json.dumps(described, indent=1).encode())


def _file_tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}


def describe(
    spec: ModelSpec,
    normalisation: Normalisation,
    class_names: tuple[str, ...],
    data_sha256: str,
    answering: Answering = UNFITTED,
) -> dict[str, Any]:
    """What a network needs beside its tensors, as JSON holds it; see ``rebuild``."""
    fitted = {"answering": answering.to_dict()} if answering.rows else {}
    return fitted | {
        "spec": spec.to_dict(),
        "normalisation": asdict(normalisation),
        "class_names": list(class_names),
        "data_sha256": data_sha256,
    }


def rebuild(
    described: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    device: str,
    precision: str,
    where: object,
    code: BlockCode | None = None,
) -> TrainedNetwork:
    """The network of a description and its state dict.

    Args:
        described: see ``describe``.
        tensors: by name.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "fp32" or "bf16".
        where: what to call the two.
        code: of the network's block, where that is the user's own.

    Raises:
        UserError: no such device, the two do not go together or are of another version, or
            ``code`` is missing or another.
    """
    place = resolve_device(device)
    asked = resolve_precision(precision, place)
    use_number_format(asked, place)
    try:
        spec = ModelSpec.from_dict(described["spec"]).with_code(code, where)
        own, backbone = parted(tensors, spec.backbone, place, where)
        network = NoPropNetwork.from_tensors(spec, own, place, asked)
        norm = {k: tuple(v) for k, v in described["normalisation"].items()}
        normalisation = Normalisation(**norm)
        names = tuple(described["class_names"])
        told = described.get("answering")
        answering = UNFITTED if told is None else Answering.from_dict(told)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{where}: the network is not one that this version knows ({reason}): use the version "
            "that wrote it, or train again."
        ) from error
    data = described.get("data_sha256", "")
    return TrainedNetwork(network, normalisation, names, place, data, answering, backbone)


def _sha256_of(described: dict[str, Any]) -> str:
    """Of a description without its own hash."""
    kept = {k: v for k, v in described.items() if k != "sha256"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def load_network(
    folder: str | Path,
    device: str = "cpu",
    precision: Precision = "run",
    *,
    block: str | type[Block] | BlockCode | None = None,
) -> TrainedNetwork:
    """Load the network of a run folder, or of a safetensors file that was exported.

    Args:
        folder: the run folder (or its ``model`` folder), or a URI; or the file.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "run" computes as the run was asked to; "auto", and "run" where there is a file
            alone, in bf16 where the device gains from it.
        block: of a network whose block is the user's own, its class, or this named as for the
            training or in the copy that the run folder keeps, or that code; only then is it run.

    Raises:
        UserError: there is no trained network, its files were altered, ``block`` is missing or not
            what it was, or no such device.
    """
    code = BlockCode.read(block_name(block, "")) if isinstance(block, (str, type)) else block
    if is_network_file(folder):
        with reading(folder):
            file = Path(folder).expanduser().read_bytes()
        return from_bytes(file, device, asked_precision(precision, None), folder, code)
    if precision == "run":
        precision = asked_precision(precision, read_config(Store(home_of(str(folder)))))
    store = Store(folder)
    stem = MODEL + "/" if store.exists(f"{MODEL}/network.json") else ""
    reader = Reader(store, remedy="use the version that wrote it, or train again")
    described = reader.json(f"{stem}network.json")
    data = reader.read(f"{stem}network.safetensors")
    if described is None or data is None:
        raise UserError(
            f"{folder} holds no trained network: give a run folder whose training has finished."
        )
    if described.get("format") != FORMAT:
        raise UserError(
            f"{folder}: network.json is not of format {FORMAT}, which this version reads: use the "
            "version that wrote it, or train again."
        )
    if described.get("sha256") != _sha256_of(described):
        raise UserError(f"{folder}: network.json was altered or is of another version.")
    if hashlib.sha256(data).hexdigest() != described["network_sha256"]:
        raise UserError(f"{folder}: network.safetensors was altered or is truncated.")
    tensors = load(data) | tensors_beside(described, home_of(str(folder)))
    return rebuild(described, tensors, device, precision, folder, code)


def asked_precision(
    precision: Precision, config: TrainConfig | None
) -> Literal["auto", "fp32", "bf16"]:
    """What "run" means for a run of these options, where they are known."""
    if precision == "run":
        asked = config.precision if config else "auto"
        return "fp32" if asked == "tf32" else asked
    return precision


def to_bytes(trained: TrainedNetwork) -> bytes:
    """The state dict as float32, with the description in the header under FILE_FORMAT."""
    tensors = _file_tensors(trained.network)
    if trained.backbone is not None:
        tensors |= named(_file_tensors(trained.backbone.net))
    return save(tensors, metadata={FILE_FORMAT: header(trained)})


def header(trained: TrainedNetwork) -> str:
    """What every exported file says of its network, as JSON."""
    t = trained
    return json.dumps(
        describe(t.network.spec, t.normalisation, t.class_names, t.data_sha256, t.answering)
    )


def from_bytes(
    data: bytes,
    device: str,
    precision: str,
    where: object = "the file",
    code: BlockCode | None = None,
) -> TrainedNetwork:
    """The inverse of ``to_bytes``; ``code`` as of ``rebuild``.

    Raises:
        UserError: a damaged file, not a network that this version reads, or no such device.
    """
    try:
        tensors = load(data)
        # The reader gives tensors alone; the format puts the header first, after its length.
        length = int.from_bytes(data[:8], "little")
        metadata: dict[str, str] = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        if FILE_FORMAT not in metadata:
            raise UserError(
                f"{where} is not a network that this version reads (it has no {FILE_FORMAT})."
            )
        described = json.loads(metadata[FILE_FORMAT])
    except SafetensorError as error:
        raise UserError(f"{where} is damaged or no safetensors file ({error}).") from error
    return rebuild(described, tensors, device, precision, where, code)
