import pickle
import socket
import threading

import answers
import hivq
import pytest
from hivq.transport import ATTEMPTS, delay, target
from stub import Answer, problem


def test_a_read_is_sent_again_after_503_and_after_a_broken_connection(stub, client):
    stub.on("GET", "/version", problem(503, "starting", Retry_After="0"), Answer(drop=True), {"version": "2"})
    assert client.version() == "2"
    assert len(stub.requests) == 3


def test_a_submission_that_is_sent_again_is_the_same_one(stub, client):
    stub.on("POST", "/jobs", Answer(drop=True), problem(503, "starting"), {"job": 3})
    stub.on("GET", "/jobs/3", answers.detail())
    assert client.submit({"name": "search"}, user="ada").id == 3
    sent = stub.seen("POST", "/jobs")
    assert len(sent) == 3
    assert len({tuple(each.query["key"]) for each in sent}) == 1 and len(sent[0].query["key"][0]) == 32
    assert {each.body for each in sent} == {sent[0].body} and sent[0].query["user"] == ["ada"]


def test_two_submissions_have_two_keys(stub, client):
    stub.on("POST", "/jobs", {"job": 3})
    stub.on("GET", "/jobs/3", answers.detail())
    for _ in range(2):
        client.submit("name: search\n")
    first, second = stub.seen("POST", "/jobs")
    assert first.query["key"] != second.query["key"]


def test_a_wish_whose_answer_was_lost_is_not_repeated(stub, client):
    stub.on("GET", "/jobs/3", answers.detail())
    stub.on("POST", "/jobs/3/cancel", Answer(drop=True))
    with pytest.raises(hivq.Unreachable):
        client.job(3).cancel()
    assert len(stub.seen("POST", "/jobs/3/cancel")) == 1


def test_connections_are_kept(stub, client):
    stub.on("GET", "/version", {"version": "1"})
    for _ in range(5):
        client.version()
    assert len({each.connection for each in stub.requests}) == 1


def test_a_kept_connection_that_the_coordinator_closed_is_replaced(stub, client):
    stub.on("GET", "/version", {"version": "1"}, Answer(drop=True), {"version": "2"})
    assert [client.version(), client.version()] == ["1", "2"]


def test_threads_share_a_client(stub, client):
    stub.on("GET", "/version", {"version": "1"})
    found = []
    threads = [threading.Thread(target=lambda: found.append(client.version())) for _ in range(16)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == ["1"] * 16


def test_503_to_the_end_is_the_coordinators_sentence(stub, client):
    stub.on("GET", "/version", problem(503, "the coordinator does not answer"))
    with pytest.raises(hivq.ApiError, match="the coordinator does not answer") as caught:
        client.version()
    assert caught.value.status == 503 and len(stub.requests) == ATTEMPTS


def test_no_coordinator_is_told_with_a_remedy(stub):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(hivq.Unreachable, match=r"hivq-coordinator --data FOLDER.*HIVQ_URL") as caught:
        hivq.Client(url).version()
    assert url in str(caught.value) and "refused" in str(caught.value)
    assert isinstance(caught.value, (hivq.Error, ConnectionError))


def test_a_coordinator_that_is_silent_is_given_up_after_the_timeout(stub):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(hivq.Unreachable, match="timed out"):
            hivq.Client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2).version()


def test_another_server_is_told_from_a_coordinator(stub, client):
    stub.on("GET", "/version", Answer(200, b"<html>hello</html>", "text/html"))
    with pytest.raises(hivq.Error, match="not as a hivq coordinator"):
        client.version()
    stub.on("GET", "/version", Answer(502, b"<html>Bad Gateway</html>", "text/html"))
    with pytest.raises(hivq.ApiError, match="^502 Bad Gateway$"):
        client.version()


@pytest.mark.parametrize("url", ["127.0.0.1:4488", "tcp://127.0.0.1:4487", "http://", "http://h:99999", "http://a:b@host"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(hivq.Error, match="address"):
        hivq.Client(url)


def test_the_environment_names_coordinator_and_token(stub, monkeypatch):
    stub.on("GET", "/version", {"version": "1"})
    monkeypatch.setenv("HIVQ_URL", stub.url + "/")
    monkeypatch.setenv("HIVQ_TOKEN", "secret")
    client = hivq.Client()
    client.version()
    assert stub.requests[0].headers["authorization"] == "Bearer secret" and "secret" not in repr(client)


def test_without_a_token_401_says_how_to_give_one(stub, client):
    stub.on("GET", "/version", problem(401, "this coordinator wants a token"))
    with pytest.raises(hivq.ApiError, match="wants a token; give a token: .*HIVQ_TOKEN"):
        client.version()
    assert "authorization" not in stub.requests[0].headers


def test_a_token_cannot_carry_another_header():
    with pytest.raises(hivq.Error, match="token"):
        hivq.Client(token="a\r\nX-Evil: 1")


def test_queries_are_encoded():
    assert target("/x", {"where": ["a < 1", "b=2&c"], "none": None, "flag": True}) == "/x?where=a%20%3C%201&where=b%3D2%26c&flag=true"


def test_delays_grow_to_a_limit():
    assert delay(1) <= 0.125 and 3.7 < delay(12) <= 6.25 and 3.7 < delay(10**6) <= 6.25
    assert delay(1, "2") == 2 and delay(1, "3600") == 5 and delay(1, "soon") < 1


def test_errors_survive_pickling():
    error = hivq.SpecError(422, "Invalid", "two mistakes", [hivq.Mistake(2, "no")], "a.yaml")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "a.yaml:2: no"
