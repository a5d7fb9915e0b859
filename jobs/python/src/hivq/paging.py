"""Lists that come in pages."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, Iterator, Optional, Set

from hivq.transport import Query, Transport

MOST_A_PAGE = 1000
Page = Dict[str, Any]


def page_size(limit: Optional[int]) -> int:
    """Entries of a page where `limit` are wanted in all."""
    return MOST_A_PAGE if limit is None else max(1, min(MOST_A_PAGE, limit))


def pages(transport: Transport, path: str, query: Query, limit: Optional[int]) -> Iterator[Page]:
    """Answers one after the other, as they are read, by their place in the list."""
    size = page_size(limit)
    offset, total = 0, 1
    while offset < total:
        page = transport.get(path, {**query, "limit": size, "offset": offset})
        yield page
        offset, total = offset + size, page["total"]


def pages_by_number(
    transport: Transport, path: str, query: Query, limit: Optional[int], of: str, number: Callable[[Dict[str, Any]], int]
) -> Iterator[Page]:
    """Answers one after the other, each from behind the last entry of the one before: whatever comes in between, no entry that
    was there at first is missed."""
    size = page_size(limit)
    after: Optional[int] = None
    while True:
        page = transport.get(path, {**query, "limit": size, "after": after})
        yield page
        if len(page[of]) < size:
            return
        after = number(page[of][-1])


def entries(answers: Iterable[Page], of: str, named: str, limit: Optional[int] = None) -> Iterator[Dict[str, Any]]:
    """The entries of pages, `limit` at most. One that moved to a later page meanwhile, as something came before it, is given
    once."""
    seen: Set[Any] = set()
    for page in answers:
        for entry in page[of]:
            if limit is not None and len(seen) >= limit:
                return
            if entry[named] not in seen:
                seen.add(entry[named])
                yield entry
        if limit is not None and len(seen) >= limit:
            return
