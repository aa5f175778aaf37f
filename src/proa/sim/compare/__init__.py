"""``proa compare``: one workload, the ways to run it, and what each costs and does.

``question`` is the language of the workload's file, ``ways`` the kinds of capacity, ``capacity``
rents and gives back machines as a way does, ``trial`` plays one way through virtual time over the
real control plane, ``verdict`` and ``page`` show what came of all.
"""
