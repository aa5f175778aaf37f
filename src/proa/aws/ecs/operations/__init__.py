"""The operations of the ECS API, a module a resource; ``OPERATIONS`` is the table of contents.

To add one: write ``async def name(ecs, context, request)`` in its resource's module, name it
here, and give it a test. The gateway has checked the request's shape by the service model.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from proa.aws.ecs.operations import (
    attributes,
    clusters,
    instance_states,
    instances,
    run,
    service_reads,
    services,
    settings,
    tags,
    task_definitions,
    tasks,
)
from proa.aws.ecs.operations.base import Ecs
from proa.aws.gateway.service import Context, Input, Output

Handler = Callable[[Ecs, Context, Input], Awaitable[Output]]

OPERATIONS: Mapping[str, Handler] = {
    "CreateCluster": clusters.create_cluster,
    "DeleteCluster": clusters.delete_cluster,
    "DescribeClusters": clusters.describe_clusters,
    "ListClusters": clusters.list_clusters,
    "RegisterTaskDefinition": task_definitions.register,
    "DeregisterTaskDefinition": task_definitions.deregister,
    "DeleteTaskDefinitions": task_definitions.delete,
    "DescribeTaskDefinition": task_definitions.describe,
    "ListTaskDefinitions": task_definitions.list_definitions,
    "ListTaskDefinitionFamilies": task_definitions.list_families,
    "RunTask": run.run_task,
    "StartTask": run.start_task,
    "StopTask": tasks.stop_task,
    "DescribeTasks": tasks.describe_tasks,
    "ListTasks": tasks.list_tasks,
    "CreateService": services.create_service,
    "UpdateService": services.update_service,
    "DeleteService": services.delete_service,
    "DescribeServices": service_reads.describe_services,
    "ListServices": service_reads.list_services,
    "DescribeContainerInstances": instances.describe_container_instances,
    "ListContainerInstances": instances.list_container_instances,
    "UpdateContainerInstancesState": instance_states.update_state,
    "DeregisterContainerInstance": instance_states.deregister,
    "UpdateContainerAgent": instance_states.update_agent,
    "PutAttributes": attributes.put_attributes,
    "DeleteAttributes": attributes.delete_attributes,
    "ListAttributes": attributes.list_attributes,
    "TagResource": tags.tag_resource,
    "UntagResource": tags.untag_resource,
    "ListTagsForResource": tags.list_tags_for_resource,
    "ListAccountSettings": settings.list_account_settings,
    "PutAccountSetting": settings.put_account_setting,
    "PutAccountSettingDefault": settings.put_account_setting_default,
    "DeleteAccountSetting": settings.delete_account_setting,
}
