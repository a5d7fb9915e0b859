"""HTTP to the coordinator: kept connections, errors as sentences, and sending again where that is safe.

What may be sent again decides the retry: `Resend.ALWAYS` for reads and for submissions with a key, `Resend.UNSENT` for wishes such as
cancel, which are repeated only where the coordinator was not reached or said that it cannot serve for now (503).
"""

from __future__ import annotations

import enum
import http.client
import json
import os
import random
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from typing import Any, Iterator, List, Mapping, Optional, Sequence, Tuple, Union
from urllib.parse import quote, urlencode, urlsplit

from hivq.errors import ApiError, Error, Mistake, Unreachable

# Delays 0.1, 0.2, … 3.2 s, about 6 s in all: a coordinator that is started again is back by then.
ATTEMPTS = 7
FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
MOST_IDLE = 4
MOST_AT_ONCE = 1 << 20  # bytes of a body

Scalar = Union[str, int, float, bool, None]
Query = Mapping[str, Union[Scalar, Sequence[Scalar]]]


class Resend(enum.Enum):
    ALWAYS = "whatever went wrong"
    UNSENT = "where the coordinator was not reached, or said 503"


class Broken(Exception):
    """A stream could not be opened, or ended before its end; the cause says why."""


class Transport:
    """Requests to one coordinator; may be shared by threads. `timeout`: seconds that one may be silent."""

    def __init__(self, url: str, token: Optional[str], timeout: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise Error(f"the coordinator's address is {url!r}; it must look like http://127.0.0.1:4488")
        if parts.username or parts.password:
            raise Error("the coordinator's address holds a user or password; give a token instead: hivq.Client(url, token=…)")
        try:
            port = parts.port
        except ValueError:
            raise Error(f"the coordinator's address is {url!r}; its port must lie between 0 and 65535") from None
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
            raise Error("the token holds a blank or characters beyond ASCII; give it as the coordinator's file has it")
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, port
        self._base = parts.path.rstrip("/") + "/api/v1"
        self._token = token
        self._tls = ssl.create_default_context() if self._secure else None
        self._idle: List[http.client.HTTPConnection] = []
        self._process = os.getpid()  # a fork must not share the parent's connections
        self._lock = threading.Lock()

    def get(self, path: str, query: Optional[Query] = None, timeout: Optional[float] = None) -> Any:
        """The answer's JSON."""
        return self._json("GET", target(path, query), None, {}, Resend.ALWAYS, timeout)

    def post(
        self,
        path: str,
        query: Optional[Query] = None,
        body: Union[bytes, Mapping[str, Any], None] = None,
        resend: Resend = Resend.UNSENT,
        timeout: Optional[float] = None,
    ) -> Any:
        """The answer's JSON. `body`: a specification's bytes, or what becomes JSON."""
        headers = {}
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/yaml"
        elif body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body).encode()
        return self._json("POST", target(path, query), body or b"", headers, resend, timeout)

    @contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str], timeout: Optional[float] = None
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer, or the part of one that a header Range asks for, whose body the caller reads with chunks() or lines(), over
        a connection of its own; one attempt. Errors: ApiError; Broken."""
        connection = self._connect(timeout)
        try:
            try:
                response = self._send(connection, "GET", self._base + path, None, dict(headers))
                refusal = None if response.status in (200, 206) else problem(response, self._token is not None)
            except (OSError, http.client.HTTPException) as cause:
                raise Broken from cause
            if refusal is not None:
                raise refusal
            yield response
        finally:
            connection.close()

    def unreachable(self, cause: BaseException) -> Unreachable:
        """The sentence for a failed connection."""
        if isinstance(cause, ssl.SSLCertVerificationError):
            what = f"the connection to {self.url} is not secure ({cause}); is the address right?"
        elif isinstance(cause, socket.gaierror):
            what = f"there is no host {self._host!r} ({cause.strerror}); is the address right?"
        else:
            what = (
                f"the coordinator at {self.url} does not answer ({reason(cause)}); start it with "
                "`hivq-coordinator --data FOLDER`, or say where it is: hivq.Client('http://HOST:4488') or HIVQ_URL"
            )
        return Unreachable(what)

    def close(self) -> None:
        """Closes what is idle; the transport still works."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _json(
        self, method: str, path: str, body: Optional[bytes], headers: Mapping[str, str], resend: Resend, timeout: Optional[float]
    ) -> Any:
        began = time.monotonic()
        patience = self.timeout if timeout is None else timeout
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS
            after: Optional[str] = None
            sent = False
            # A connection that idled may have been closed by the other side, which shows only after sending.
            connection = self._take(timeout, fresh=attempt > 1 or resend is Resend.UNSENT)
            try:
                if connection.sock is None:
                    connection.connect()
                sent = True
                response = self._send(connection, method, self._base + path, body, dict(headers))
                if response.status != 503 or last:
                    return self._read(connection, response)
                after = response.getheader("Retry-After")
                response.read()
                connection.close()
            except (OSError, http.client.HTTPException) as cause:
                connection.close()
                hopeless = isinstance(cause, (ssl.SSLCertVerificationError, socket.gaierror))
                late = time.monotonic() - began >= patience
                if hopeless or last or late or (sent and resend is Resend.UNSENT):
                    raise self.unreachable(cause) from cause
            except BaseException:
                connection.close()
                raise
            time.sleep(delay(attempt, after))
        raise AssertionError("unreachable")

    def _read(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> Any:
        if not 200 <= response.status < 300:
            raise problem(response, self._token is not None)
        body = response.read()
        self._give_back(connection, response)
        try:
            return json.loads(body)
        except ValueError:
            raise Error(f"{self.url} answers, but not as a hivq coordinator does; is the address right?") from None

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Optional[bytes], headers: "dict[str, str]"
    ) -> http.client.HTTPResponse:
        headers.setdefault("Accept", "application/json, application/problem+json")
        headers["User-Agent"] = "hivq-python"
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        connection.request(method, path, body=body, headers=headers)
        return connection.getresponse()

    def _connect(self, timeout: Optional[float]) -> http.client.HTTPConnection:
        seconds = self.timeout if timeout is None else timeout
        if self._secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=seconds, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=seconds)

    def _take(self, timeout: Optional[float], fresh: bool) -> http.client.HTTPConnection:
        with self._lock:
            if self._process != os.getpid():
                self._idle, self._process = [], os.getpid()
            connection = self._idle.pop() if self._idle and not fresh else None
        if connection is None:
            return self._connect(timeout)
        connection.timeout = self.timeout if timeout is None else timeout
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)
        return connection

    def _give_back(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        with self._lock:
            if not response.will_close and len(self._idle) < MOST_IDLE:
                self._idle.append(connection)
                return
        connection.close()


def chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body to its end, each part as it comes, so that what came before a break is had. Errors: Broken."""
    missing = response.length  # None: in chunks that tell their own end, or to the connection's end
    try:
        while missing is None or missing > 0:
            chunk = response.read1(MOST_AT_ONCE if missing is None else min(missing, MOST_AT_ONCE))
            if not chunk:
                break
            missing = None if missing is None else missing - len(chunk)
            yield chunk
    except (OSError, http.client.HTTPException) as cause:
        raise Broken from cause
    if missing:
        raise Broken from ConnectionError(f"the connection ended {missing} bytes before the end")


def lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body's lines, each as soon as it is there. Errors: Broken."""
    try:
        while line := response.readline():
            yield line
    except (OSError, http.client.HTTPException) as cause:
        raise Broken from cause


def target(path: str, query: Optional[Query]) -> str:
    """The path with its query: lists repeat their name, None is left out, flags are true and false."""
    pairs: List[Tuple[str, str]] = []
    for name, value in (query or {}).items():
        several = value if isinstance(value, (list, tuple)) else [value]
        pairs += [(name, ("true" if each else "false") if isinstance(each, bool) else str(each)) for each in several if each is not None]
    return f"{path}?{urlencode(pairs, quote_via=quote)}" if pairs else path


def problem(response: http.client.HTTPResponse, with_token: bool) -> ApiError:
    """The error that an answer other than 2xx stands for."""
    body = response.read(1 << 20)
    try:
        json_body = json.loads(body)
    except ValueError:
        json_body = None
    if not isinstance(json_body, dict):
        text = body.decode("utf-8", "replace").strip()[:500]
        json_body = {"detail": text if "<" not in text else ""}  # not the page of a proxy
    title = str(json_body.get("title") or response.reason)
    detail = str(json_body.get("detail") or f"{response.status} {title}")
    if response.status == 401 and not with_token:
        detail += "; give a token: hivq.Client(token=…) or HIVQ_TOKEN"
    mistakes = [Mistake(int(each.get("line") or 0), str(each.get("message"))) for each in json_body.get("mistakes") or []]
    return ApiError(response.status, title, detail, mistakes)


def reason(cause: BaseException) -> str:
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__


def delay(attempt: int, retry_after: Optional[str] = None) -> float:
    """Seconds before the next attempt, from the first, with jitter so that many clients do not come at once."""
    if retry_after is not None and retry_after.isdigit():
        return min(float(retry_after), LONGEST_DELAY)
    return min(FIRST_DELAY * 2.0 ** min(attempt - 1, 16), LONGEST_DELAY) * random.uniform(0.75, 1.25)
