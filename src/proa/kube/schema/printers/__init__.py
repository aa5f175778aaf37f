"""What kubectl shows of each kind: columns as data, their cells as small functions."""
