import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import hivq  # noqa: E402
import stub as stubs  # noqa: E402
from hivq import events, transport  # noqa: E402

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would all it starts


@pytest.fixture
def stub(monkeypatch):
    """A coordinator's stand-in. At the end of a test neither side may have left the API's description."""
    for name in ("HIVQ_URL", "HIVQ_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(transport, "FIRST_DELAY", 0.002)
    monkeypatch.setattr(events, "SHORTEST_POLL", 0.01)
    server = stubs.Stub()
    yield server
    server.close()
    assert server.offences == []


@pytest.fixture
def client(stub):
    with hivq.Client(stub.url, timeout=5) as client:
        yield client
