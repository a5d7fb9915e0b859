"""Who gets in over HTTP: tokens, sessions, TLS, and requests that are meant to harm. Real programs, a real browser."""

import gzip
import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect
from conftest import BIN, SMALL, until


class Guarded:
    """A coordinator that lets known keys alone in, with TLS of its own."""

    def __init__(self, folder, *options, certificate=None):
        self.folder, self.data = folder, folder / "data"
        self.log = open(folder / "coordinator.log", "wb")
        self.process = subprocess.Popen(
            [BIN / "hivq-coordinator", "--data", self.data, "--listen", "tcp://127.0.0.1:0", "--http", "https://127.0.0.1:0",
             "--secure", *options], stdout=self.log, stderr=self.log)
        written = self.data / "coordinator.json"
        self.url = until(lambda: written.exists() and json.loads(written.read_text())["http"], 60)
        self.port = int(self.url.rsplit(":", 1)[1])
        self.tls = ssl.create_default_context(cafile=certificate or self.data / "keys" / "tls.crt")
        self.tokens = {role: self.token(role) for role in ("viewer", "submitter", "operator", "gang")}

    def hivq(self, *arguments, fails=False):
        done = subprocess.run([BIN / "hivq", *arguments], capture_output=True, text=True, timeout=60, cwd=self.folder)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def token(self, role):
        self.hivq("keys", "add", f"a-{role}", "--role", role, "--data", self.data, "--out", f"{role}.json")
        return self.hivq("keys", "token", "--key", f"{role}.json").strip()

    def ask(self, path, role=None, token=None, body=None, method=None, headers=None):
        """Status, headers and body of an answer."""
        headers = dict(headers or {})
        token = token or (self.tokens[role] if role else None)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self.tls) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.headers, refused.read().decode()

    def submit(self, role, name, user=""):
        return self.ask(f"/api/v1/jobs?key={name}&user={user}", role, body=SMALL.format(name=name, epochs=2).encode(),
                        headers={"Content-Type": "application/yaml"})

    def connect(self):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return self.tls.wrap_socket(plain, server_hostname="localhost")

    def events(self):
        status, _, text = self.ask("/api/v1/query", "operator", body=json.dumps({"sql": "SELECT text FROM events"}).encode(),
                                   headers={"Content-Type": "application/json"})
        assert status == 200, text
        return [row[0] for row in json.loads(text)["rows"]]

    def said(self):
        self.log.flush()
        return (self.folder / "coordinator.log").read_text()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        self.log.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    coordinator = Guarded(tmp_path_factory.mktemp("guarded"))
    yield coordinator
    coordinator.end()


def test_without_a_token_only_what_holds_nothing_is_answered(guarded):
    for path in ("/healthz", "/readyz", "/", "/assets/main.js", "/api/v1/openapi.yaml"):
        assert guarded.ask(path)[0] == 200, path
    for path in ("/api/v1/jobs", "/api/v1/gangs", "/api/v1/jobs/1/events", "/api/v1/session", "/metrics", "/api/v1/version"):
        status, headers, text = guarded.ask(path)
        assert status == 401 and headers["WWW-Authenticate"].startswith("Bearer"), (path, text)
        assert "hivq keys token" in json.loads(text)["detail"]
    assert guarded.ask("/metrics", "viewer")[0] == 200


def test_wrong_revoked_and_gangs_tokens_are_refused_and_told(guarded):
    for token in ("hivq_" + "0" * 64, "x", "hivq_", guarded.tokens["viewer"][:-1]):
        assert guarded.ask("/api/v1/jobs", token=token)[0] == 401
    assert guarded.ask("/api/v1/jobs", "gang")[0] == 403
    guarded.hivq("keys", "add", "leaver", "--role", "viewer", "--data", guarded.data)
    token = guarded.hivq("keys", "token", "--key", "leaver.json").strip()
    assert guarded.ask("/api/v1/jobs", token=token)[0] == 200
    guarded.hivq("list", "--data", guarded.data, "--key", "leaver.json")
    guarded.hivq("keys", "revoke", "leaver", "--data", guarded.data)
    until(lambda: guarded.ask("/api/v1/jobs", token=token)[0] == 401, 10)
    refused = guarded.hivq("list", "--key", "leaver.json", "--coordinator",
                           json.loads((guarded.data / "coordinator.json").read_text())["endpoint"], fails=True)
    assert "does not let us in" in refused
    told = until(lambda: [each for each in guarded.events() if "leaver" in each and "revoked" in each], 10)
    assert told
    until(lambda: any("refused 127.0.0.1" in each for each in guarded.events()), 10)
    assert guarded.tokens["viewer"] not in guarded.said(), "a token stands in the log"


def test_each_role_may_do_its_part_and_no_more(guarded):
    assert guarded.submit("viewer", "by-viewer")[0] == 403
    status, _, text = guarded.submit("submitter", "by-submitter", user="somebody-else")
    assert status == 201, text
    job = json.loads(text)["job"]
    assert json.loads(guarded.ask(f"/api/v1/jobs/{job}", "viewer")[2])["user"] == "a-submitter", "a user is not for the sender to say"
    status, _, text = guarded.submit("operator", "for-ada", user="ada")
    other = json.loads(text)["job"]
    assert json.loads(guarded.ask(f"/api/v1/jobs/{other}", "viewer")[2])["user"] == "ada"
    # Others' jobs are an operator's to end.
    status, _, text = guarded.ask(f"/api/v1/jobs/{other}/cancel", "submitter", method="POST")
    assert status == 403 and "belongs to ada" in text
    assert guarded.ask(f"/api/v1/jobs/{job}/cancel", "viewer", method="POST")[0] == 403
    assert guarded.ask(f"/api/v1/jobs/{job}/cancel", "submitter", method="POST")[0] == 200
    assert guarded.ask(f"/api/v1/jobs/{other}/cancel", "operator", method="POST")[0] == 200
    drain = json.dumps({"target": "host:node7"}).encode()
    as_json = {"Content-Type": "application/json"}
    assert guarded.ask("/api/v1/drain", "submitter", body=drain, headers=as_json)[0] == 403
    assert guarded.ask("/api/v1/drain", "operator", body=drain, headers=as_json)[0] == 200
    assert guarded.ask("/api/v1/query", "viewer", body=b'{"sql": "SELECT 1"}', headers=as_json)[0] == 200
    events = until(lambda: [each for each in guarded.events() if f"cancel job {other}" in each], 10)
    assert "a-operator (operator)" in events[0]


def test_the_same_holds_for_the_command_line(guarded, tmp_path):
    spec = tmp_path / "small.yaml"
    spec.write_text(SMALL.format(name="small", epochs=1))
    assert "not allowed: a-viewer is a viewer" in guarded.hivq("submit", spec, "--data", guarded.data, "--key", "viewer.json", fails=True)
    assert "submitted" in guarded.hivq("submit", spec, "--data", guarded.data, "--key", "submitter.json")
    assert "not allowed: a-gang is a gang" in guarded.hivq("list", "--data", guarded.data, "--key", "gang.json", fails=True)
    assert "needs the role operator" in guarded.hivq("drain", "host:x", "--data", guarded.data, "--key", "submitter.json", fails=True)
    assert "host:x" in guarded.hivq("drain", "host:x", "--data", guarded.data)  # who reads the data folder is an operator


def test_a_session_stands_for_a_token_but_not_from_another_page(guarded):
    status, headers, _ = guarded.ask("/api/v1/session", "submitter", method="POST")
    cookie = headers["Set-Cookie"]
    assert status == 200 and all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Secure", "Path=/"))
    session = {"Cookie": cookie.split(";")[0]}
    assert guarded.ask("/api/v1/jobs", headers=session)[0] == 200
    assert json.loads(guarded.ask("/api/v1/session", headers=session)[2]) == {"name": "a-submitter", "role": "submitter"}
    job = json.loads(guarded.submit("submitter", "for-session")[2])["job"]
    cancel = f"/api/v1/jobs/{job}/cancel"
    assert guarded.ask(cancel, headers=session, method="POST")[0] == 403  # no page says so
    assert guarded.ask(cancel, headers={**session, "Origin": "https://evil.example"}, method="POST")[0] == 403
    assert guarded.ask(cancel, headers={**session, "Origin": guarded.url}, method="POST")[0] == 200
    name, value = session["Cookie"].split("=", 1)
    for forged in (value[:-1] + ("0" if value[-1] != "0" else "1"), value.replace("a-submitter", "a-operator"), "a-operator.99999999999999.", "..", ""):
        assert guarded.ask("/api/v1/jobs", headers={"Cookie": f"{name}={forged}"})[0] == 401, forged
    assert "Max-Age=0" in guarded.ask("/api/v1/session/end", "submitter", method="POST")[1]["Set-Cookie"]


def test_pages_come_with_a_strict_policy(guarded):
    headers = guarded.ask("/")[1]
    assert "default-src 'self'" in headers["Content-Security-Policy"] and "script" not in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY" and headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_plain_http_and_old_tls_get_nothing_from_a_tls_port(guarded):
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=30) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            assert b"ok" not in plain.recv(1000)
        except ConnectionResetError:
            pass
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        old.wrap_socket(socket.create_connection(("127.0.0.1", guarded.port), timeout=30)).do_handshake()


def test_paths_that_climb_find_nothing(guarded):
    for path in ("/assets/../../etc/passwd", "/assets/..%2f..%2fetc%2fpasswd", "/assets/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd",
                 "/api/v1/../../etc/passwd"):
        with guarded.connect() as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {guarded.tokens['operator']}\r\n"
                               "Connection: close\r\n\r\n".encode())
            answer = b""
            while part := connection.recv(65536):
                answer += part
        assert answer.split()[1] in (b"404", b"400") and b"root:" not in answer, path


def test_a_specification_reads_nothing_that_is_not_allowed(guarded):
    for field in ("data.path=/etc", "data.path=../..", "data.path=/usr/share/../../root", "backbone.weights=/root/.ssh/id_rsa"):
        key, value = field.split("=")
        section, name = key.split(".")
        text = SMALL.format(name="reader", epochs=1)
        text = text.replace("data: {", f"data: {{{name}: {value}, ") if section == "data" else text + f"backbone: {{{name}: {value}}}\n"
        status, _, answer = guarded.ask("/api/v1/jobs?key=" + field.replace("/", "-"), "submitter", body=text.encode(),
                                        headers={"Content-Type": "application/yaml"})
        assert status == 422 and key in answer and "--data-root" in answer, answer
    swept = SMALL.format(name="reader", epochs=1).replace("model.dropout: [0.0, 0.2]", "data.path: [/etc]")
    status, _, answer = guarded.ask("/api/v1/jobs?key=swept", "submitter", body=swept.encode(), headers={"Content-Type": "application/yaml"})
    assert status == 422 and "data.path" in answer, answer


def test_a_body_beyond_the_limit_is_not_read(guarded):
    with guarded.connect() as connection:
        connection.sendall(f"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {guarded.tokens['submitter']}\r\n"
                           "Content-Type: application/yaml\r\nContent-Length: 1000000000\r\n\r\n".encode())
        assert connection.recv(100).split()[1] == b"413"
    assert guarded.ask("/api/v1/jobs", "viewer")[0] == 200


def test_slow_connections_are_cut_and_hold_up_nobody(guarded):
    """More of them than threads: of one address without a token only some are served at all, and each for ten seconds."""
    slow = [socket.create_connection(("127.0.0.1", guarded.port), timeout=30) for _ in range(200)]
    try:
        end = time.monotonic() + 14
        while time.monotonic() < end:
            for one in slow:
                try:
                    one.send(b"G")
                except OSError:
                    pass
            time.sleep(0.5)
            # Somebody from the same address may have to try again while all of its places are taken.
            begin = time.monotonic()
            until(lambda: answered(guarded), 30)
            assert time.monotonic() - begin < 15
        open_yet = sum(1 for one in slow if still_open(one))
        assert open_yet == 0, f"{open_yet} of 200 slow connections are open after 14 s"
    finally:
        for one in slow:
            one.close()


def until_closed(connection, sent, seconds=6):
    """What is answered to some bytes until the server closes; fails where the connection stays open. Where the server has
    not read everything, the system may drop the answer."""
    connection.settimeout(seconds)
    answer = b""
    try:
        connection.sendall(sent)
    except TimeoutError:
        raise
    except OSError:
        pass
    try:
        while part := connection.recv(65536):
            answer += part
    except TimeoutError:
        raise AssertionError(f"open yet after {seconds} s: {answer[:200]}") from None
    except OSError:
        pass
    return answer


def read_answer(connection):
    """One answer, by its Content-Length, of a connection that may stay open."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = connection.recv(65536)
        assert part, answer
        answer += part
    head, body = answer.split(b"\r\n\r\n", 1)
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        part = connection.recv(65536)
        assert part, answer
        body += part
    return head, body


def request(path, *headers, method="GET"):
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", "")).encode()


def peak_memory(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))) << 10


def test_a_head_without_end_is_cut_and_costs_no_memory(guarded):
    before = peak_memory(guarded.process)
    begin = request("/healthz")[:-2]
    for endless in (b"x" * 100_000, begin + b"X-Long: " + b"x" * 100_000, begin + b"X-Some: header\r\n" * 6_000):
        for _ in range(4):
            with guarded.connect() as connection:
                assert b"200 OK" not in until_closed(connection, endless)
    assert peak_memory(guarded.process) - before < 32 << 20
    until(lambda: any("its request is too large" in each for each in guarded.events()), 10)


def test_a_body_in_pieces_without_end_is_cut(guarded):
    begin = request("/api/v1/validate", f"Authorization: Bearer {guarded.tokens['submitter']}", "Content-Type: application/yaml",
                    "Transfer-Encoding: chunked", method="POST")
    with guarded.connect() as connection:
        answer = until_closed(connection, begin + (b"100000\r\n" + b" " * (1 << 20) + b"\r\n") * 10, 20)
    assert answer.split()[1] == b"413", answer[:200]
    until(lambda: any("its request is too large" in each for each in guarded.events()), 10)


def test_a_packed_body_is_not_unpacked(guarded):
    bomb = gzip.compress(b" " * (64 << 20))
    before = peak_memory(guarded.process)
    for encoding in ("gzip", "br", "deflate"):
        status, _, text = guarded.ask("/api/v1/validate", "submitter", body=bomb, headers={"Content-Type": "application/yaml", "Content-Encoding": encoding})
        assert status == 415 and "Content-Encoding" in json.loads(text)["detail"], text
    assert peak_memory(guarded.process) - before < 32 << 20
    until(lambda: any("its request is compressed" in each for each in guarded.events()), 10)


def test_a_connection_stays_for_who_has_a_token(guarded):
    """A stranger's ends with its first answer, so that nobody keeps a place by asking for what is open."""
    for path in ("/healthz", "/", "/assets/main.js", "/api/v1/jobs"):
        with guarded.connect() as connection:
            answer = until_closed(connection, request(path) * 2)
            assert answer.count(b"HTTP/1.1 ") == 1 and b"\r\nConnection: close\r\n" in answer, answer[:500]
    token = f"Authorization: Bearer {guarded.tokens['viewer']}"
    with guarded.connect() as connection:
        for path, header in (("/api/v1/jobs", token), ("/healthz", "X: y"), ("/api/v1/jobs", token)):
            connection.sendall(request(path, header))
            head, _ = read_answer(connection)
            assert b" 200 " in head and b"Connection: close" not in head, head
    cookie = guarded.ask("/api/v1/session", "submitter", method="POST")[1]["Set-Cookie"].split(";")[0]
    with guarded.connect() as connection:
        for path in ("/", "/assets/main.js"):
            connection.sendall(request(path, f"Cookie: {cookie}"))
            head, _ = read_answer(connection)
            assert b" 200 " in head and b"Connection: close" not in head, head


def test_a_slow_request_is_cut_and_told(guarded):
    with guarded.connect() as connection:
        begin = time.monotonic()
        until_closed(connection, b"GET /healthz HT", 14)
        assert time.monotonic() - begin > 8, "it had no time"
    until(lambda: any("its request did not come in time" in each for each in guarded.events()), 10)


def test_who_finds_no_place_is_told(guarded):
    silent = [socket.create_connection(("127.0.0.1", guarded.port), timeout=30) for _ in range(40)]
    try:
        until(lambda: any(not still_open(one) for one in silent), 10)
    finally:
        for one in silent:
            one.close()
    until(lambda: answered(guarded), 30)
    until(lambda: any("too many connections without a token are open" in each for each in guarded.events()), 10)


def test_refusals_of_known_keys_and_of_pages_are_told(guarded):
    assert guarded.submit("viewer", "never")[0] == 403
    assert guarded.ask("/api/v1/jobs", "gang")[0] == 403
    assert guarded.ask("/api/v1/drain", "operator", body=b"{}", headers={"Origin": "https://evil.example"})[0] == 403
    cookie = guarded.ask("/api/v1/session", "submitter", method="POST")[1]["Set-Cookie"].split(";")[0]
    assert guarded.ask("/api/v1/jobs/1/cancel", headers={"Cookie": cookie}, method="POST")[0] == 403
    other = json.loads(guarded.submit("operator", "an-operators", user="ada")[2])["job"]
    assert guarded.ask(f"/api/v1/jobs/{other}/cancel", "submitter", method="POST")[0] == 403
    for why in ("a-viewer is a viewer, and asked for a change", "a-gang is a gang", "a page of another site asked for a change",
                "without the header Origin", "the coordinator does not allow its wish"):
        until(lambda: any("refused 127.0.0.1" in each and why in each for each in guarded.events()), 10)
    told = "\n".join(guarded.events()) + guarded.said()
    assert "evil.example" not in told and not any(token in told for token in guarded.tokens.values()) and cookie not in told


def answered(coordinator):
    try:
        return coordinator.ask("/api/v1/jobs", "viewer")[0] == 200
    except (OSError, urllib.error.URLError):
        return False


def still_open(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_tokens_are_not_there_to_be_guessed(guarded):
    codes = [guarded.ask("/api/v1/jobs", token=f"hivq_{i:064x}")[0] for i in range(120)]
    assert 429 in codes and set(codes) <= {401, 429}
    assert guarded.ask("/api/v1/jobs", "viewer")[0] == 200, "who has a token is not held up by who guesses"


def test_a_port_scan_and_garbage_on_both_ports_are_told_and_nothing_is_lost(guarded):
    endpoint = json.loads((guarded.data / "coordinator.json").read_text())["endpoint"]
    for port in (guarded.port, int(endpoint.rsplit(":", 1)[1])):
        for said in (b"", b"\x00" * 64, b"GET / HTTP/1.0\r\n\r\n", os.urandom(4096), b"\xff" + b"\x00" * 8 + b"\x7f\x03" + b"NULL" + b"\x00" * 48):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(said)
    until(lambda: any("refused" in each and "has no key" in each for each in guarded.events()), 20)
    assert guarded.ask("/api/v1/jobs", "viewer")[0] == 200


def test_a_gang_that_it_starts_has_a_key_that_no_command_line_shows(tmp_path, monkeypatch):
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
    guarded = Guarded(tmp_path, "--local-gangs", "1")
    job = json.loads(guarded.submit("submitter", "trained")[2])["job"]
    secret = json.loads((guarded.data / "keys" / "gang.json").read_text())["secret"]
    until(lambda: json.loads(guarded.ask("/api/v1/gangs", "viewer")[2])["gangs"], 60)
    seen = [line.read_bytes().decode(errors="replace") for line in Path("/proc").glob("[0-9]*/cmdline") if line.exists()]
    assert any("hivq-worker" in each and str(guarded.data) in each for each in seen) and not any(secret in each for each in seen)
    until(lambda: json.loads(guarded.ask(f"/api/v1/jobs/{job}", "viewer")[2])["state"] == "finished", 300)
    guarded.end()
    assert secret not in guarded_log(tmp_path) and not any(secret in each.read_text() for each in (guarded.data / "gangs").iterdir())


def guarded_log(folder):
    return (folder / "coordinator.log").read_text()


def test_the_certificate_is_read_again_when_it_changes(tmp_path):
    """As cert-manager renews one."""
    def make(name):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key.new", "-out",
                        tmp_path / "crt.new", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"],
                       check=True, capture_output=True)
        os.replace(tmp_path / "key.new", tmp_path / "key")
        os.replace(tmp_path / "crt.new", tmp_path / "crt")

    make("first")
    guarded = Guarded(tmp_path, "--tls-cert", str(tmp_path / "crt"), "--tls-key", str(tmp_path / "key"), certificate=tmp_path / "crt")
    first = ssl.get_server_certificate(("127.0.0.1", guarded.port))
    assert first.strip() == (tmp_path / "crt").read_text().strip()
    make("second")
    until(lambda: ssl.get_server_certificate(("127.0.0.1", guarded.port)).strip() == (tmp_path / "crt").read_text().strip(), 10)
    guarded.end()


def test_options_that_would_open_it_are_refused(tmp_path):
    def fails(*options):
        done = subprocess.run([BIN / "hivq-coordinator", "--data", tmp_path / "d", *options], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1, done.stderr
        return done.stderr

    assert "would send tokens in the clear" in fails("--listen", "tcp://0.0.0.0:0", "--http", "http://0.0.0.0:0")
    assert "it must be ROLE=FILE" in fails("--secure", "--allow", "king=/tmp/x")
    assert "cannot be read" in fails("--secure", "--listen", "tcp://127.0.0.1:0", "--allow", f"gang={tmp_path}/none")
    assert "without --secure" in fails("--allow", f"gang={tmp_path}/none")


def test_the_dashboard_asks_who_one_is_and_lets_one_out_again(guarded, chromium):
    context = chromium.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.goto(guarded.url)
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Sign in")).to_be_visible()
    dialog.get_by_label("Token").fill("hivq_wrong")
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog.get_by_role("alert")).to_be_visible()
    dialog.get_by_label("Token").fill(guarded.tokens["submitter"])
    dialog.get_by_role("button", name="Sign in").click()
    expect(page.locator("#who")).to_contain_text("a-submitter (submitter)")
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    page.reload()
    expect(page.locator("#who")).to_contain_text("a-submitter")
    assert page.evaluate("document.cookie") == "", "a script can read the session"
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    context.close()
