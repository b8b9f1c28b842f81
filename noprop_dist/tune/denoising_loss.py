"""How well one block denoises, on rows that it has not trained on."""

import numpy as np
import torch

from noprop_dist.data import Split
from noprop_dist.engine.job import Job
from noprop_dist.engine.snapshot import Snapshot
from noprop_dist.maths.keys import torch_generator
from noprop_dist.maths.loss import denoising_loss
from noprop_dist.maths.process import expected_embedding
from noprop_dist.model.device import autocast
from noprop_dist.model.init import materialise
from noprop_dist.model.network import INFERENCE_BATCH
from noprop_dist.model.registry import make_block, make_objective

DRAWS = 4  # of the label's noise; the sample's features are computed once for all of them


@torch.no_grad()
def denoising_error(snapshot: Snapshot, job: Job, split: Split, device: torch.device) -> float:
    """Mean over rows and noise draws of ||u_hat_t - u||^2, block t's term of eq. 8 unweighted.

    Args:
        snapshot: the block; its averaged weights are used where there are any.
        job: the run.
        split: N rows, at least one.
        device: where to compute.
    """
    t, spec = snapshot.t, job.spec
    end = snapshot.epoch_end(0.0)
    block = materialise(make_block(spec, t), device, torch.channels_last)
    block.load_state_dict(end.weights)
    block.eval()
    objective = make_objective(spec)
    class_embed = objective.embedding(end.shared["class_embed"].to(device))
    normalise = job.normalisation.on(device)
    total = 0.0
    for start in range(0, len(split), INFERENCE_BATCH):
        rows = np.arange(start, min(start + INFERENCE_BATCH, len(split)))
        x, y = (torch.from_numpy(part).to(device) for part in split.take(rows))
        x = normalise(x)
        u = class_embed[y]
        draw = torch_generator(job.config.seed, "denoising", t, start, device=device)
        with autocast(job.precision, device):
            features = block.features(x)
        for _ in range(DRAWS):
            z, level = objective.noised(t, u, draw)
            with autocast(job.precision, device):
                logits = block.classify(z, features, level=level)
            u_hat = expected_embedding(logits.float(), class_embed)
            total += float(denoising_loss(u_hat, u)) * len(y)
    return total / (DRAWS * len(split))
