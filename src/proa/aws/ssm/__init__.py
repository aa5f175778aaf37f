"""AWS Systems Manager's Parameter Store: parameters with versions, labels and hierarchies."""
