"""DaemonSets: one pod a node. ``nodes`` says which nodes, ``controller`` what to do there."""
