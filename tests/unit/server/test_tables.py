"""What the assembly's tables promise of the keys that they hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proa.server.assemble import TABLES

# Words of which real keys are made, so that tables do match now and then.
WORDS = sorted(
    {"", "-", "default", "000000000000", "us-east-1", "global", "web", "core", "apps", "kube"}
    | {"aws", "ecs", "iam", "task", "service", "event", "cluster", "pods", "events", "replicasets"}
)
PARENTS = st.one_of(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map("/".join),
    st.builds(
        lambda place, rest: f"/kube/c/{place}{rest}",
        st.sampled_from(["core/pods", "core/events", "apps/replicasets", "core/namespaces"]),
        st.sampled_from(["", "/-", "/default", "/default/deep"]),
    ),
    st.builds(
        lambda place, rest: f"/aws/000000000000/us-east-1/{place}{rest}",
        st.sampled_from(["ecs/task", "ecs/service", "ecs/event", "ecs/cluster", "eks/cluster"]),
        st.sampled_from(["", "/default", "/default/web", "/default/web/deep"]),
    ),
)
NAMES = st.text(st.characters(exclude_characters="/"), max_size=8)


@given(PARENTS, NAMES, NAMES)
def test_a_table_that_goes_by_parents_holds_all_siblings_or_none(
    parent: str, one: str, other: str
) -> None:
    first, second = f"{parent}/{one}", f"{parent}/{other}"
    for table in TABLES:
        if table.by_parent and first.startswith(table.prefix) and second.startswith(table.prefix):
            assert table.matches(first) == table.matches(second), table.name
