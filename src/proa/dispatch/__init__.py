"""Floor 4: from decisions to agents. ``scheduler`` binds batches, ``feed`` tells each agent what
its Host must run, ``reports`` takes what agents say back to the bows. ``skin`` is the port
through which both bows take part."""
