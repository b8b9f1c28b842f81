"""The class embeddings before training, as a file: what they were cannot be told from a network.

K classes, D embedding width.
"""

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from noprop_dist.errors import UserError
from noprop_dist.record.store import Store

FILE = "first_embedding.safetensors"
NAME = "class_embed"


def write_first_embedding(store: Store, class_embed: Tensor) -> None:
    """Write ``first_embedding.safetensors``.

    Args:
        store: the run folder.
        class_embed: (K, D) float32.

    Raises:
        UserError: the run folder cannot be written to.
    """
    store.write(FILE, save({NAME: class_embed.detach().cpu().contiguous()}))


def read_first_embedding(store: Store) -> Tensor | None:
    """What ``write_first_embedding`` wrote, (K, D), or None where there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return load(store.read(FILE))[NAME]
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(f"{store.root}/{FILE} is damaged ({error}).") from error
