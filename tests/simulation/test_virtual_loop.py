"""The loop and the processes that the simulation stands on."""

import asyncio
import contextvars
import time

import pytest
from sim_loop import START, StalledError, VirtualLoop
from sim_process import Base, Process


def test_time_jumps_to_the_next_timer() -> None:
    world = Base(0)
    began = time.monotonic()

    async def work() -> list[float]:
        await asyncio.gather(*(asyncio.sleep(seconds) for seconds in (3600.0, 60.0)))
        return [world.elapsed]

    try:
        assert world.loop.run_until_complete(work()) == [3600.0]
    finally:
        world.loop.close()
    assert time.monotonic() - began < 60


def test_nothing_to_wait_for_is_an_error() -> None:
    world = Base(0)
    try:
        with pytest.raises(StalledError, match="no timer"):
            world.loop.run_until_complete(world.loop.create_future())
    finally:
        world.loop.close()


def test_a_circle_without_time_is_an_error() -> None:
    loop = VirtualLoop(lambda task, context: None)

    async def spin() -> None:
        while True:
            await nothing()

    async def nothing() -> None:
        await asyncio.sleep(0)

    task = loop.create_task(spin())
    try:
        with pytest.raises(StalledError, match="without time"):
            loop.run_until_complete(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
    finally:
        loop.close()


def test_sets_of_tasks_are_walked_in_the_order_of_their_making() -> None:
    loop = VirtualLoop(lambda task, context: None)

    async def nothing() -> None:
        return

    async def work() -> None:
        tasks = [asyncio.create_task(nothing()) for _ in range(20)]
        backwards = dict.fromkeys(reversed(tasks))
        assert list(frozenset(backwards)) == list(frozenset(tasks)) == tasks
        await asyncio.gather(*tasks)

    try:
        loop.run_until_complete(work())
    finally:
        loop.close()


def test_a_killed_process_does_nothing_more() -> None:
    world = Base(0)
    done: list[str] = []
    process: list[Process] = []

    async def child(name: str) -> None:
        await asyncio.sleep(1.0)
        done.append(name)

    async def program() -> None:
        children = [asyncio.create_task(child("first"))]
        await asyncio.sleep(0.5)
        children.append(asyncio.create_task(child("second")))
        process[0].point("once")
        done.append("reached")
        process[0].point("twice")
        done.append("never")

    async def work() -> None:
        process.append(Process("program", world))
        process[0].dies_at = 2
        main = process[0].spawn(program())
        await asyncio.sleep(10.0)
        assert main.cancelled()
        assert not process[0].tasks

    try:
        world.loop.run_until_complete(work())
    finally:
        world.loop.close()
    assert done == ["reached"]
    assert world.trace.lines() == ["     0.500 program.1    killed twice"]


def test_each_process_has_its_clock() -> None:
    world = Base(0)
    ahead, right = Process("ahead", world), Process("right", world)
    ahead.offset = 600.0
    times = [process.context.run(world.process_wall) for process in (ahead, right)]
    assert (times[0] - times[1]).total_seconds() == 600
    assert world.process_wall() == world.wall() == times[1]
    assert world.loop.time() == START
    assert contextvars.copy_context().run(world.process_wall) == times[1]
    world.loop.close()
