"""Benchmarks of a running Proa with real containers: ``python -m proa.bench.live [name …]``.

Nothing here is a test and no figure is asserted: machines drift by a factor of two, so each
benchmark measures Proa and a peer in the same run, in turns, and reports the median of the
rounds' ratios.
"""
