"""Semantic checks by area; ``kube.schema.rules`` picks them by kind."""
