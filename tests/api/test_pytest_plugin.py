"""The pytest plugin as a project of its own uses it: fixtures, clients, a fresh Proa a test."""

from __future__ import annotations

import pytest

pytest_plugins = "pytester"
# The package's entry point may be installed or not: the plugin is loaded by its module alone.
PLUGIN = ("-p", "no:proa", "-p", "proa.pytest_plugin", "-p", "no:cacheprovider", "-W", "error")
SUITE = """
    def test_boto3_client_speaks_to_it(proa):
        assert proa.boto3("ecs").list_clusters()["clusterArns"]
        assert proa.boto3("sts").get_caller_identity()["Account"] == "000000000000"

    def test_kubernetes_client_sees_a_pod_run(proa):
        from kubernetes.client import CoreV1Api

        core = CoreV1Api(proa.kubernetes())
        spec = {"containers": [{"name": "c", "image": "any"}]}
        core.create_namespaced_pod("default", {"metadata": {"name": "p"}, "spec": spec})
        running = lambda: core.read_namespaced_pod("p", "default").status.phase == "Running"
        assert proa.eventually(running)
        assert len(core.list_node().items) == 2

    def test_fresh_one_knows_nothing_of_others(proa, proa_fresh, monkeypatch):
        import boto3

        from kubernetes.client import CoreV1Api

        assert proa_fresh.endpoint_url != proa.endpoint_url
        assert not CoreV1Api(proa_fresh.kubernetes()).list_namespaced_pod("default").items
        proa_fresh.use(monkeypatch)
        boto3.client("ecs").create_cluster(clusterName="mine")
        assert len(proa.boto3("ecs").list_clusters()["clusterArns"]) == 1

    def test_file_says_how_images_behave(proa_fresh):
        from kubernetes.client import CoreV1Api

        core = CoreV1Api(proa_fresh.kubernetes())
        spec = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "flaky"}]}
        core.create_namespaced_pod("default", {"metadata": {"name": "f"}, "spec": spec})
        proa_fresh.eventually(
            lambda: core.read_namespaced_pod("f", "default").status.phase == "Failed"
        )
        assert core.read_namespaced_pod_log("f", "default") == "about to fail\\n"
"""
BEHAVIOUR = "images: {flaky: {pull_s: 0, runs_s: 0.2, exit_code: 4, says: [about to fail]}}\n"


def test_plugin_gives_clients_of_fresh_instances(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    pytester.makefile(".yaml", behaviour=BEHAVIOUR)
    pytester.makeini("[pytest]\nproa_hosts = 2\nproa_behaviour = behaviour.yaml\n")
    done = pytester.runpytest_subprocess(*PLUGIN, timeout=120)
    done.assert_outcomes(passed=4)


def test_plugin_says_what_keeps_it_from_starting(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_one(proa): pass")
    pytester.makeini("[pytest]\nproa_behaviour = nowhere.yaml\n")
    done = pytester.runpytest_subprocess(*PLUGIN, timeout=60)
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*Proa does not start: *nowhere.yaml*"])


def test_missing_client_is_named(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys

        def test_one(proa, monkeypatch):
            monkeypatch.setitem(sys.modules, "boto3", None)
            proa.boto3("ecs")
    """)
    done = pytester.runpytest_subprocess(*PLUGIN, timeout=60)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*this needs the package boto3: pip install boto3*"])
