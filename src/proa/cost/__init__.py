"""Floor 2: what compute costs. ``prices`` reads the one dated file of rates, ``meter`` turns what
ran, and for how long, into money. No clock, no I/O but reading that file."""
