"""Small tables of facts about Kubernetes' kinds, read by ``kube.schema``."""
