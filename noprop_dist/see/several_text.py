"""Sweeps and comparisons, as people read them."""

from noprop_dist.config.fields import flag
from noprop_dist.record.store import inside
from noprop_dist.see.run_text import age, moment, shell_word
from noprop_dist.see.several import Several
from noprop_dist.text import percent
from noprop_dist.tune.reports import METRIC
from noprop_dist.tune.sweep_folder import trial_path
from noprop_dist.tune.trial_table import counted, show


def told(found: Several) -> list[tuple[str, str]]:
    """The facts as names and values."""
    counts = counted(found.rows)
    rows = [
        ("state", f"{found.state} {found.kind}"),
        ("so far", f"{found.about}: {counts}" if counts else found.about),
    ]
    if best := found.best:
        reached = f"validation accuracy of z_T {percent(best[METRIC])}, epoch {best['best_epoch']}"
        settings = {name: best[name] for name in found.space if best.get(name) is not None}
        values = "  ".join(f"{flag(name)} {show(value)}" for name, value in settings.items())
        rows += [("best trial", f"{best['trial']}: {reached}"), ("its settings", values)]
    if found.search:
        how = f"{found.search.get('search')}, {found.search.get('scheduler')}"
        alone = ", every block alone" if found.search.get("per_block") else ""
        rows.append(("searched by", how + alone))
    started = f"{moment(found.started)} ({age(found.started)})"
    return [*rows, ("data set", found.config.dataset), ("started", started)]


def searched(found: Several) -> list[tuple[str, str]]:
    """Every setting that a sweep varies, and over what."""
    rows = []
    for name, dimension in found.space.items():
        for kind, values in dimension.items():
            told = [show(value) for value in values]
            over = ", ".join(told) if kind == "choice" else f"{' to '.join(told)}, {kind}"
            rows.append((flag(name), over))
    return rows


def commands(found: Several) -> list[tuple[str, str]]:
    """Commands that make sense now, each with what it does."""
    folder, best = found.folder, found.best
    if found.kind == "comparison" or best is None:
        return []
    config, trial = inside(folder, "best_config.yaml"), inside(folder, trial_path(best["trial"]))
    look = (f"noprop show {shell_word(trial)}", "the best trial")
    train = (f"noprop train --config {shell_word(config)}", "train with the best settings")
    return [train, look] if found.state == "finished" else [look]
