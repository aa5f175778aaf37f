"""The controllers of the Kubernetes bow; ``table_of_contents`` in ``contents.py`` lists them."""
