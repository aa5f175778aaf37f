"""Amazon ECS: clusters, task definitions, tasks and services.

``service.build`` gives the gateway its operations, ``controllers.CONTROLLERS`` the runner its
controllers, ``hull.EcsSkin`` the hull its way to tasks, ``bootstrap.bootstrap`` the store the
default cluster. Records and tables are in ``records``; what ECS needs of others is in ``ports``.
"""
