"""What a user gives beside options: callbacks, metrics, own parts, weights, more epochs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typing_extensions import override

from noprop_dist import (
    Callback,
    Run,
    TrainConfig,
    TrainResult,
    UserError,
    load_network,
    train,
)
from noprop_dist.model.answering import UNFITTED
from noprop_dist.model.block import Block
from runs import same, small, steps_trained


def lost_block() -> type[Block]:
    """A class that no module has under its name."""

    class Lost(Block):
        pass

    return Lost


def tiny(folder: Path, **changes: Any) -> TrainConfig:
    return small(folder, **({"max_train_images": 80, "num_blocks": 2} | changes))


class Watcher(Callback):
    """Notes what it is told; stops or fails where it is asked to."""

    def __init__(self, stop_at: int = 0, fail_at: int = 0, fail_in: str = "on_epoch_end") -> None:
        self.stop_at, self.fail_at, self.fail_in = stop_at, fail_at, fail_in
        self.epochs: list[int] = []
        self.checkpoints: list[str] = []
        self.results: list[TrainResult] = []
        self.told: list[str] = []

    @override
    def on_epoch_end(self, run: Run) -> None:
        self.epochs.append(run.epoch)
        assert run.history.num_epochs == run.epoch
        run.history.lr_history.clear()  # a copy: nothing is lost
        self._note("on_epoch_end", run)
        if run.epoch == self.stop_at:
            self.said = run.network().predict(np.zeros((2, 1, 8, 8), np.uint8))
            run.stop()

    @override
    def on_checkpoint(self, run: Run, path: str) -> None:
        self.checkpoints.append(path)
        self._note("on_checkpoint", run)

    @override
    def on_end(self, run: Run, result: TrainResult) -> None:
        self.results.append(result)
        self._note("on_end", run)

    def _note(self, event: str, run: Run) -> None:
        self.told.append(event)
        if event == self.fail_in and run.epoch >= self.fail_at > 0:
            raise RuntimeError("no more disk quota.")


def right(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())


def test_a_callback_ends_a_run_with_the_network_of_that_epoch(tmp_path: Path) -> None:
    watcher = Watcher(stop_at=2)
    config = tiny(tmp_path / "a", epochs=5)
    result = train(config, callbacks=[watcher], metrics={"right": right})
    assert watcher.epochs == [1, 2]
    assert result.epochs == 2
    assert watcher.results == [result]
    assert Path(watcher.checkpoints[-1], "manifest.json").exists()
    # A constant rate does not know how long the run was to be.
    shorter = tiny(tmp_path / "b", epochs=2, lr_schedule="constant")
    stopped = train(replace(shorter, epochs=5, run_dir=str(tmp_path / "c")),
                    callbacks=[Watcher(stop_at=2)])  # fmt: skip
    assert same(stopped, train(shorter))
    assert train(config) == result, "it is finished"
    history = result.history
    assert history.metrics["right"] == history.val_accuracy_history
    assert result.metrics["right"] == result.test_accuracy["z_T"].draws[0]
    table = history.to_pandas()
    assert table["val/right"].tolist() == history.val_accuracy_history
    assert list(table.index) == [1, 2]
    # The same network: what it answers by is fitted at the end.
    again = replace(result.network, answering=UNFITTED).predict(np.zeros((2, 1, 8, 8), np.uint8))
    np.testing.assert_array_equal(again.probabilities, watcher.said.probabilities)


@pytest.mark.parametrize(
    ("event", "executor"),
    [
        ("on_epoch_end", "local"),
        ("on_checkpoint", "local"),
        ("on_end", "local"),
        pytest.param("on_epoch_end", "ray", marks=pytest.mark.ray),
    ],
)
def test_what_fails_is_named_and_nothing_is_lost(tmp_path: Path, event: str, executor: str) -> None:
    config = tiny(tmp_path / "a", executor=executor, workers=1)
    failing = Watcher(fail_at=1 if event == "on_checkpoint" else 2, fail_in=event)
    at_end = event == "on_end"
    outcome = "the run has finished all the same" if at_end else ".* last checkpoint"
    with pytest.raises(UserError, match=rf"the callback Watcher in {event} failed "
                       rf"\(RuntimeError: no more disk quota\): {outcome}"):  # fmt: skip
        train(config, callbacks=[failing])
    assert failing.told[-1] == event, "what has failed is told no more"
    assert event != "on_checkpoint" or len(failing.checkpoints) == 1
    assert (tmp_path / "a/result.json").exists() == at_end
    watcher = Watcher()
    result = train(config, callbacks=[watcher])
    assert same(result, train(tiny(tmp_path / "b")))
    assert failing.epochs + watcher.epochs == [1, 2, 3]  # those before had ended
    assert watcher.results == ([] if at_end else [result])


def test_a_metric_that_fails_is_named(tmp_path: Path) -> None:
    config = tiny(tmp_path / "a")
    with pytest.raises(UserError, match="the metric broken failed"):
        train(config, metrics={"broken": lambda p, y: "x"})  # type: ignore[dict-item, return-value]
    with pytest.raises(UserError, match=r"the metric odd failed .* it gave nan"):
        train(config, metrics={"odd": lambda p, y: float("nan")})
    with pytest.raises(UserError, match="instances of classes derived from"):
        train(config, callbacks=[Watcher])  # type: ignore[list-item]
    assert same(train(config), train(tiny(tmp_path / "b")))


@pytest.fixture
def own() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    w = torch.randn(10, 6, generator=generator)
    return {"noise_schedule": lambda share: 0.02 + 0.9 * share**2, "class_embed": w}


def test_own_parts_belong_to_the_run(tmp_path: Path, own: dict[str, Any]) -> None:
    config = tiny(tmp_path / "a", epochs=2)
    with pytest.raises(UserError, match="last checkpoint"):
        train(config, callbacks=[Watcher(fail_at=1)], **own)
    result = train(config, **own)
    unbroken = train(replace(config, run_dir=str(tmp_path / "b")), **own)
    assert same(result, unbroken)
    trained = load_network(tmp_path / "a").network
    assert torch.equal(trained.class_embed, own["class_embed"])
    assert trained.spec.alpha_bar == pytest.approx((0.02, 0.245, 0.92))
    # From the options in the folder alone, as the command line goes on.
    kept = TrainConfig(**result.config)
    assert (kept.noise_schedule, kept.embedding_type) == ("own", "own")
    (tmp_path / "a/result.json").unlink()
    assert same(train(kept), result)
    with pytest.raises(UserError, match="began with other noise schedule or class embeddings"):
        train(config, **(own | {"class_embed": -own["class_embed"]}))
    with pytest.raises(UserError, match="--noise-schedule own there, cosine now"):
        train(config)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"noise_schedule": [0.1, 0.9]}, r"3 numbers for 2 blocks.*got shape \(2,\)"),
        ({"noise_schedule": [0.1, 0.9, 0.5]}, "must increase strictly"),
        ({"class_embed": np.eye(3, 4)}, "3 rows and the data 10 classes"),
        ({"class_embed": np.zeros((10, 4))}, "equal rows, whose classes"),
        ({"class_embed": np.zeros(3)}, r"of shape \(K, D\)"),
        ({"noise_schedule": "linear"}, "noise_schedule must be numbers, got str"),
        ({"class_embed": "learned"}, "class_embed must be numbers, got str"),
        ({"callbacks": Callback()}, "callbacks is a list of Callback"),
        ({"metrics": [len]}, "metrics a dict of functions by name"),
        ({"block": lost_block()}, "block lost_block.<locals>.Lost is defined where workers"),
        ({"init_from": object()}, "init_from is a run, its folder or an exported file"),
    ],
)
def test_bad_parts_are_refused(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        train(tiny(tmp_path / "a"), **given)
    assert not (tmp_path / "a/config.yaml").exists()


def test_a_noise_schedule_is_of_blocks_of_one_noise_level(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--objective ct has other noise levels"):
        train(tiny(tmp_path / "a", objective="ct"), noise_schedule=lambda share: 0.1 + 0.8 * share)


def test_own_is_refused_where_nothing_was_given(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--noise-schedule own is given in Python, as train\("):
        train(tiny(tmp_path / "a", noise_schedule="own"))


def test_a_run_goes_on_for_more_epochs(tmp_path: Path) -> None:
    plain = tiny(tmp_path / "a", epochs=1, lr_schedule="constant")
    train(plain)
    longer = train(replace(plain, epochs=3))
    assert same(longer, train(replace(plain, epochs=3, run_dir=str(tmp_path / "b"))))
    assert steps_trained(tmp_path / "a") == steps_trained(tmp_path / "b")
    with pytest.raises(UserError, match="--epochs 3 there, 1 now"):
        train(plain)
    with pytest.raises(UserError, match=r"--lr 0\.001 there, 0\.002 now"):
        train(replace(plain, epochs=4, lr=0.002))


def test_a_run_that_was_stopped_early_takes_no_more_epochs(tmp_path: Path) -> None:
    config = tiny(tmp_path / "a", epochs=9, early_stopping_patience=1, lr=1e-6)
    stopped = train(config)
    assert stopped.epochs < 9
    says = f"was ended after epoch {stopped.epochs} by --early-stopping-patience 1, whatever --epoc"
    with pytest.raises(UserError, match=says):
        train(replace(config, epochs=12))
    assert train(config) == stopped


@pytest.mark.parametrize("workers", [1, 2])
def test_more_epochs_of_a_run_that_a_callback_ended(tmp_path: Path, workers: int) -> None:
    plain = tiny(tmp_path / "a", epochs=12, lr_schedule="constant", workers=workers)
    assert train(plain, callbacks=[Watcher(stop_at=2)]).epochs == 2
    longer = replace(plain, epochs=14)
    assert same(train(longer), train(replace(longer, run_dir=str(tmp_path / "b"))))
    # Some blocks may have gone on at the rate of the old length, depending on who was fast.
    cosine = tiny(tmp_path / "c", epochs=12, workers=workers)
    stopped = train(cosine, callbacks=[Watcher(stop_at=2)])
    says = (
        f"^{cosine.run_dir} was ended after epoch 2 of 12 by a callback, and --lr-schedule cosine "
        f"cannot be stated anew from there: give --init-from {cosine.run_dir} and another --name"
    )
    with pytest.raises(UserError, match=says):
        train(replace(cosine, epochs=14))
    with pytest.raises(UserError, match=says):
        train(replace(cosine, epochs=14, run_dir=str(tmp_path / "d"), resume_from=stopped.folder))
    assert train(cosine) == stopped
    # At its last epoch no block was ahead.
    whole = tiny(tmp_path / "e", epochs=2, workers=workers)
    train(whole, callbacks=[Watcher(stop_at=2)])
    grown = train(replace(whole, epochs=3))
    assert grown.epochs == 3
    unwatched = replace(whole, run_dir=str(tmp_path / "f"))
    train(unwatched)
    assert same(grown, train(replace(unwatched, epochs=3)))


def test_a_cosine_that_was_interrupted_is_finished_before_it_takes_more_epochs(
    tmp_path: Path,
) -> None:
    cosine = tiny(tmp_path / "a", epochs=3)
    with pytest.raises(UserError, match="Watcher"):
        train(cosine, callbacks=[Watcher(fail_at=1)])
    says = (
        f"^{cosine.run_dir} is at epoch 1 of 3, and --lr-schedule cosine cannot be stated anew "
        f"from there: give --epochs 3 first, or --init-from {cosine.run_dir} and another --name"
    )
    with pytest.raises(UserError, match=says):
        train(replace(cosine, epochs=5))
    train(cosine)
    unbroken = replace(cosine, run_dir=str(tmp_path / "b"))
    train(unbroken)
    assert same(train(replace(cosine, epochs=5)), train(replace(unbroken, epochs=5)))


def test_a_cosine_is_stated_anew_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny(tmp_path / "a", epochs=1, warmup_epochs=0.0)
    train(config)
    result = train(replace(config, epochs=2, quiet=False))
    assert (
        "the cosine of the learning rate is stated anew over all of them and goes on at 5.0e-04"
        in (capsys.readouterr().err)
    )
    assert result.history.lr_history == pytest.approx([5e-4, 1.464e-4], rel=1e-3)
    assert (result.epochs, result.history.num_epochs) == (2, 2)


def test_an_unnamed_run_finds_the_shorter_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = replace(tiny(tmp_path, epochs=1, lr_schedule="constant"), run_dir=None)
    first = train(plain)
    longer = train(replace(plain, epochs=2))
    assert longer.folder != first.folder
    assert steps_trained(Path(longer.folder)) == steps_trained(Path(first.folder))
    assert same(longer, train(replace(plain, epochs=2, name="fresh")))
    assert train(plain) == first
    shorter = Path("checkpoints_run", Path(first.folder).name)
    assert f"going on after 1 epoch of {shorter}\n" in capsys.readouterr().err


def test_an_unnamed_run_with_a_cosine_tells_how_to_go_on_after_the_shorter_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = replace(tiny(tmp_path, epochs=1), run_dir=None)
    first = Path("checkpoints_run", Path(train(plain).folder).name)
    capsys.readouterr()
    longer = replace(plain, epochs=2)
    from_the_start = train(longer)
    assert (
        f"{first} is this run with 1 epoch; with --lr-schedule cosine 2 begin anew, and "
        f"--resume-from {first} would go on there instead\n"
    ) in capsys.readouterr().err
    assert same(from_the_start, train(replace(longer, name="fresh")))
    gone_on = train(replace(longer, name="on", resume_from=str(first)))
    assert steps_trained(Path(gone_on.folder)) == steps_trained(first)


def test_nothing_is_told_of_a_shorter_run_that_cannot_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = replace(tiny(tmp_path, epochs=4), run_dir=None)
    train(plain, callbacks=[Watcher(stop_at=1)])
    assert train(replace(plain, epochs=5)).epochs == 5
    assert "--resume-from" not in capsys.readouterr().err


def test_a_run_begins_with_the_weights_of_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = train(tiny(tmp_path / "a", epochs=3))
    # A rate of next to nothing: the network stays what it began as.
    still = tiny(tmp_path / "b", epochs=1, lr=1e-12, weight_decay=0.0, ema_decay=0.9, dropout=0.0)
    tuned = train(still, init_from=base)
    mine, theirs = tuned.network.network.state_dict(), base.network.network.state_dict()
    for name, tensor in theirs.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(mine[name], tensor, atol=1e-6, rtol=0)
    assert tuned.config["init_from"] == base.folder
    assert train(still, init_from=base.folder) == tuned
    with pytest.raises(UserError, match="began with weights given by --init-from"):
        train(still)
    wide = np.eye(10, 12, dtype=np.float32)  # another width of z
    capsys.readouterr()
    train(
        replace(still, run_dir=str(tmp_path / "c"), quiet=False),
        init_from=base,
        class_embed=wide,
    )
    assert "which begin anew: label_path.enter.0, readout" in capsys.readouterr().err
    with pytest.raises(UserError, match="give --num-blocks 2"):
        train(tiny(tmp_path / "d", num_blocks=3), init_from=base)
