"""What happens side by side while a Sandbox starts, and what is left where a part of it fails."""

from __future__ import annotations

import asyncio

from proa.base.chance import Chance
from proa.model.sandbox import Container, Volume
from proa.node.context import Images
from proa.node.ports import ImageInfo
from proa.node.sim import Behaviour, SimRuntime
from proa.node.simhost import SimVolumes
from tests.unit.node.stage import Play, play, sandbox


def test_a_sandbox_whose_volumes_cannot_be_made_goes_again_and_is_tried_later() -> None:
    async def story(stage: Play) -> None:
        assert isinstance(stage.volumes, SimVolumes)
        stage.volumes.fault = "no such path"
        volumes = (Volume("data", "host", path="/absent", path_type="Directory"),)
        stage.control.want(sandbox("pod", Container("main", "image"), volumes=volumes))
        await stage.sleep(5)
        told = [event.message for event in stage.control.events if event.reason == "FailedMount"]
        assert told == ["no such path"]
        assert not (await stage.runtime.list()).sandboxes
        stage.volumes.fault = ""
        await stage.sleep(30)
        assert stage.control.status["pod"].phase == "running"
        assert stage.volumes.made["pod"] == volumes

    play(story)


class _Counting(SimRuntime):
    """Counts the questions for images."""

    asked = 0

    async def image(self, reference: str) -> ImageInfo | None:
        self.asked += 1
        return await super().image(reference)


def test_who_looks_for_an_image_while_somebody_does_gets_the_same_answer() -> None:
    async def story(stage: Play) -> None:
        runtime = _Counting(stage.clock, Chance("images"), stage.network, lambda _: Behaviour())
        runtime.have("nginx")
        images = Images(runtime)
        found = await asyncio.gather(images.find("nginx"), images.find("nginx"))
        assert found[0] is not None and found[0] is found[1]
        assert runtime.asked == 1
        await images.find("nginx")  # the image may have gone since
        assert runtime.asked == 2

    play(story)
