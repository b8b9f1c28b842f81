"""Everything of a run that people can look at: pictures, one report, lists of runs."""
