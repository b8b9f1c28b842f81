"""Data: sources, shards, normalisation and augmentation."""

from noprop_dist.data.augment import Augmentation, augment
from noprop_dist.data.dataset import Dataset, for_training, split_validation
from noprop_dist.data.mixing import Mixing, balanced_weights
from noprop_dist.data.normalise import Normalisation, fit_normalisation, normalise
from noprop_dist.data.shards import Split
from noprop_dist.data.sources import load_dataset

__all__ = [
    "Augmentation",
    "Dataset",
    "Mixing",
    "Normalisation",
    "Split",
    "augment",
    "balanced_weights",
    "fit_normalisation",
    "for_training",
    "load_dataset",
    "normalise",
    "split_validation",
]
