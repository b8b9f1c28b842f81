"""Batches where they are trained on: gathered on the device, or brought there before their turn.

B rows of a batch, C H W image axes, F features of a vector.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor
from typing_extensions import override

from noprop_dist.data.shards import Rows, Split
from noprop_dist.model.device import free_on, new_stream

RESIDENT_SHARE = 0.25  # of a device's free memory, for a split that stays there

# Raw samples, uint8 (B, C, H, W) or float32 (B, F), and labels, int64 (B,).
Batch = tuple[Tensor, Tensor]


class Feed(ABC):
    """The rows of a split, batch by batch, on a device; the same batches wherever they lie."""

    @abstractmethod
    def batches(self, order: Rows, size: int) -> Iterator[Batch]:
        """The rows of ``order``, ``size`` at a time.

        A batch is good until the next is asked for.
        """


class HostFeed(Feed):
    """For a device that computes in the host's memory."""

    def __init__(self, split: Split) -> None:
        self._split = split

    @override
    def batches(self, order: Rows, size: int) -> Iterator[Batch]:
        for start in range(0, len(order), size):
            x, y = self._split.take(order[start : start + size])
            yield torch.from_numpy(x), torch.from_numpy(y)


class ResidentFeed(Feed):
    """The whole split lies on the device, as raw as on the host."""

    def __init__(self, split: Split, device: torch.device) -> None:
        kind = torch.float32 if split.is_vector else torch.uint8
        self._x = torch.empty(len(split), *split.sample_shape, dtype=kind, device=device)
        self._y = torch.empty(len(split), dtype=torch.int64, device=device)
        start = 0
        for x, y in split.batches(1024):
            self._x[start : start + len(y)] = torch.from_numpy(x)
            self._y[start : start + len(y)] = torch.from_numpy(y)
            start += len(y)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # other streams read it

    @override
    def batches(self, order: Rows, size: int) -> Iterator[Batch]:
        rows = torch.from_numpy(order).to(self._x.device)
        for start in range(0, len(order), size):
            part = rows[start : start + size]
            yield self._x.index_select(0, part), self._y.index_select(0, part)


class StreamedFeed(Feed):
    """A batch is copied from pinned memory, on a stream of its own, while the one before trains."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self._split, self._device = split, device

    @override
    def batches(self, order: Rows, size: int) -> Iterator[Batch]:
        stream = new_stream(self._device) if self._device.type == "cuda" else None
        copied: tuple[Batch, torch.cuda.Event | None] | None = None
        for start in chain(range(0, len(order), size), [None]):
            ahead = None if start is None else self._send(order[start : start + size], stream)
            if copied is not None:
                batch, there = copied
                if there is not None:
                    now = torch.cuda.current_stream(self._device)
                    now.wait_event(there)
                    for tensor in batch:
                        tensor.record_stream(now)  # its memory is not free before that one is done
                yield batch
            copied = ahead

    def _send(
        self, rows: Rows, stream: "torch.cuda.Stream | None"
    ) -> tuple[Batch, "torch.cuda.Event | None"]:
        x, y = (torch.from_numpy(part) for part in self._split.take(rows))
        if stream is None:
            return (x.to(self._device), y.to(self._device)), None
        with torch.cuda.stream(stream):
            # The allocator keeps pinned memory until the copy out of it has ended.
            x, y = (part.pin_memory().to(self._device, non_blocking=True) for part in (x, y))
            return (x, y), stream.record_event()


def make_feed(split: Split, device: torch.device) -> Feed:
    """The batches of a split for a device: from its own memory, where the split fits there."""
    if device.type != "cuda":
        return HostFeed(split)
    fits = split.nbytes <= RESIDENT_SHARE * free_on(device)
    return ResidentFeed(split, device) if fits else StreamedFeed(split, device)
