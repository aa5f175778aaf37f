"""Floor 8: benchmarks of the real control plane, each with its method, its peer and its limit.

``proa bench`` runs them, every one in a process of its own. Nothing here is on any path that
users' workloads take.
"""
