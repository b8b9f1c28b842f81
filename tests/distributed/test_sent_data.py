"""Images on the driver's disk, as workers get at them."""

from pathlib import Path

import pytest

from noprop_dist import train
from noprop_dist.distributed.cluster import connected
from noprop_dist.distributed.sent_data import for_nodes
from noprop_dist.engine.splits import load_splits
from pets import class_folders
from runs import same, small

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]


def test_workers_read_what_the_driver_has_on_disk(
    cluster: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = str(class_folders(tmp_path / "photos"))
    options = {"dataset": photos, "batch_size": 8, "epochs": 1, "num_blocks": 2}
    local = train(small(tmp_path / "local", **options))
    monkeypatch.setattr("noprop_dist.data.decoding.MEMORY_SHARE", 0)
    monkeypatch.setenv("NOPROP_CACHE", str(tmp_path / "cache"))
    config = small(tmp_path / "ray", executor="ray", **options)
    splits = load_splits(config)
    stored = splits.train.stored
    assert stored is not None
    with connected(config, splits.nbytes):
        sent = for_nodes(splits)
        assert sent.hashes == splits.hashes
        fetch = sent.train.stored.fetch
        whole = Path(stored.folder, "rows").read_bytes()
        assert fetch(f"{stored.folder}/rows", 5, 100) == whole[5:105]
        assert fetch(f"{stored.folder}/rows", len(whole) - 5, 100) == whole[-5:]
        assert same(local, train(config))
