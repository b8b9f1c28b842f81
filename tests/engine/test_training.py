import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from noprop_dist import StoppedError, TrainConfig, UserError, load_network, train
from noprop_dist.data import load_dataset
from noprop_dist.data.sources import limit
from noprop_dist.engine.evaluate import confusion_matrix, traces_of
from noprop_dist.engine.live_block import LiveBlock
from noprop_dist.engine.local import LocalExecutor
from noprop_dist.model.network import INFERENCE_BATCH, NoPropNetwork
from noprop_dist.model.objective import Learned
from noprop_dist.record.checkpoint import load_newest
from noprop_dist.record.predictions import read_predictions
from noprop_dist.record.store import Store
from noprop_dist.signals import StopSignals
from runs import prepared, shuffled_order, small

EMBEDDINGS = ("one-hot", "learned", "prototype")
KINDS = pytest.mark.parametrize("embedding_type", EMBEDDINGS)


def config(folder: Path, **changes: object) -> TrainConfig:
    return small(folder, **({"max_train_images": 200} | changes))


def interrupt_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Ask for a stop, as Ctrl-C does, inside an epoch of a block, and hold that block till then."""
    step, stop = LiveBlock.train_step, LocalExecutor.stop
    calls: list[int] = []
    asked, sent = Event(), Event()

    def stopping(self: LocalExecutor) -> None:
        stop(self)
        asked.set()

    def counted(self: LiveBlock, x: Tensor, y: Tensor) -> Tensor:
        at = self.step
        calls.append(at)
        if len(calls) >= steps and at % 5 == 2 and not sent.is_set():
            sent.set()
            os.kill(os.getpid(), signal.SIGINT)
            assert asked.wait(60)
        return step(self, x, y)

    monkeypatch.setattr(LocalExecutor, "stop", stopping)
    monkeypatch.setattr(LiveBlock, "train_step", counted)


@pytest.mark.parametrize(
    ("embedding_type", "objective"),
    [
        *((kind, "dt") for kind in EMBEDDINGS),
        *zip(EMBEDDINGS, ("ct", "fm", "ranges"), strict=True),
    ],
)
def test_one_seed_gives_one_model(
    tmp_path: Path, embedding_type: str, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice, in shuffled order, and interrupted in mid-epoch and gone on with from files."""
    changes = {"embedding_type": embedding_type, "objective": objective}
    changes |= {"ema_decay": 0.9, "grad_clip": 1.0}
    first = train(config(tmp_path / "a", **changes))
    with shuffled_order():
        again = train(config(tmp_path / "b", workers=1, **changes))
    assert again.block_sha256 == first.block_sha256
    assert again.test_accuracy == first.test_accuracy

    with monkeypatch.context() as patched:
        interrupt_after(patched, steps=22)
        with pytest.raises(StoppedError):
            train(config(tmp_path / "c", **changes))
    saved = load_newest(Store(tmp_path / "c"))
    assert saved is not None
    assert any(step % 5 for step in saved.state["steps"].values()), "stopped between epochs"
    resumed = train(config(tmp_path / "c", **changes))
    assert resumed.block_sha256 == first.block_sha256
    assert resumed.test_accuracy == first.test_accuracy
    history = [json.loads((tmp_path / n / "training_history.json").read_text()) for n in "ac"]
    for key in ("train_loss_history", "val_accuracy_history", "lr_history"):
        assert history[0][key] == history[1][key]


def test_another_seed_gives_another_model(tmp_path: Path) -> None:
    runs = [train(config(tmp_path / str(seed), epochs=1, seed=seed)) for seed in (0, 1)]
    assert all(a != b for a, b in zip(*(r.block_sha256.values() for r in runs), strict=True))


def test_training_learns_and_says_so_in_the_run_folder(tmp_path: Path) -> None:
    result = train(config(tmp_path, epochs=12, max_train_images=600, plots=True))
    assert result.test_accuracy["mean_softmax"].mean > 0.8
    written = json.loads((tmp_path / "result.json").read_text())
    assert written | {"folder": str(tmp_path)} == json.loads(json.dumps(result.to_dict()))
    assert len(result.test_accuracy["z_T"].draws) == 5
    assert result.accuracy_after_t[-1] == pytest.approx(result.test_accuracy["z_T"].mean)
    history = json.loads((tmp_path / "training_history.json").read_text())
    assert len(history["train_loss_history"]) == 12
    assert history["train_loss_history"][-1] < history["train_loss_history"][0]
    assert {p.name for p in tmp_path.iterdir()} >= {"config.yaml", "events.jsonl", "model"}
    names = {"history", "blocks", "denoising", "trajectories", "confusion"}
    names |= {"predictions", "confidence", "timeline"}
    assert {p.stem for p in (tmp_path / "plots").glob("*.png")} == names
    said = read_predictions(Store(tmp_path))
    assert said is not None
    right = result.test_accuracy["z_T"].draws[0]
    assert said.right.mean() == pytest.approx(right)
    assert confusion_matrix(said.label, said.answer, 10).tolist() == result.confusion
    table = pq.read_table(tmp_path / "test_predictions.parquet")
    for readout, measures in result.test_measures.items():
        p = np.stack(table[readout].to_numpy())
        assert p.sum(axis=1) == pytest.approx(1, abs=1e-5)
        draw = result.test_accuracy[readout].draws[0]
        assert (p.argmax(axis=1) == said.label).mean() == pytest.approx(draw, abs=0.01)
        # Here of the first draw, there the mean of five, which chance keeps apart.
        nats = -np.log(p[said.row, said.label]).mean()
        assert measures["negative_log_likelihood"] == pytest.approx(nats, rel=0.4, abs=0.1)
        assert measures["top5_accuracy"] > result.test_accuracy[readout].mean
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert sum(e["event"] == "unit" for e in events) == 3 * 12


def test_reloaded_network_repeats_the_reported_accuracy(tmp_path: Path) -> None:
    result = train(config(tmp_path))
    trained, test = load_network(tmp_path), load_dataset("digits").test
    right = sum(
        int((trace.z_T_logits.argmax(dim=1).numpy() == y).sum())
        for y, (trace,) in traces_of(
            trained.network, test, trained.normalisation, (0, 359), 0, [0], trained.device
        )
    )
    assert right / 359 == pytest.approx(result.test_accuracy["z_T"].draws[0], abs=1e-9)
    # A prediction draws other noise, picture by picture: as good, and not the same.
    x, y = test.take(np.arange(359))
    prediction = trained.predict(x, readout="z_T")
    assert float((prediction.labels == y).mean()) == pytest.approx(right / 359, abs=0.05)
    assert prediction.probabilities.sum(axis=1) == pytest.approx(np.ones(359), abs=1e-5)


def test_batches_that_are_computed_together_draw_the_noise_of_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job, splits, rounds = prepared(precision="fp32")
    weights = {t: snapshot.part("block") for t, snapshot in rounds.latest.items()}
    network = NoPropNetwork.assemble(job.spec, weights, rounds.shared)

    def answers(together: int) -> tuple[np.ndarray, torch.Tensor]:
        size = together * INFERENCE_BATCH
        monkeypatch.setattr("noprop_dist.engine.evaluate.samples_at_once", lambda device: size)
        rows = (0, len(splits.test))
        batches = list(
            traces_of(network, splits.test, job.normalisation, rows, 0, [0, 1], torch.device("cpu"))
        )
        said = [torch.stack([t.z_T_logits for t in traces]) for _, traces in batches]
        return np.concatenate([y for y, _ in batches]), torch.cat(said, dim=1)

    (alone_y, alone), (y, logits) = answers(1), answers(8)
    assert np.array_equal(y, alone_y)
    torch.testing.assert_close(logits, alone, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits[0], logits[1], atol=1e-2)


def test_predictions_do_not_change_with_the_test_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The confusion matrix of permuted labels has the same predictions per class."""
    honest = train(config(tmp_path / "a"))

    def permuted(*args: object, **kwargs: object) -> object:
        dataset = limit(*args, **kwargs)  # type: ignore[arg-type]
        rng = np.random.default_rng(0)
        test = dataset.test
        object.__setattr__(test, "ys", tuple(rng.permutation(y) for y in test.ys))
        return dataset

    monkeypatch.setattr("noprop_dist.engine.splits.limit", permuted)
    other = train(config(tmp_path / "b"))
    assert other.block_sha256 == honest.block_sha256
    assert np.sum(other.confusion, axis=0).tolist() == np.sum(honest.confusion, axis=0).tolist()
    assert other.confusion != honest.confusion


def test_finished_run_is_not_trained_again_also_after_a_move(tmp_path: Path) -> None:
    first = train(config(tmp_path / "a", epochs=1))
    (tmp_path / "a").rename(tmp_path / "b")
    assert train(config(tmp_path / "b", epochs=1)) == replace(first, folder=str(tmp_path / "b"))


@pytest.mark.parametrize("damage", ["truncated", "altered", "unfinished"])
def test_damaged_checkpoint_costs_only_what_was_after_the_one_before(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train(config(tmp_path, embedding_type="learned", keep_checkpoints=2))
    (tmp_path / "result.json").unlink()
    newest = sorted((tmp_path / "checkpoints").iterdir())[-1]
    if damage == "unfinished":
        (newest / "manifest.json").unlink()
    else:
        data = (newest / "block-002.safetensors").read_bytes()
        data = data[:-9] if damage == "truncated" else data[:-1] + bytes([data[-1] ^ 1])
        (newest / "block-002.safetensors").write_bytes(data)
    again = train(config(tmp_path, embedding_type="learned"))
    assert again.block_sha256 == first.block_sha256
    assert f"warning: checkpoints/{newest.name}" in capsys.readouterr().err
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [e["checkpoint"] is None for e in events if e["event"] == "run_started"] == [True, False]


def test_a_finished_run_keeps_what_going_on_needs(tmp_path: Path) -> None:
    for keep, left in ((None, 1), (3, 3)):
        train(config(tmp_path / str(keep), keep_checkpoints=keep))
        assert len(list((tmp_path / str(keep) / "checkpoints").iterdir())) == left
    longer = train(config(tmp_path / "None", epochs=4))
    assert longer.epochs == 4


def test_checkpoint_of_another_run_is_gone_on_from(tmp_path: Path) -> None:
    first = train(config(tmp_path / "a", keep_checkpoints=2))
    oldest = sorted((tmp_path / "a/checkpoints").iterdir())[0]
    named = train(config(tmp_path / "b", resume_from=str(oldest)))
    assert named.block_sha256 == first.block_sha256
    with pytest.raises(UserError, match=r"another configuration \(--lr 0\.001 there, 0\.002 now"):
        train(config(tmp_path / "c", resume_from=str(tmp_path / "a"), lr=0.002))
    assert not (tmp_path / "c").exists()


def test_folder_of_another_configuration_is_refused(tmp_path: Path) -> None:
    train(config(tmp_path, epochs=1))
    with pytest.raises(UserError, match=r"--lr 0\.001 there, 0\.002 now"):
        train(config(tmp_path, epochs=1, lr=0.002))


def break_block(monkeypatch: pytest.MonkeyPatch, blocks: set[int], at: int) -> None:
    """The loss of some blocks becomes NaN at a step."""
    forward = LiveBlock.forward

    def broken(self: LiveBlock, x: Tensor, y: Tensor) -> Learned:
        loss, logits = forward(self, x, y)
        return Learned(loss * torch.nan if self.t in blocks and self.step == at else loss, logits)

    monkeypatch.setattr(LiveBlock, "forward", broken)


@pytest.mark.parametrize("embedding_type", ["one-hot", "learned"])
def test_block_whose_loss_becomes_nan_is_set_aside_and_named(
    tmp_path: Path, embedding_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(config(tmp_path / "a", embedding_type=embedding_type))
    break_block(monkeypatch, {2}, at=7)
    result = train(config(tmp_path / "b", embedding_type=embedding_type))
    assert "NaN or infinite at step 7" in result.set_aside["2"]
    assert set(result.block_sha256) == {"1", "3"}
    if embedding_type == "one-hot":
        assert result.block_sha256.items() < whole.block_sha256.items()
    saved = load_newest(Store(tmp_path / "b"))
    assert saved is not None
    assert saved.state["steps"] == {"1": 15, "2": 5, "3": 15}
    x, _ = load_dataset("digits").test.take(np.arange(5))
    assert load_network(tmp_path / "b").predict(x).labels.shape == (5,)


def test_run_whose_blocks_all_fail_names_one_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_block(monkeypatch, {1, 2, 3}, at=7)
    with pytest.raises(UserError, match=r"every block failed.* at step 7.*lower --lr"):
        train(config(tmp_path))
    saved = load_newest(Store(tmp_path))
    assert saved is not None
    assert saved.state["round"] == 1
    assert not (tmp_path / "result.json").exists()


def test_weights_that_the_last_update_ruined_are_never_kept(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="NaN or infinite at step"):
        train(config(tmp_path, lr=1e39, epochs=1, warmup_epochs=0.0))
    assert load_newest(Store(tmp_path)) is None


def test_early_stopping_ends_the_run_and_keeps_the_best(tmp_path: Path) -> None:
    changes = {"epochs": 30, "early_stopping_patience": 1, "lr": 1e-6}
    one, two = (train(config(tmp_path / str(n), workers=n, **changes)) for n in (1, 2))
    assert one.epochs < 30
    assert one.block_sha256 == two.block_sha256
    assert one.test_accuracy == two.test_accuracy


def test_averaged_weights_leave_the_start_behind(tmp_path: Path) -> None:
    changes = {"epochs": 10, "max_train_images": 600}
    plain = train(config(tmp_path / "plain", **changes))
    averaged = train(config(tmp_path / "ema", ema_decay=0.999, **changes))
    means = [r.test_accuracy["mean_softmax"].mean for r in (plain, averaged)]
    assert averaged.block_sha256 != plain.block_sha256
    assert means[1] > means[0] - 0.1


def test_plateau_lowers_the_learning_rate(tmp_path: Path) -> None:
    settings = {"lr_schedule": "plateau", "lr_patience": 1, "warmup_epochs": 0.0}
    train(config(tmp_path, epochs=6, lr=1e-6, **settings))
    history = json.loads((tmp_path / "training_history.json").read_text())
    assert min(history["lr_history"]) < max(history["lr_history"])


def test_learned_embeddings_are_averaged_until_frozen(tmp_path: Path) -> None:
    train(config(tmp_path, embedding_type="learned", embedding_dim=12, freeze_after=2))
    saved = load_newest(Store(tmp_path))
    assert saved is not None
    copies = [saved.parts[f"block-00{t}"]["shared.class_embed"] for t in (1, 2, 3)]
    assert torch.equal(copies[0], copies[1])
    assert torch.equal(copies[0], copies[2])
    assert torch.equal(copies[0], saved.parts["shared"]["class_embed"])


def test_data_that_changed_since_the_checkpoint_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        interrupt_after(patched, steps=8)
        with pytest.raises(StoppedError):
            train(config(tmp_path))

    def changed(*args: object, **kwargs: object) -> object:
        dataset = limit(*args, **kwargs)  # type: ignore[arg-type]
        dataset.train.xs[0][0, 0, 0, 0] ^= 1
        return dataset

    monkeypatch.setattr("noprop_dist.engine.splits.limit", changed)
    with pytest.raises(UserError, match="other data than digits has now"):
        train(config(tmp_path))


def test_folder_of_a_live_run_is_refused_and_that_of_a_dead_one_taken_over(
    tmp_path: Path,
) -> None:
    code = "import sys, time; from noprop_dist.record.store import Store\n"
    code += "with Store(sys.argv[1]).lock(): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=rf"in use by a live run \(process {holder.pid} on"):
            train(config(tmp_path, epochs=1))
        holder.kill()
    assert train(config(tmp_path, epochs=1)).epochs == 1


@pytest.mark.parametrize("value", ["mean", "missing"])
def test_altered_description_of_a_network_is_refused(tmp_path: Path, value: str) -> None:
    train(config(tmp_path, epochs=1))
    file = tmp_path / "model/network.json"
    described = json.loads(file.read_text())
    if value == "mean":
        described["normalisation"]["mean"][0] += 0.1
    else:
        del described["spec"]
    file.write_text(json.dumps(described))
    with pytest.raises(UserError, match=r"network\.json was altered"):
        load_network(tmp_path)


def test_second_signal_and_a_signal_outside_training_end_at_once(tmp_path: Path) -> None:
    asked: list[int] = []
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals() as signals:
        with signals.asking(lambda: asked.append(1)):
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert asked == [1]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
