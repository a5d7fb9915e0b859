"""The API's description against what a real coordinator answers."""

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import yaml
from conftest import Coordinator, until


def test_no_request_that_schemathesis_makes_up_is_a_server_error_or_breaks_the_description(tmp_path):
    """A coordinator of its own, since many jobs are submitted. job_events does not end while its job trains."""
    coordinator = Coordinator(tmp_path)
    job = coordinator.submit("small")
    until(lambda: coordinator.state(job) == "finished", 300)
    checks = ["not_a_server_error", "status_code_conformance", "content_type_conformance",
              "response_headers_conformance", "response_schema_conformance", "unsupported_method"]
    done = subprocess.run(
        [Path(sys.executable).parent / "st", "run", f"{coordinator.url}/api/v1/openapi.yaml", "--url",
         f"{coordinator.url}/api/v1", "-n", "25", "--exclude-operation-id", "job_events", "--checks", ",".join(checks)],
        capture_output=True, text=True, timeout=600, cwd=tmp_path)
    coordinator.end()
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_events_come_while_a_job_trains_and_end_with_it(coordinator):
    job = coordinator.submit("events")
    names = []
    with urllib.request.urlopen(f"{coordinator.url}/api/v1/jobs/{job}/events", timeout=120) as stream:
        for line in stream:
            if line.startswith(b"event: "):
                names.append(line.split()[1].decode())
    assert names[-1] == "ended" and names.count("changed") >= 2


def test_slow_and_half_requests_do_not_hold_up_others(coordinator):
    """Connections that send their headers byte by byte, or nothing more."""
    import socket

    host, port = coordinator.url.removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(60)]
    try:
        for one in slow:
            one.sendall(b"GET /api/v1/jobs HTTP/1.1\r\nHost: ")
        begin = time.monotonic()
        assert coordinator.ask("/jobs")["total"] >= 1
        assert time.monotonic() - begin < 5
    finally:
        for one in slow:
            one.close()
    until(lambda: coordinator.ask("/jobs")["total"] >= 1, 10)


def test_the_fields_that_can_be_chosen_are_those_of_a_trial(coordinator):
    with urllib.request.urlopen(f"{coordinator.url}/api/v1/openapi.yaml") as answer:
        description = yaml.safe_load(answer)
    parameters = description["paths"]["/jobs/{job}/trials"]["get"]["parameters"]
    (fields,) = [each["schema"]["items"]["enum"] for each in parameters if each.get("name") == "fields"]
    row = coordinator.ask("/jobs/1/trials?limit=1")["trials"][0]
    assert sorted(fields) == sorted(row)
    chosen = coordinator.ask("/jobs/1/trials?fields=" + ",".join(fields))["trials"]
    assert [sorted(each) for each in chosen] == [sorted(fields)] * 8
