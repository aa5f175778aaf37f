"""Deployments: ``controller`` decides, ``sizes`` does the arithmetic, ``revisions`` names and
numbers ReplicaSets, ``status`` reports. Rules: kube-controller-manager's Deployment controller
and the Deployment documentation."""
