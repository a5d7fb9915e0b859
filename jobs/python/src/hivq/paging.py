"""Lists that come in pages."""

from __future__ import annotations

from typing import Any, Dict, Iterable, Iterator, Optional, Set

from hivq.transport import Query, Transport

MOST_A_PAGE = 1000


def pages(transport: Transport, path: str, query: Query, limit: Optional[int]) -> Iterator[Dict[str, Any]]:
    """Answers one after the other, as they are read, of `limit` entries each where that is less than a page."""
    size = MOST_A_PAGE if limit is None else max(1, min(MOST_A_PAGE, limit))
    offset, total = 0, 1
    while offset < total:
        page = transport.get(path, {**query, "limit": size, "offset": offset})
        yield page
        offset, total = offset + size, page["total"]


def entries(answers: Iterable[Dict[str, Any]], of: str, named: str, limit: Optional[int] = None) -> Iterator[Dict[str, Any]]:
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
