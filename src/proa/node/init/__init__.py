"""The init that containers may ask for: process 1, which forwards signals and reaps."""
