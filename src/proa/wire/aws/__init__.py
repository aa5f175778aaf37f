"""AWS's wire protocols, compiled from botocore's service models (DESIGN D7): no I/O here."""
