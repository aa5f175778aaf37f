"""What a Service holds of its cluster: addresses and node ports, given once and given back."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.unit.kube.api.served import DEFAULT, Client, Json, said, serving

SERVICES = f"{DEFAULT}/services"


def service(name: str, node_port: int = 0, **spec: Any) -> Json:
    port: Json = {"port": 80, "protocol": "TCP"}
    if node_port:
        port["nodePort"] = node_port
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": "NodePort", "ports": [port], **spec},
    }


def node_port(made: Json) -> int:
    number: int = made["spec"]["ports"][0].get("nodePort", 0)
    return number


def test_a_node_port_has_one_holder_until_it_is_given_back() -> None:
    async def check(client: Client) -> None:
        await client.make(SERVICES, service("one", 30080))
        refused = await client.ask("POST", SERVICES, service("two", 30080))
        assert refused.status == 422
        assert said(refused)["message"] == (
            'Service "two" is invalid: spec.ports[0].nodePort: Invalid value: 30080: '
            "provided port is already allocated"
        )
        assert (await client.ask("DELETE", f"{SERVICES}/one")).status == 200
        assert node_port(await client.make(SERVICES, service("two", 30080))) == 30080

    serving(check)


def test_a_service_that_is_no_longer_outside_gives_its_port_back() -> None:
    async def check(client: Client) -> None:
        made = await client.make(SERVICES, service("one", 30080))
        made["spec"]["type"] = "ClusterIP"
        changed = said(await client.ask("PUT", f"{SERVICES}/one", made))
        assert node_port(changed) == 0
        assert changed["spec"]["clusterIP"] == made["spec"]["clusterIP"]
        await client.make(SERVICES, service("two", 30080))

    serving(check)


def test_a_change_that_does_not_speak_of_its_node_port_keeps_it() -> None:
    async def check(client: Client) -> None:
        made = await client.make(SERVICES, service("one"))
        kept = node_port(made)
        assert 30000 <= kept < 32768
        del made["spec"]["ports"][0]["nodePort"]
        made["spec"]["type"] = "LoadBalancer"
        assert node_port(said(await client.ask("PUT", f"{SERVICES}/one", made))) == kept

    serving(check)


def test_ports_out_of_range_and_addresses_in_use_are_refused() -> None:
    async def check(client: Client) -> None:
        answer = await client.ask("POST", SERVICES, service("low", 80))
        assert "The range of valid ports is 30000-32767" in said(answer)["message"]
        made = await client.make(SERVICES, service("one"))
        address = made["spec"]["clusterIP"]
        answer = await client.ask("POST", SERVICES, service("two", clusterIP=address))
        assert answer.status == 422
        text = f"failed to allocate IP {address}: provided IP is already allocated"
        assert text in said(answer)["message"]
        answer = await client.ask("POST", SERVICES, service("far", clusterIP="192.0.2.1"))
        assert "not in the valid range" in said(answer)["message"]
        left = said(await client.ask("GET", SERVICES))["items"]
        assert [item["metadata"]["name"] for item in left] == ["kubernetes", "one"]

    serving(check)


def test_one_service_may_hold_a_port_over_both_protocols() -> None:
    async def check(client: Client) -> None:
        ports = [
            {"name": name, "port": 53, "protocol": name.upper(), "nodePort": 30053}
            for name in ("tcp", "udp")
        ]
        made = await client.make(SERVICES, service("dns", ports=ports))
        assert [port["nodePort"] for port in made["spec"]["ports"]] == [30053, 30053]

    serving(check)


def test_services_made_at_once_get_ports_of_their_own() -> None:
    """Where two draw the same, the later one draws again: it did not ask for that port."""

    async def check(client: Client) -> None:
        spec = {"type": "NodePort", "ports": [{"port": 80}]}
        body = {"apiVersion": "v1", "kind": "Service", "spec": spec}
        asked = [
            client.ask("POST", SERVICES, {**body, "metadata": {"name": f"s{number}"}})
            for number in range(150)
        ]
        answers = await asyncio.gather(*asked)
        assert {answer.status for answer in answers} == {201}
        ports = {said(answer)["spec"]["ports"][0]["nodePort"] for answer in answers}
        assert len(ports) == 150

    serving(check)
