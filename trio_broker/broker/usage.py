"""CPU and memory of the agents' process trees: measured in a thread, now and then, and only when somebody looks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import attrs
import psutil
import trio

EVERY = (
    2.0  # seconds: a look at every process of the machine takes milliseconds, of a thread that holds the GIL
)

Look = Callable[[Iterable[int]], Awaitable["dict[int, Tree]"]]


@attrs.frozen
class Tree:
    """The processes under one root: resident bytes of all, and the CPU seconds of each by (pid, start time)."""

    memory: int
    seconds: dict[tuple[int, float], float]


@attrs.frozen
class Use:
    """`cpu`: percent of one core, None until it was measured twice; `memory`: bytes; `processes`: how many."""

    cpu: float | None
    memory: int
    processes: int


def trees(roots: Iterable[int]) -> dict[int, Tree]:
    """Those of the roots that live, with all below them. Reads what the system tells; blocks for milliseconds."""
    wanted = set(roots)
    found: dict[int, psutil.Process] = {}
    parents: dict[int, int] = {}
    for process in psutil.process_iter():
        try:
            parents[process.pid] = process.ppid()
            found[process.pid] = process
        except psutil.Error:  # it has just ended
            continue
    members: dict[int, list[psutil.Process]] = {}
    for pid, process in found.items():
        if (root := _root_of(pid, wanted, parents)) is not None:
            members.setdefault(root, []).append(process)
    return {root: _tree(processes) for root, processes in members.items()}


def _root_of(pid: int, wanted: set[int], parents: dict[int, int]) -> int | None:
    seen = set()
    while pid not in wanted:
        if pid in seen or pid not in parents:
            return None
        seen.add(pid)
        pid = parents[pid]
    return pid


def _tree(processes: list[psutil.Process]) -> Tree:
    memory, seconds = 0, {}
    for process in processes:
        try:
            with process.oneshot():
                times = process.cpu_times()
                memory += process.memory_info().rss
                seconds[process.pid, process.create_time()] = times.user + times.system
        except psutil.Error:
            continue
    return Tree(memory, seconds)


async def look(roots: Iterable[int]) -> dict[int, Tree]:
    """The same in a thread."""
    return await trio.to_thread.run_sync(trees, tuple(roots))


@attrs.define(eq=False)
class Meter:
    """`uses` has what was found last, by root pid."""

    look: Look = look
    uses: dict[int, Use] = attrs.field(factory=dict)
    _seconds: dict[tuple[int, float], float] = attrs.field(factory=dict)
    _measured_at: float = float("-inf")
    _measuring: bool = False

    @property
    def due(self) -> bool:
        """Whether it is time to measure: not while that is being done, nor EVERY seconds after."""
        return not self._measuring and trio.current_time() >= self._measured_at + EVERY

    async def measure(self, roots: Iterable[int]) -> None:
        """Measure these trees, if that is due."""
        if not self.due:
            return
        since = trio.current_time() - self._measured_at
        self._measuring = True
        try:
            found = await self.look(roots)
        finally:
            self._measuring, self._measured_at = False, trio.current_time()
        self.uses = {root: self._use(tree, since) for root, tree in found.items()}
        self._seconds = {one: spent for tree in found.values() for one, spent in tree.seconds.items()}

    def _use(self, tree: Tree, since: float) -> Use:
        spent = sum(now - self._seconds.get(one, 0.0) for one, now in tree.seconds.items())
        known = any(one in self._seconds for one in tree.seconds)
        return Use(round(100 * spent / since, 1) if known else None, tree.memory, len(tree.seconds))
