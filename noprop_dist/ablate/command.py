"""``noprop ablate``: argv -> options -> call -> say what came out."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from noprop_dist.ablate.options import AblateOptions
from noprop_dist.options import parse_own
from noprop_dist.run_files import ABLATION
from noprop_dist.text import json_line, printable

if TYPE_CHECKING:
    from noprop_dist.draw.style import Make
    from noprop_dist.use.opening import OpenRun

PICTURE = "plots/ablation.png"


def run_ablate(argv: Sequence[str], prog: str, text: str) -> int:
    """Ask, compare, write and print. Returns the exit code."""
    options = parse_own(argv, prog, text, AblateOptions)
    from noprop_dist.ablate.ablation import ablate, check_same_data
    from noprop_dist.ablate.others import Rivals, rivals_of
    from noprop_dist.ablate.words import render
    from noprop_dist.draw.style import save_figure
    from noprop_dist.record.folder import home_of
    from noprop_dist.record.store import Store, inside
    from noprop_dist.use.opening import open_run
    from noprop_dist.use.rows import rows_for

    run = open_run(options.run, options.device, options.precision, options.block)
    folder = options.output or home_of(options.run)
    store = Store(folder, "--output")
    store.check_writable()
    rows = rows_for(run, options.split, dataset=options.dataset, data_dir=options.data_dir)
    others = [_open_beside(other, options) for other in options.others]
    check_same_data(run, others)
    rivals = rivals_of(run, options) if options.train else Rivals()
    for note in (*run.notes, *rows.notes, *rivals.notes):
        print(printable(note), file=sys.stderr)
    others += [_open_beside(folder, options) for folder in rivals.train()]
    ablation = ablate(run, rows, others, draws=options.draws, notes=rivals.notes)
    store.write(ABLATION, json.dumps(ablation, indent=1).encode())
    print(json_line(ablation) if options.json else render(ablation), flush=True)
    if save_figure(store, PICTURE, _picture(ablation)) and not options.json:
        print(printable(f"picture in {inside(folder, PICTURE)}"))
    return 0


def _open_beside(other: str, options: AblateOptions) -> "OpenRun":
    """Another run, with the code that the user named where its block is a class of one's own."""
    from noprop_dist.model.block_names import is_own
    from noprop_dist.record.folder import home_of
    from noprop_dist.record.run_config import read_config
    from noprop_dist.record.store import Store
    from noprop_dist.use.opening import open_run

    config = read_config(Store(home_of(other)))
    block = options.block if config is not None and is_own(config.block) else None
    return open_run(other, options.device, options.precision, block)


def _picture(ablation: dict[str, Any]) -> "Make":
    from noprop_dist.ablate.words import TOLD, called
    from noprop_dist.draw.ablation import plot_ablation

    given, readouts = (
        ablation["differences"][name] for name in ("given", "readouts_against_mean_softmax")
    )
    found = {TOLD[name]: of["mean_softmax"] for name, of in given.items()}
    alone = f"block {readouts['best_block']['t']} alone"
    found |= {"z_T": readouts["z_T"], alone: readouts["best_block"]}
    found |= {called(other): other["difference"] for other in ablation["others"]}
    by_given = {TOLD[name]: of for name, of in ablation["accuracy"]["block"].items()}
    differences = {name: (100 * of["mean"], 100 * of["half_width"]) for name, of in found.items()}
    kinds = {told: given for given, told in TOLD.items()} | {"z_T": "z_T", alone: "best_block"}
    return lambda: plot_ablation(by_given, differences, kinds)
