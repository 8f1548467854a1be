# SPDX-License-Identifier: Apache-2.0
"""Items of a daemon's inbox whose effects find no room on the disk, and those that came after them.

Rule: they are done in the order in which they came, each once it can be stored; whoever sent one hears nothing before that.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from fedagent.errors import NoSpaceError
from fedagent.storage.shortage import Shortage

Item = TypeVar("Item")


class Backlog(Generic[Item]):
    """The items that wait.

    Args:
        do: does one, and says whether the daemon is to end; raises ``NoSpaceError`` where nothing of it was done.
    """

    def __init__(self, shortage: Shortage, do: Callable[[Item], bool]) -> None:
        self._shortage, self._do = shortage, do
        self._items: deque[Item] = deque()

    def take(self, item: Item) -> bool:
        """The item is done, or waits; True where it was done and ends the daemon."""
        if self._items:
            self._items.append(item)
            return False
        try:
            return self._do(item)
        except NoSpaceError as error:
            self._items.append(item)
            self._shortage.met("news", error)
            return False

    def catch_up(self) -> bool:
        """What waits is tried again where that is due; True where one was done that ends the daemon."""
        while self._items and not self._shortage.waits("news"):
            try:
                ended = self._do(self._items[0])
            except NoSpaceError as error:
                self._shortage.met("news", error)
                return False
            self._items.popleft()
            if ended:
                return True
        if not self._items:
            self._shortage.over("news")
        return False

    def drop(self, kind: type[Item]) -> int:
        """Those of this kind are forgotten, as they come again; gives how many they were."""
        kept = deque(item for item in self._items if not isinstance(item, kind))
        dropped = len(self._items) - len(kept)
        self._items = kept
        return dropped
