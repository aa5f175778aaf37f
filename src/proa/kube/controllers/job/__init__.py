"""Jobs: pods that run to their end, counted exactly once. ``controller`` decides; ``pods`` sorts
what there is, ``indexes`` and ``policies`` hold the rules, ``status`` writes the result."""
