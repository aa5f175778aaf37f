"""Proa: one container orchestrator with two APIs, Amazon ECS and Kubernetes, over one hull."""

__version__ = "0.1.0"
