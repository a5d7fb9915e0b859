"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), and what a job's stream says."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, Optional

from hivq.errors import ApiError, Error, Unreachable
from hivq.transport import Broken, Transport, delay, lines

# So long may a coordinator that has answered be away before that is an error: it may be starting again.
LONGEST_SILENCE = 300.0
SHORTEST_POLL, LONGEST_POLL = 0.5, 5.0
# The stream does not exist here, or a proxy stands between: questions at intervals do instead.
NO_STREAM = (404, 405, 406, 501)


@dataclass(frozen=True)
class Event:
    name: str  # "message" where the stream names none
    data: str
    id: str  # the last that was given, "" before


def parse(stream: Iterable[bytes]) -> Iterator[Event]:
    """Events of a stream's lines. One that the end cuts off is dropped, as the standard has it."""
    name, last_id = "", ""
    data: List[str] = []
    for raw in stream:
        if not raw.endswith((b"\n", b"\r")):
            return
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if data:
                yield Event(name or "message", "\n".join(data), last_id)
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id" and "\0" not in value:
            last_id = value


class JobEvents:
    """A job's states, each whenever something has changed, to the last; across breaks of the connection."""

    def __init__(self, transport: Transport, job: int, deadline: Optional[float]) -> None:
        self._transport = transport
        self._job = job
        self._deadline = deadline  # of time.monotonic()
        self._last_id = ""
        self._streams = True
        self._ended = False
        self._heard = time.monotonic()

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        """Job, as the API has it. Ends with the job, or at the deadline. Errors: ApiError; Unreachable, where the
        coordinator has been away for five minutes."""
        breaks = 0
        while not self._ended and self._left() > 0:
            came = False
            if self._streams:
                for state in self._stream():
                    came = True
                    yield state
            if self._ended or self._left() <= 0:
                return
            breaks = 0 if came else breaks + 1
            answer = self._ask()  # what the stream may have failed to say
            if answer is not None:
                yield answer
                if answer.get("ended") is not None:
                    return
            pause = delay(breaks + 1) if self._streams else min(SHORTEST_POLL * 1.5 ** min(breaks, 16), LONGEST_POLL)
            time.sleep(max(0.0, min(pause, self._left())))

    def _stream(self) -> Iterator[Dict[str, Any]]:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        silence = max(0.05, min(self._transport.timeout, self._left()))
        try:
            with self._transport.stream(f"/jobs/{self._job}/events", headers, silence) as response:
                if response.headers.get_content_type() != "text/event-stream":
                    self._streams = False
                    return
                for event in parse(self._within_deadline(lines(response))):
                    self._heard = time.monotonic()
                    self._last_id = event.id
                    self._ended = event.name == "ended"
                    state = decoded(event.data)
                    if state is not None:
                        yield state
                    if self._ended:
                        return
        except ApiError as refusal:
            if refusal.status in NO_STREAM:
                self._streams = False
            elif refusal.status < 500:
                raise
        except Broken:
            pass  # it is opened again

    def _within_deadline(self, stream: Iterable[bytes]) -> Iterator[bytes]:
        for line in stream:
            yield line
            if self._left() <= 0:
                return

    def _ask(self) -> Optional[Dict[str, Any]]:
        try:
            answer = self._transport.get(f"/jobs/{self._job}")
        except (Unreachable, ApiError) as failure:
            passing = isinstance(failure, Unreachable) or failure.status >= 500
            if not passing or time.monotonic() - self._heard > LONGEST_SILENCE:
                raise
            return None
        self._heard = time.monotonic()
        if not isinstance(answer, dict):
            raise Error(f"{self._transport.url} answers, but not as a hivq coordinator does; is the address right?")
        return answer

    def _left(self) -> float:
        return float("inf") if self._deadline is None else self._deadline - time.monotonic()


def decoded(data: str) -> Optional[Dict[str, Any]]:
    try:
        state = json.loads(data)
    except ValueError:
        return None
    return state if isinstance(state, dict) and "job" in state else None
