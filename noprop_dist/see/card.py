"""``README.md``: what is known of a network as the Hugging Face hub shows it, and what is not."""

from dataclasses import replace
from typing import Any

from noprop_dist.config import TrainConfig
from noprop_dist.config.fields import Trait, with_trait
from noprop_dist.config.model_options import BLOCK_CHOICES
from noprop_dist.data.hub import HUB
from noprop_dist.errors import UserError
from noprop_dist.model.answering import READOUTS, Answering
from noprop_dist.record.folder import Reader
from noprop_dist.record.result import TrainResult, measured
from noprop_dist.record.store import Store, above, inside
from noprop_dist.run_files import CARD, MODEL
from noprop_dist.see import run_text
from noprop_dist.see.facts import RunFacts, read_run
from noprop_dist.see.templates import templates
from noprop_dist.text import last_part, markdown_table, printable

MOST_CLASSES = 20  # more are counted; model/network.json has them all


def write_card(run: str, output: str | None = None) -> str:
    """Write the model card of a finished run.

    Args:
        run: its folder, or the URI of one.
        output: the file; None is ``README.md`` in the run folder.

    Returns:
        The file.

    Raises:
        UserError: as ``make_card``; or another text is there, or the file cannot be written.
    """
    card = make_card(run).encode()
    parent, name = above(output) if output else (run, CARD)
    store, place = Store(parent or ".", "--output"), output or inside(run, CARD)
    if Reader(store).read(name) not in (None, card):
        raise UserError(
            f"{place} is there and says something else: delete it, or give another --output."
        )
    store.write(name, card)
    return place


def make_card(run: str) -> str:
    """The model card of a finished run: a head in YAML, then Markdown.

    Args:
        run: its folder, or the URI of one.

    Raises:
        UserError: as ``read_run``; or the run has not finished, or its network is not there.
    """
    facts, reader = read_run(run), Reader(Store(run))
    result = facts.result
    if result is None:
        raise UserError(
            f"{run} has not finished, and an untested network has no card: go on with it first."
        )
    network = reader.json(f"{MODEL}/network.json")
    if network is None:
        raise UserError(f"{run} has no {MODEL}/network.json, the network: restore it.")
    try:
        spec, classes = network["spec"], network["class_names"]
        shape = (spec.get("backbone") or spec)["sample_shape"]  # what predict is given
    except (KeyError, TypeError, AttributeError) as error:
        raise reader.foreign(f"{MODEL}/network.json", f"it lacks {error}") from error
    # Of a path the last part alone: the rest tells of a machine.
    dataset = facts.config.dataset
    name = dataset.removeprefix(HUB) if dataset.startswith(HUB) else facts.config.dataset_name
    facts = replace(facts, config=replace(facts.config, dataset=name))
    return _render(facts, result, dataset.startswith(HUB), shape, classes)


def _render(
    facts: RunFacts, result: TrainResult, on_hub: bool, shape: list[int], classes: list[str]
) -> str:
    import yaml

    config, images = facts.config, len(shape) > 1
    task = "image-classification" if images else "tabular-classification"
    named = [f"`{printable(name)}`" for name in classes[:MOST_CLASSES]]
    more = [f"{len(classes) - len(named):,} more"] * (len(classes) > len(named))
    free = with_trait(TrainConfig, Trait.FREE)
    options = [
        f"`{name}: {printable(last_part(str(value)))}`"
        for name, value in run_text.changed_options(config).items()
        if name not in free
    ]
    card = templates().get_template("card.md")
    text = card.render(
        facts=facts,
        head=yaml.safe_dump(_head(facts, result, on_hub, task), sort_keys=False, width=1000),
        results=_results(result),
        num_test=f"{sum(map(sum, result.confusion)):,}",
        answers_by=Answering.from_dict(result.answering).words() if result.answering else "",
        num_draws=len(result.test_accuracy["z_T"].draws),
        classes=", ".join([*named, *more]),
        told=run_text.told(facts, ages=False),
        happened=run_text.happened(facts),
        options=options,
        own_block="" if config.block in BLOCK_CHOICES else config.block.rpartition(":")[2],
        takes=f"{'uint8' if images else 'float32'} (N, {', '.join(map(str, shape))})",
    )
    return text + "\n"


def _head(facts: RunFacts, result: TrainResult, on_hub: bool, task: str) -> dict[str, Any]:
    """What the hub searches and sorts by; numbers in the form of its "model-index"."""
    dataset = facts.config.dataset
    metrics = [
        {"type": kind, "value": value, "name": f"{kind.replace('_', ' ')} of {readout}"}
        for readout, reached in result.test_accuracy.items()
        for kind, value in (
            {"accuracy": reached.mean} | result.test_measures.get(readout, {})
        ).items()
    ]
    metrics += [{"type": k, "value": v, "name": printable(k)} for k, v in result.metrics.items()]
    results = {
        "task": {"type": task},
        "dataset": {"type": dataset, "name": dataset, "split": "test"},
        "metrics": metrics,
    }
    repository = "/".join(dataset.partition("@")[0].split("/")[:2])
    return {
        "library_name": "noprop-dist",
        "pipeline_tag": task,
        "tags": ["noprop", "block-parallel-training", facts.config.objective],
        **({"datasets": [repository]} if on_hub else {}),
        "model-index": [{"name": printable(facts.name), "results": [results]}],
    }


def _results(result: TrainResult) -> str:
    """A table of the readouts."""
    also = {name: measured(found) for name, found in result.test_measures.items()}
    names = list(dict.fromkeys(name for found in also.values() for name in found))
    rows = [["readout", "accuracy, %", *names]]
    for readout, reached in result.test_accuracy.items():
        known = also.get(readout, {})
        rows.append(
            [
                READOUTS.get(readout, readout),
                run_text.accuracy(reached),
                *(known.get(name, "-") for name in names),
            ]
        )
    return markdown_table(rows)
