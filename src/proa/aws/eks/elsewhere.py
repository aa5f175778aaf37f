"""What a cluster cannot have yet: node groups, Fargate profiles, add-ons, pod identities.

Clients ask for them in passing, so lists are empty and a name is not found; making one is
refused by name.
"""

from __future__ import annotations

from proa.aws.eks.desk import Eks, page
from proa.aws.eks.errors import no_such
from proa.aws.gateway.service import AwsError, Context, Input, Operation, Output

_LISTS = {
    "ListNodegroups": "nodegroups",
    "ListFargateProfiles": "fargateProfileNames",
    "ListAddons": "addons",
    "ListPodIdentityAssociations": "associations",
    "ListIdentityProviderConfigs": "identityProviderConfigs",
    "ListInsights": "insights",
}
_NAMED = {
    "DescribeNodegroup": ("nodegroupName", "No node group found for name: {}."),
    "DeleteNodegroup": ("nodegroupName", "No node group found for name: {}."),
    "DescribeFargateProfile": ("fargateProfileName", "No Fargate Profile found with name: {}."),
    "DeleteFargateProfile": ("fargateProfileName", "No Fargate Profile found with name: {}."),
    "DescribeAddon": ("addonName", "No addon: {} found in cluster: {cluster}"),
    "DeleteAddon": ("addonName", "No addon: {} found in cluster: {cluster}"),
    "DescribePodIdentityAssociation": ("associationId", "No association found with id: {}."),
    "DeletePodIdentityAssociation": ("associationId", "No association found with id: {}."),
}
_REFUSED = {
    "CreateNodegroup": "node groups",
    "CreateFargateProfile": "Fargate profiles",
    "CreateAddon": "add-ons",
    "CreatePodIdentityAssociation": "pod identity associations",
    "AssociateIdentityProviderConfig": "identity providers",
    "AssociateEncryptionConfig": "adding an encryptionConfig later",
    "RegisterCluster": "connected clusters",
}


def operations(eks: Eks) -> dict[str, Operation]:
    """All of them, bound."""
    return {
        **{name: _empty(eks, member) for name, member in _LISTS.items()},
        **{name: _absent(eks, *what) for name, what in _NAMED.items()},
        **{name: _refusal(eks, what) for name, what in _REFUSED.items()},
    }


async def _check(eks: Eks, context: Context, given: Input) -> str:
    await eks.fresh()
    name: str = given.get("clusterName") or given.get("name") or ""
    return eks.cluster(context, name).value.name


def _empty(eks: Eks, member: str) -> Operation:
    async def operation(context: Context, given: Input) -> Output:
        await _check(eks, context, given)
        return {member: page((), given)[0]}

    return operation


def _absent(eks: Eks, member: str, sentence: str) -> Operation:
    async def operation(context: Context, given: Input) -> Output:
        cluster = await _check(eks, context, given)
        raise no_such(sentence.format(given[member], cluster=cluster), cluster)

    return operation


def _refusal(eks: Eks, what: str) -> Operation:
    async def operation(context: Context, given: Input) -> Output:
        if "clusterName" in given:
            await _check(eks, context, given)
        raise AwsError("InvalidRequestException", f"Proa does not serve {what} of EKS yet.")

    return operation
