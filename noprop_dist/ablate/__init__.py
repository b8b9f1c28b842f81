"""Is it more than an ensemble? A network's blocks with something else in the place of z."""
