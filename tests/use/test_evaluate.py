"""Evaluation: the numbers of training again, and the ones that training does not give."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import precision_recall_fscore_support

from noprop_dist import load_network, train
from noprop_dist.cli import main
from noprop_dist.data import normalise
from noprop_dist.maths.keys import torch_generator
from noprop_dist.use.evaluate import evaluate
from noprop_dist.use.measures import BINS, calibration, class_scores
from noprop_dist.use.opening import OpenRun, open_run
from noprop_dist.use.rows import LabelledRows, rows_for
from runs import result_of, small


@pytest.fixture(scope="module")
def rows(opened: OpenRun) -> LabelledRows:
    return rows_for(opened)


def test_evaluation_gives_the_numbers_of_the_end_of_training(
    opened: OpenRun, rows: LabelledRows
) -> None:
    result, found = result_of(Path(opened.name)), evaluate(opened, rows, batch=256)
    for readout in ("z_T", "mean_softmax"):
        assert found["readouts"][readout]["accuracy"] == result["test_accuracy"][readout]
        for name, value in result["test_measures"][readout].items():
            assert found["readouts"][readout][name] == pytest.approx(value)
    for name in ("accuracy_after_t", "block_accuracy", "confusion"):
        assert found[name] == result[name]


def test_noise_free_steps_begin_at_the_same_z_0_and_draw_nothing(
    opened: OpenRun, rows: LabelledRows
) -> None:
    few = replace(rows, split=rows.split.select(np.arange(100)))
    told = evaluate(opened, few, draws=2)["accuracy_noise_free"]
    x, y = few.split.take(np.arange(100))
    network, wanted = opened.trained.network, []
    for draw in range(2):
        generator = torch_generator(opened.seed, "inference", draw, 0)
        z_0 = torch.randn(100, 10, generator=generator)
        noises = iter([z_0, *torch.zeros(3, 100, 10)])
        normalised = normalise(torch.from_numpy(x), opened.trained.normalisation)
        (trace,) = network.trace(normalised, [noises])
        wanted.append(float((trace.z_T_logits.argmax(dim=1).numpy() == y).mean()))
    assert told["draws"] == pytest.approx(wanted)


def test_class_scores_are_those_of_scikit_learn() -> None:
    truth, answers = np.random.default_rng(0).integers(0, 6, (2, 300))
    answers[answers == 3] = 2  # never answered
    truth[truth == 5] = 4  # no images
    confusion = np.zeros((6, 6), np.int64)
    np.add.at(confusion, (truth, answers), 1)
    found = class_scores(confusion, tuple("abcdef"), draws=1)
    precision, recall, f1, images = precision_recall_fscore_support(
        truth, answers, labels=range(6), zero_division=0
    )
    for k, scores in enumerate(found["per_class"]):
        assert scores["images"] == images[k]
        for name, expected in (("precision", precision), ("recall", recall), ("f1", f1)):
            assert (scores[name] or 0.0) == pytest.approx(expected[k], abs=1e-12)
    assert found["per_class"][3]["precision"] is None
    assert found["per_class"][5]["recall"] is None
    assert found["macro"]["f1"] == pytest.approx(f1[:5].mean(), abs=1e-12)


def test_calibration_error_is_the_mean_distance_of_confidence_and_accuracy() -> None:
    # 30 answers of 0.9, 15 of them right, and 10 of 0.3, 3 of them right.
    count, right = np.zeros((2, BINS), np.int64)
    confidence = np.zeros(BINS)
    count[[4, 13]], right[[4, 13]], confidence[[4, 13]] = (10, 30), (3, 15), (3.0, 27.0)
    found = calibration(count, right, confidence)
    assert found["expected_calibration_error"] == pytest.approx(0.75 * 0.4)
    assert found["bins"][13]["accuracy"] == 0.5
    assert found["bins"][0]["accuracy"] is None


def test_the_answer_of_a_trained_network_is_calibrated(tmp_path: Path) -> None:
    """Expected calibration error at most 5 %, and within a point of the best readout."""
    folder = tmp_path / "digits"
    config = small(folder, num_blocks=2, epochs=15, batch_size=128, max_train_images=None)
    train(replace(config, precision="fp32"))
    opened = open_run(str(folder), "cpu")
    found = evaluate(opened, rows_for(opened))["readouts"]
    answer = found[opened.trained.answering.readout]
    assert answer["calibration"]["expected_calibration_error"] <= 0.05
    best = max(of["accuracy"]["mean"] for of in found.values())
    assert best > 0.97
    assert answer["accuracy"]["mean"] >= best - 0.01


def test_draws_and_confidences_are_those_of_the_network(
    opened: OpenRun, rows: LabelledRows
) -> None:
    """Counted again, plainly, from the network's own traces."""
    few = replace(rows, split=rows.split.select(np.arange(100)))
    found = evaluate(opened, few, draws=3)
    x, y = few.split.take(np.arange(100))
    normalised = normalise(torch.from_numpy(x), opened.trained.normalisation)
    draws = [torch_generator(opened.seed, "inference", draw, 0) for draw in range(3)]
    traces = opened.trained.network.trace(normalised, draws)
    temperature = opened.trained.answering.temperatures
    for name, logits in (
        ("z_T", torch.stack([t.z_T_logits for t in traces])),
        ("mean_softmax", torch.stack([t.mean_softmax.log() for t in traces])),
    ):
        p = (logits / temperature[name]).softmax(dim=2)
        told = found["readouts"][name]
        averaged = [float((p[: n + 1].mean(0).argmax(1).numpy() == y).mean()) for n in range(3)]
        assert told["accuracy_of_averaged_draws"] == pytest.approx(averaged)
        confidence, answers = p.max(dim=2)
        hit = answers.numpy() == y
        bins = told["calibration"]["bins"]
        for b in bins:
            inside = (confidence.numpy() >= b["low"]) & (confidence.numpy() < b["high"])
            assert b["count"] == inside.sum()
            if b["count"]:
                assert b["accuracy"] == pytest.approx(hit[inside].mean())
        assert sum(b["count"] for b in bins) == 300


def test_command_writes_numbers_and_a_picture(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run_folder)]) == 0
    said = capsys.readouterr().out
    result = result_of(run_folder)
    assert f"{100 * result['test_accuracy']['z_T']['mean']:.2f} +- " in said
    written = json.loads((run_folder / "evaluation.json").read_text())
    assert written["split"] == "test"
    with Image.open(run_folder / "plots/evaluation.png") as picture:
        assert min(picture.size) > 500
    other = tmp_path / "other"
    args = ["--split", "val", "--draws", "1", "--json", "--output", str(other)]
    assert main(["evaluate", str(run_folder), *args]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told == json.loads((other / "evaluation.json").read_text())
    history = json.loads((run_folder / "training_history.json").read_text())
    accuracy = told["readouts"]["z_T"]["accuracy"]
    assert accuracy == {
        "mean": history["val_accuracy_history"][-1],
        "stderr": None,
        "draws": accuracy["draws"],
        "margin": accuracy["margin"],
    }


def test_unfinished_run_is_evaluated_from_its_newest_checkpoint(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished = load_network(run_folder).network.state_dict()
    for file in (run_folder / "model").iterdir():
        file.unlink()
    wanted = result_of(run_folder)["test_accuracy"]
    (run_folder / "result.json").unlink()
    assert main(["evaluate", str(run_folder), "--json"]) == 0
    out = capsys.readouterr()
    assert "has no finished network: using step-" in out.err
    # The last checkpoint is of the last step: its network is the one that was deleted.
    found = json.loads(out.out.splitlines()[-1])
    assert found["readouts"]["z_T"]["accuracy"] == wanted["z_T"]
    from noprop_dist.use.opening import open_run

    again = open_run(str(run_folder), "cpu").trained.network.state_dict()
    assert again.keys() == finished.keys()
    assert all(torch.equal(again[name], finished[name]) for name in finished)


def folder_of_classes(root: Path, names: str, mode: str = "L", size: int = 8) -> str:
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(4):
            Image.new(mode, (size, size), 20 * k + i).save(root / name / f"{i}.png")
    return str(root)


@pytest.mark.parametrize(
    ("names", "mode", "size", "says"),
    [
        ("0123456789", "L", 9, "are 1x9x9, and the network takes 1x8x8: give --image-size 8"),
        ("01234", "L", 8, "has 5 classes and the network knows 10"),
        ("0123456abc", "L", 8, "class 7 is 'a' in"),
    ],
)
def test_data_that_does_not_fit_gets_one_sentence(
    names: str, mode: str, size: int, says: str, trained_folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = folder_of_classes(tmp_path / "data", names, mode, size)
    args = ["--dataset", data, "--output", str(tmp_path / "out")]
    assert main(["evaluate", str(trained_folder), *args]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_other_data_can_be_resized_and_have_other_names(
    trained_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder_of_classes(tmp_path / "data", "abcdefghij", size=12)
    args = ["--dataset", data, "--image-size", "8", "--other-names", "--json"]
    out = ["--output", str(tmp_path / "out")]
    assert main(["evaluate", str(trained_folder), *args, *out]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["dataset"], found["split"], found["images"]) == (data, "all", 40)
