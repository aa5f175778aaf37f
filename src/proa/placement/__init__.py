"""Floor 2: the scheduler. Asks and instance rows in, a decision for each ask out; no I/O.

``asks`` has the values both bows translate into, ``fleet`` the arrays, ``filters`` and
``scores`` the rules, ``engine`` the decision for a batch.
"""
