"""The model card of a run, and its way to the Hugging Face hub, of which a stand-in is here."""

import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from made_runs import make_run
from noprop_dist import load_network, train
from noprop_dist.cli import main
from noprop_dist.record.store import Store
from runs import result_of, small

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def run(pictured_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pictured_run, tmp_path / "run")


def made(folder: Path, **options: Any) -> Path:
    """A run without weights, of three classes."""
    make_run(folder, **options)
    network = {"spec": {"sample_shape": [4]}, "class_names": ["cat", "dog", "fox"]}
    Store(folder).write("model/network.json", json.dumps(network).encode())
    return folder


def refused(capsys: Capture, *argv: str) -> str:
    """What is said of a command that is refused: one line."""
    capsys.readouterr()
    assert main(list(argv)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_the_hub_reads_the_numbers_of_the_result_from_the_card(run: Path, capsys: Capture) -> None:
    hub = pytest.importorskip("huggingface_hub", exc_type=ImportError)
    assert main(["card", str(run)]) == 0
    assert capsys.readouterr().out == f"{run}/README.md\n"
    card, result = hub.ModelCard.load(run / "README.md"), result_of(run)
    read = {e.metric_name: e.metric_value for e in card.data.eval_results}
    for readout in ("z_T", "mean_softmax"):
        measures = result["test_measures"][readout]
        assert read[f"accuracy of {readout}"] == result["test_accuracy"][readout]["mean"]
        assert read[f"top5 accuracy of {readout}"] == measures["top5_accuracy"]
        assert f"{100 * result['test_accuracy'][readout]['mean']:.2f} +-" in card.text
    assert (card.data.pipeline_tag, card.data.license) == ("image-classification", None)
    assert "uint8 (N, 1, 8, 8)" in card.text
    assert "scikit-learn's digits: " in card.text
    assert main(["card", str(run)]) == 0  # the same again


def test_a_card_that_was_written_on_is_kept(tmp_path: Path, capsys: Capture) -> None:
    run = made(tmp_path / "run")
    (run / "README.md").write_text("mine")
    assert "says something else: delete it" in refused(capsys, "card", str(run))
    assert (run / "README.md").read_text() == "mine"
    assert main(["card", str(run), "--output", str(tmp_path / "card.md")]) == 0
    assert (tmp_path / "card.md").exists()


def test_a_card_tells_what_went_wrong_and_nothing_of_the_machine(tmp_path: Path) -> None:
    given = {"dataset": "/secret/place/pets", "block": "/secret/code/own.py:Own"}
    run = made(tmp_path / "run", set_aside={"2": "no memory"}, **given)
    assert main(["card", str(run)]) == 0
    card = (run / "README.md").read_text()
    assert "secret" not in card
    head = yaml.safe_load(card.split("---")[1])
    (found,) = head["model-index"][0]["results"]
    assert found["dataset"]["name"] == "pets"
    assert head["pipeline_tag"] == "tabular-classification"
    for said in (
        "Block 2 was set aside (no memory)",
        "in no log of the run",
        "block.py:Own",
        "`fox`",
    ):
        assert said in card


def test_what_is_not_tested_has_no_card(tmp_path: Path, capsys: Capture) -> None:
    run = made(tmp_path / "run", finished=False)
    for command in (["card", str(run)], ["push", str(run), "me/net"]):
        assert "has not finished" in refused(capsys, *command)


@dataclass
class Hub:
    """A stand-in for the hub and its ``HfApi``: what was uploaded lies in a folder."""

    place: Path
    there: dict[str, bool] = field(default_factory=dict)

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> str:
        assert exist_ok
        self.there.setdefault(repo_id, private)
        return f"https://hub/{repo_id}"

    def repo_info(self, repo_id: str) -> Any:
        return type("Info", (), {"private": self.there[repo_id]})

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        if "/" not in repo_id:
            raise ValueError("Repo id must be in the form 'namespace/repo_name'")
        shutil.copytree(folder_path, self.place / repo_id)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    real = pytest.importorskip("huggingface_hub", exc_type=ImportError)
    stand_in = Hub(tmp_path / "hub")
    monkeypatch.setattr(real, "HfApi", lambda: stand_in)
    monkeypatch.setattr(real, "get_token", lambda: "hf_any")
    return stand_in


def test_what_is_pushed_is_a_network_that_can_be_used(run: Path, hub: Hub, capsys: Capture) -> None:
    assert main(["push", str(run), "me/net", "--private"]) == 0
    assert capsys.readouterr().out == "https://hub/me/net\n"
    assert hub.there == {"me/net": True}
    there = hub.place / "me/net"
    assert {str(p.relative_to(there)) for p in there.rglob("*") if p.is_file()} == {
        "README.md", "config.yaml", "model/network.json", "model/network.safetensors",
        "result.json", "training_history.json",
    }  # fmt: skip
    images = np.zeros((2, 1, 8, 8), np.uint8)
    own, pushed = (load_network(place).predict(images) for place in (run, there))
    np.testing.assert_array_equal(own.probabilities, pushed.probabilities)
    assert main(["show", str(there)]) == 0


def test_a_run_on_features_is_pushed_with_what_makes_them_of_pictures(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOPROP_CACHE", str(tmp_path / "cache"))
    given = {"features": "torchvision:squeezenet1_1", "image_size": 32, "max_train_images": 100}
    run = Path(train(small(tmp_path / "run", **given, epochs=1, num_blocks=2)).folder)
    assert main(["push", str(run), "me/net"]) == 0
    images = np.zeros((2, 1, 32, 32), np.uint8)
    own, pushed = (load_network(p).predict(images) for p in (run, hub.place / "me/net"))
    np.testing.assert_array_equal(own.probabilities, pushed.probabilities)
    card = (hub.place / "me/net/README.md").read_text()
    assert "pipeline_tag: image-classification" in card
    assert "uint8 (N, 1, 32, 32)" in card


def test_one_s_own_card_is_pushed_as_it_is(run: Path, hub: Hub) -> None:
    (run / "README.md").write_text("mine")
    assert main(["push", str(run), "me/net"]) == 0
    assert (hub.place / "me/net/README.md").read_text() == "mine"


def test_nothing_private_is_pushed_to_a_public_repository(
    run: Path, hub: Hub, capsys: Capture
) -> None:
    hub.there["me/net"] = False
    assert "is public" in refused(capsys, "push", str(run), "me/net", "--private")
    assert not hub.place.exists()
    assert "could not be written on the hub (Repo id" in refused(capsys, "push", str(run), "net")


def test_without_the_hub_s_library_or_a_token_one_sentence_says_so(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "hf auth login" in refused(capsys, "push", str(run), "me/net")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "install noprop-dist[hf]" in refused(capsys, "push", str(run), "me/net")
