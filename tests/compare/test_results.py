"""From measurements to the table, the picture and the sentences; and going on where it stopped."""

import json
import math
import re
import statistics
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from noprop_dist import TrainConfig, UserError
from noprop_dist.cli import main
from noprop_dist.compare.compare_options import CompareOptions
from noprop_dist.compare.comparison import Comparison, common_target, summarise
from noprop_dist.compare.comparison_table import markdown, terminal_table
from noprop_dist.compare.measurements import Measured, Results
from noprop_dist.compare.method_rows import MIB, Facts, make_row
from noprop_dist.compare.picture import plot_comparison
from noprop_dist.compare.run_comparison import compare, show
from noprop_dist.draw.style import drawn
from noprop_dist.engine.splits import load_splits
from noprop_dist.record.store import Store
from noprop_dist.run_files import COMPARISON
from runs import users_style

FACTS = Facts(
    dataset="digits", train_images=1295, val_images=143, test_images=359, num_blocks=10,
    objective="dt", embedding="one-hot", epochs=3, steps_per_epoch=10, batch_size=128, workers=2,
    device="cpu", precision="bf16", target_accuracy=0.98, efficiency_epochs=5,
)  # fmt: skip


def run(method: str = "noprop", seed: int = 0, **changes: Any) -> Measured:
    """A run of 1,280 images an epoch on two devices: 98 % after its second epoch, at 3 s."""
    made = Measured(
        method=method,
        seed=seed,
        devices=2,
        images=1280,
        test_accuracy=[0.98, 0.99],
        val_accuracy=[0.5, 0.985, 0.97],
        seconds=[2.0, 3.0, 6.0],
        sent_bytes=100.0 * MIB,
        reduced_bytes=None,
        peak_bytes=[1000 * MIB, 900 * MIB],
        own_bytes=[600 * MIB, 650 * MIB],
    )
    return replace(made, **changes)


def compared(
    *runs: Measured, alone: dict[str, Measured] | None = None, facts: Facts = FACTS
) -> Comparison:
    measured: dict[str, list[Measured]] = {}
    for one in runs:
        measured.setdefault(one.method, []).append(one)
    return summarise("folder", facts, measured, alone or {}, {"torch": "2"})


def test_a_row_holds_means_over_seeds_and_their_standard_error() -> None:
    other = run(seed=1, test_accuracy=[0.96], seconds=[1.0, 5.0, 12.0], peak_bytes=[1100 * MIB])
    row = make_row([run(), other], run(devices=1, seconds=[3.0, 6.0, 12.0]), 0.98)
    assert row.test_accuracy == pytest.approx(0.9725)
    assert row.stderr == pytest.approx(math.sqrt(2 * 0.0125**2 / (2 - 1) / 2))
    assert row.seconds_per_epoch == pytest.approx((2 + 4) / 2)
    assert row.seconds_to_target == pytest.approx((3 + 5) / 2)
    assert row.epochs_to_target == 2
    assert row.images_per_s == pytest.approx((1280 / 2 + 1280 / 4) / 2 / 2)
    assert row.efficiency == pytest.approx(240 / 320)
    assert row.peak_bytes == 1100 * MIB


def test_without_a_target_it_is_what_every_run_reaches_nearly() -> None:
    runs = {"a": [run(val_accuracy=[0.5, 0.9, 0.8])], "b": [run(val_accuracy=[0.2, 0.7, None])]}
    assert common_target(runs) == pytest.approx(0.693)
    assert common_target({"a": [run(val_accuracy=[None] * 3)]}) == 1.0


def test_a_target_that_one_seed_misses_is_not_reached() -> None:
    row = make_row([run(), run(seed=1, val_accuracy=[0.1, 0.2, 0.3])], None, 0.98)
    assert (row.seconds_to_target, row.epochs_to_target, row.stderr) == (None, None, 0.0)
    assert make_row([run(val_accuracy=[None] * 3)], None, 0.98).seconds_to_target is None
    assert make_row([run()], None, 0.98).stderr is None


def test_the_table_shows_every_measure_of_every_method() -> None:
    comparison = compared(
        run(),
        run("twin", sent_bytes=None, val_accuracy=[0.1, 0.2, 0.3]),
        alone={"noprop": run(devices=1, seconds=[3.0, 6.0, 10.0])},
    )
    console = Console(width=80)
    with console.capture() as captured:
        console.print(terminal_table(comparison))
    text = captured.get()
    for page in (text, markdown(comparison, "a.png")):
        found = {" ".join(line.replace("|", " ").split()) for line in page.splitlines()}
        assert "test accuracy of z_T, % 98.50 98.50" in found
        assert "+-, 95 %, images alone 1.36 1.36" in found
        assert "time per epoch, s 2.00 2.00" in found
        assert "time to 98 % validation, s 3.0 (epoch 2) not reached" in found
        assert "images/s per device 320 320" in found
        assert "peak memory per device, MiB 1,000 1,000" in found
        assert "without the object store's, MiB 650 650" in found
        assert "sent per epoch, MiB 100.0 -" in found
        assert "efficiency, % of one device 83 -" in found


def test_noprop_is_called_by_its_objective() -> None:
    comparison = compared(run(), run("twin"), facts=replace(FACTS, objective="fm"))
    assert "| NoProp-FM, block-parallel | back-propagated twin |" in markdown(comparison, None)
    console = Console(width=80)
    with console.capture() as captured:
        console.print(terminal_table(comparison))
    assert "NoProp-FM," in captured.get()
    legend = plot_comparison(comparison).axes[0].get_legend()
    assert legend.get_texts()[0].get_text() == "NoProp-FM, block-parallel"


def test_three_methods_fit_a_terminal_of_80_columns() -> None:
    comparison = compared(run(), run("twin"), run("noprop-sequential", devices=1))
    console = Console(width=80)
    with console.capture() as captured:
        console.print(terminal_table(comparison))
    assert "…" not in captured.get()
    assert len(captured.get().splitlines()) < 20  # nothing is broken into several lines


def said(*runs: Measured, **more: Any) -> str:
    return "\n".join(compared(*runs, **more).sentences)


def test_sentences_follow_the_numbers_in_either_direction() -> None:
    good, bad = [0.99, 0.99], [0.90, 0.90]
    noprop = run(test_accuracy=bad, seconds=[4.0, 8.0, 12.0])
    twin = run("twin", test_accuracy=good, sent_bytes=400.0 * MIB)
    text = said(noprop, twin)
    assert "The twin is more accurate than NoProp by 9.00 points" in text
    assert "An epoch takes NoProp on 2 devices 2.00 times as long as the twin" in text
    assert "NoProp takes 2.67 times the device time for that accuracy" in text
    assert "The twin sends 400.0 MiB of gradients over TCP, 4.0 times as much as NoProp." in text
    assert "wait for one another at every step, 10 times an epoch" in text
    turned = said(
        run(test_accuracy=good, sent_bytes=400.0 * MIB),
        run("twin", test_accuracy=bad, seconds=[4.0, 8.0, 12.0]),
    )
    assert "NoProp is more accurate than the twin by 9.00 points" in turned
    assert "An epoch takes the twin on 2 devices 2.00 times as long as NoProp" in turned
    assert "NoProp takes 0.38 times the device time" in turned
    assert "The twin sends 100.0 MiB of gradients over TCP, 4.0 times less than NoProp." in turned


def test_gradients_that_nccl_moves_are_told_as_what_was_given_to_it() -> None:
    text = said(run(), run("twin", sent_bytes=None, reduced_bytes=50.0 * MIB))
    assert "NoProp sends 100.0 MiB an epoch through the object store: states of blocks" in text
    assert "Each of the twin's workers gives 50.0 MiB an epoch to the all-reduce" in text


def test_differences_that_may_be_chance_are_called_so() -> None:
    text = said(run(test_accuracy=[0.985]), run("twin", test_accuracy=[0.99]))
    assert "NoProp and the twin are equally accurate as far as one seed and 359 test" in text
    assert "may be chance of the images; what another seed would give, one seed does not" in text
    perfect = said(run(test_accuracy=[1.0]), run("twin", test_accuracy=[1.0]))
    assert "they differ by 0.00 points, and less than 0.77 may be chance" in perfect


def seeds(method: str, *accuracies: float) -> list[Measured]:
    return [run(method, seed, test_accuracy=[value]) for seed, value in enumerate(accuracies)]


def test_a_worker_s_own_memory_is_of_one_worker_and_moment() -> None:
    """Not the most of one worker less what another one shares."""
    noprop = run(peak_bytes=[1000 * MIB, 900 * MIB], own_bytes=[500 * MIB, 800 * MIB])
    other = run(seed=1, peak_bytes=[1100 * MIB], own_bytes=[700 * MIB])
    twins = [run("twin", s, peak_bytes=[400 * MIB], own_bytes=[400 * MIB]) for s in (0, 1)]
    text = said(noprop, other, *twins)
    assert "A worker of NoProp needs 2.00 times the memory of one of the twin" in text
    assert "(800 MiB against 400)" in text


def test_seeds_that_agree_do_not_make_few_test_images_many() -> None:
    agreeing = seeds("noprop", 0.985, 0.985), seeds("twin", 0.99, 0.99)
    text = said(*agreeing[0], *agreeing[1])
    assert "NoProp and the twin are equally accurate as far as 2 seeds and 359 test" in text
    many = said(*agreeing[0], *agreeing[1], facts=replace(FACTS, test_images=100_000))
    assert "The twin is more accurate than NoProp by 0.50 points" in many
    # 1.96 x the root of the variances of both, 0.985 x 0.015 and 0.99 x 0.01 by 100,000.
    assert "(less than 0.10 could be chance of 2 seeds and 100,000 test images)" in many


@pytest.mark.parametrize(("count", "quantile"), [(2, 12.706), (3, 4.303), (6, 2.571), (12, 2.201)])
def test_few_seeds_leave_more_doubt_and_are_paired(count: int, quantile: float) -> None:
    """On so many images that they leave none."""
    facts = replace(FACTS, test_images=10**12)
    gaps = [0.02 if seed % 2 else 0.04 for seed in range(count)]
    common = [0.90 + 0.01 * seed / count for seed in range(count)]  # of both: says nothing
    worse = seeds("noprop", *common)
    better = seeds("twin", *(c + gap for c, gap in zip(common, gaps, strict=True)))
    spread = statistics.stdev(gaps) / math.sqrt(count)
    text = said(*worse, *better, facts=facts)
    (told,) = re.findall(rf"less than (\S+) \w+ be chance of (?:the seeds and|{count} seeds)", text)
    assert float(told) == pytest.approx(100 * quantile * spread, rel=0.003, abs=0.006)


def test_one_device_compares_device_time_and_a_missed_target_is_said() -> None:
    alone = run("noprop-sequential", devices=1, val_accuracy=[0.1, 0.1, 0.1])
    text = said(run(), alone)
    assert "Algorithm 1 did not reach 98 % of the validation images in 3 epochs." in text
    half = said(run(), run("noprop-sequential", devices=1))
    assert "NoProp takes 2.00 times the device time for that accuracy" in half


def test_the_picture_has_a_curve_a_seed_and_a_bar_a_method() -> None:
    twin = run("twin", sent_bytes=None, val_accuracy=[0.1, 0.2, 0.3])
    comparison = compared(run(), run(seed=1), twin)
    figure = plot_comparison(comparison)
    curves, *panels = figure.axes
    by_colour: dict[Any, int] = {}
    for line in curves.get_lines():
        if len(line.get_xdata()) == 3:
            by_colour[line.get_color()] = by_colour.get(line.get_color(), 0) + 1
    assert sorted(by_colour.values()) == [1, 2]
    assert len(panels) == 6
    texts = {text.get_text() for axes in panels for text in axes.texts}
    assert {"1.50 +- 1.36", "100.0", "-", "not reached", "1,000 (650 its own)"} <= texts
    left, right = panels[0].get_xlim()
    for interval in panels[0].get_lines():
        assert left <= min(interval.get_xdata())
        assert max(interval.get_xdata()) < right
    widths = [bar.get_width() for bar in panels[1].patches]
    assert widths == pytest.approx([2.0, 2.0])


def test_every_figure_can_be_drawn_without_validation() -> None:
    comparison = compared(run(val_accuracy=[None] * 3, peak_bytes=[], own_bytes=[]))
    assert len(drawn(lambda: plot_comparison(comparison))) > 10_000
    assert comparison.rows[0].peak_bytes is None
    without = compared(run(val_accuracy=[None] * 3), facts=replace(FACTS, val_images=0))
    assert "| time to 98 % validation, s | - |" in markdown(without, None)
    assert "did not reach" not in "".join(without.sentences)


SETTINGS = {
    "workers_asked_for": None, "efficiency_epochs": 5, "workers": 2, "device": "cpu",
    "precision": "fp32",
}  # fmt: skip


def finished(folder: Path, *, without: str = "") -> tuple[TrainConfig, CompareOptions]:
    """A folder with all measurements of a comparison of two methods and two seeds."""
    config = TrainConfig(run_dir=str(folder), quiet=True)
    results = Results(Store(folder))
    hashes = load_splits(config).hashes
    results.claim(config, SETTINGS, hashes["data"] + hashes["test"])
    for method in ("noprop", "twin"):
        for seed in (0, 1):
            if f"{method}-{seed}" != without:
                results.put(run(method, seed))
        results.put(run(method, devices=1), alone=True)
    return config, CompareOptions(seeds=2)


def test_what_is_finished_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, options = finished(tmp_path)
    monkeypatch.setattr("noprop_dist.compare.run_comparison._measure", pytest.fail)
    comparison = compare(config, options)
    assert [row.method for row in comparison.rows] == ["noprop", "twin"]
    assert [row.seeds for row in comparison.rows] == [2, 2]
    kept = json.loads((tmp_path / "comparison.json").read_text())
    assert kept["rows"][0]["test_accuracy"] == comparison.rows[0].test_accuracy
    assert kept["sentences"] == comparison.sentences
    assert (tmp_path / "comparison.md").read_text() == markdown(comparison, "comparison.png")
    assert (tmp_path / "comparison.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "comparison.png").unlink()
    unpictured = replace(config, plots=False)
    fewer = compare(unpictured, replace(options, methods="twin", seeds=1))
    assert not (tmp_path / "comparison.png").exists()
    assert [(row.method, row.seeds) for row in fewer.rows] == [("twin", 1)]


def test_noprop_show_tells_a_comparison_as_it_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = compare(*finished(tmp_path))
    show(comparison)
    ending = capsys.readouterr().out
    assert main(["show", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert told.endswith(ending)
    assert "finished comparison" in told
    assert main(["show", str(tmp_path), "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert known["comparison"] == json.loads(json.dumps(comparison.to_dict()))
    older = json.loads((tmp_path / "comparison.json").read_text())
    for row in older["rows"]:
        del row["mean_by_seed"]
    (tmp_path / "comparison.json").write_text(json.dumps(older))
    assert main(["show", str(tmp_path)]) == 0
    capsys.readouterr()
    (tmp_path / "comparison.json").write_text('{"rows": 3}')
    assert main(["show", str(tmp_path)]) == 2
    assert "comparison.json is not what a comparison writes" in capsys.readouterr().err


def test_the_table_does_without_a_picture_that_cannot_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(comparison: Comparison) -> None:
        assert (tmp_path / "comparison.json").exists()  # numbers come first
        assert (tmp_path / "comparison.md").read_text() == markdown(comparison, None)
        raise RuntimeError("no ink")

    monkeypatch.setattr("noprop_dist.compare.run_comparison.plot_comparison", broken)
    config, options = finished(tmp_path)
    comparison = compare(config, options)
    assert capsys.readouterr().err == f"not drawn: {tmp_path}/comparison.png (no ink)\n"
    assert (tmp_path / "comparison.md").read_text() == markdown(comparison, None)
    show(comparison)
    assert "comparison.png" not in capsys.readouterr().out


def test_the_picture_is_the_same_whatever_a_user_has_set_and_any_data_s_name_is_drawn() -> None:
    comparison = compared(run(), run("twin"), facts=replace(FACTS, dataset="a$_{$b"))
    made = []
    for style in (nullcontext(), users_style()):
        with style:
            made.append(drawn(lambda: plot_comparison(comparison)))
    assert made[0] == made[1]


def test_only_what_is_missing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, options = finished(tmp_path, without="twin-1")
    called: list[int] = []

    def measure(*args: Any) -> None:
        called.append(1)
        Results(Store(tmp_path)).put(run("twin", 1))

    monkeypatch.setattr("noprop_dist.compare.run_comparison._measure", measure)
    compare(config, options)
    compare(config, options)
    assert called == [1]


def test_what_cannot_be_compared_is_refused_in_python_too(tmp_path: Path) -> None:
    config, options = finished(tmp_path)
    with pytest.raises(UserError, match="--grad-clip does not mean the same to every method"):
        compare(replace(config, grad_clip=1.0), options)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    config, options = finished(tmp_path / "a")
    with pytest.raises(UserError, match=r"--lr 0\.001 there, 0\.1 now"):
        compare(replace(config, lr=0.1), options)
    with pytest.raises(UserError, match="workers asked for None there, 1 now"):
        compare(replace(config, workers=1), options)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/result.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds a training run \(result.json\)"):
        compare(replace(config, run_dir=str(tmp_path / "b")), options)
    assert not (tmp_path / "b" / COMPARISON).exists()


def test_a_folder_is_claimed_with_what_is_first_measured(tmp_path: Path) -> None:
    config = TrainConfig(run_dir=str(tmp_path / "a"))
    refused, corrected = Results(Store(tmp_path / "a")), Results(Store(tmp_path / "a"))
    refused.claim(replace(config, batch_size=5), SETTINGS, "rows")
    corrected.claim(config, SETTINGS, "rows")
    assert not (tmp_path / "a").exists()
    corrected.put(run())
    with pytest.raises(UserError, match="--batch-size 128 there, 5 now"):
        refused.check(replace(config, batch_size=5), SETTINGS, "rows")
    with pytest.raises(UserError, match="holds a comparison on other data than digits has now"):
        refused.check(config, SETTINGS, "other rows")


def test_damaged_measurements_are_told(tmp_path: Path) -> None:
    config, options = finished(tmp_path)
    (tmp_path / "measured/twin-0.json").write_text("{")
    said = r"measured/twin-0\.json is not what a comparison writes"
    with pytest.raises(UserError, match=said):
        compare(config, options)
    (tmp_path / "measured/twin-0.json").write_text('{"method": "twin"}')
    with pytest.raises(UserError, match=said):
        compare(config, options)
