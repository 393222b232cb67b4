"""Union-find: who belongs together when pairs that do are told one by one."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Member = TypeVar("Member", bound=Hashable)


class Groups(Generic[Member]):
    """Disjoint groups that grow together; who was never joined is alone."""

    def __init__(self) -> None:
        self._above: dict[Member, Member] = {}

    def join(self, members: Iterable[Member]) -> None:
        """All of these are one group from now on, with all that were theirs."""
        first: Member | None = None
        for member in members:
            if first is None:
                first = self._top(member)
            else:
                self._above[self._top(member)] = first

    def same(self, one: Member, other: Member) -> bool:
        return one == other or self._top(one) == self._top(other)

    def groups(self) -> list[set[Member]]:
        """The groups of two and more."""
        found: dict[Member, set[Member]] = defaultdict(set)
        for member in list(self._above):
            found[self._top(member)].add(member)
        return [group for group in found.values() if len(group) > 1]

    def _top(self, member: Member) -> Member:
        above = self._above.setdefault(member, member)
        while above != member:
            self._above[member] = self._above[above]  # halves the way for whoever asks next
            member = self._above[member]
            above = self._above[member]
        return member
