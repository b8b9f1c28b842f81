"""What trials report of every epoch, by which they are compared."""

from noprop_dist.record.history import History

METRIC = "val_accuracy"  # by which trials are compared, of z_T
BLOCK_METRIC = "val_loss"  # by which trials of a block are compared: smaller is better
REPORTS = "reports.json"  # in the run folder of a block's trial, its epochs
AGAIN = "again"  # in a report of an epoch that was told before, of which nothing is to be decided

Report = dict[str, float]


def reports_of(history: History, num_epochs: int) -> list[Report]:
    """What is told of the first epochs of a history."""
    return [report_of(history, epoch) for epoch in range(1, num_epochs + 1)]


def report_of(history: History, epoch: int) -> Report:
    """What is told of one epoch, from 1."""
    i = epoch - 1
    return {
        "epoch": epoch,
        METRIC: history.val_accuracy_history[i] or 0.0,
        "val_mean_softmax": history.val_accuracy_mean_softmax_history[i] or 0.0,
        "train_loss": history.train_loss_history[i],
    }
