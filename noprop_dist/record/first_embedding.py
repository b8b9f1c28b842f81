"""The class embeddings before training, as a file: what they were cannot be told from a network.

K classes, D embedding width.
"""

from safetensors.torch import save
from torch import Tensor

from noprop_dist.record.folder import Reader
from noprop_dist.record.store import Store
from noprop_dist.run_files import FIRST_EMBEDDING

NAME = "class_embed"


def write_first_embedding(store: Store, class_embed: Tensor) -> None:
    """Write ``first_embedding.safetensors``.

    Args:
        store: the run folder.
        class_embed: (K, D) float32.

    Raises:
        UserError: the run folder cannot be written to.
    """
    store.write(FIRST_EMBEDDING, save({NAME: class_embed.detach().cpu().contiguous()}))


def read_first_embedding(store: Store) -> Tensor | None:
    """What ``write_first_embedding`` wrote, (K, D), or None where there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    reader = Reader(store)
    tensors = reader.tensors(FIRST_EMBEDDING)
    if tensors is None:
        return None
    if NAME not in tensors:
        raise reader.foreign(FIRST_EMBEDDING, f"it is damaged: {NAME!r}")
    return tensors[NAME]
