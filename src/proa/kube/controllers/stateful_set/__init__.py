"""StatefulSets: pods with names that last. ``identity`` makes them, ``controller`` decides."""
