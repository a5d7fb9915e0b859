"""A small coordinator: real HTTP on a free port, answers that a test prepares, held against coordinator/http/openapi.yaml."""

import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import jsonschema
import yaml

OPENAPI = Path(__file__).parents[2] / "coordinator" / "http" / "openapi.yaml"


def openapi():
    """The description with JSON Schema's null in the place of OpenAPI 3.0's nullable."""

    def plain(node):
        if isinstance(node, list):
            return [plain(each) for each in node]
        if not isinstance(node, dict):
            return node
        node = {key: plain(value) for key, value in node.items()}
        if node.pop("nullable", False):
            return {"anyOf": [node, {"type": "null"}]}
        return node

    return plain(yaml.safe_load(OPENAPI.read_text()))


@dataclass
class Request:
    method: str
    path: str  # below /api/v1
    query: dict
    headers: dict
    body: bytes
    connection: int  # the client's port


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    type: str = "application/json"
    headers: dict = field(default_factory=dict)
    length: int = None  # what Content-Length says, where that is not true
    drop: bool = False  # closes the connection without an answer
    stream: object = None  # pieces of bytes that follow, up to the connection's end


def ok(value, status=200):
    return Answer(status, json.dumps(value).encode())


def problem(status, detail, mistakes=None, **headers):
    body = {"type": "about:blank", "title": "Refused", "status": status, "detail": detail}
    if mistakes is not None:
        body["mistakes"] = [{"line": line, "message": message} for line, message in mistakes]
    return Answer(status, json.dumps(body).encode(), "application/problem+json", headers)


class Stub:
    """`on()` says what is answered; `requests` holds what came."""

    def __init__(self):
        self.description = openapi()
        self.requests, self.offences = [], []
        self._routes = {}
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                stub._serve(self)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def on(self, method, path, *answers):
        """Answers in turn, the last again and again. Each is an Answer, a JSON value, or a function of the Request."""
        self._routes[method, path] = list(answers)

    def seen(self, method, path):
        return [each for each in self.requests if (each.method, each.path) == (method, path)]

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler):
        parts = urlsplit(handler.path)
        assert parts.path.startswith("/api/v1"), parts.path
        path = unquote(parts.path[len("/api/v1") :])
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.command, path, parse_qs(parts.query), headers, body, handler.client_address[1])
        self.requests.append(request)
        operation = self._operation(request)
        answers = self._routes.get((request.method, path), [problem(404, f"there is no {path}")])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            answer = answer(request)
        if not isinstance(answer, Answer):
            answer = ok(answer, 201 if (request.method, path) == ("POST", "/jobs") else 200)
        self._check(operation, request, answer)
        self._reply(handler, answer)

    def _reply(self, handler, answer):
        if answer.drop:
            handler.close_connection = True
            return
        handler.send_response(answer.status)
        handler.send_header("Content-Type", answer.type)
        for name, value in answer.headers.items():
            handler.send_header(name.replace("_", "-"), value)
        if answer.stream is not None:
            handler.send_header("Connection", "close")
            handler.end_headers()
            try:
                for piece in answer.stream:
                    handler.wfile.write(piece)
                    handler.wfile.flush()
            except OSError:
                pass  # the client has gone
            return
        handler.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
        handler.end_headers()
        handler.wfile.write(answer.body)
        handler.close_connection = handler.close_connection or answer.length is not None

    def _operation(self, request):
        for template, operations in self.description["paths"].items():
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), request.path) and request.method.lower() in operations:
                operation = operations[request.method.lower()]
                named = [self._resolved(each) for each in operation.get("parameters", [])]
                for name, values in request.query.items():
                    parameter = next((each for each in named if each["in"] == "query" and each["name"] == name), None)
                    if parameter is None:
                        self.offences.append(f"{request.method} {request.path} takes no {name}")
                    elif parameter["schema"].get("type") != "array" and len(values) > 1:
                        self.offences.append(f"{request.method} {request.path}: {name} stands there twice")
                return operation
        self.offences.append(f"the API has no {request.method} {request.path}")
        return None

    def _check(self, operation, request, answer):
        """Both sides keep to the description: the client's body, and what the test has this stub answer."""
        if operation is None:
            return
        if "requestBody" in operation:
            content = self._resolved(operation["requestBody"])["content"]
            kind = request.headers.get("content-type")
            if kind not in content:
                self.offences.append(f"{request.method} {request.path} came as {kind}")
            elif kind == "application/json":
                self._validate(json.loads(request.body), content[kind]["schema"], request)
        if answer.type == "application/json" and not answer.drop and str(answer.status) in operation["responses"]:
            schema = operation["responses"][str(answer.status)]["content"]["application/json"]["schema"]
            self._validate(json.loads(answer.body), schema, request)

        if answer.type == "application/x-ndjson" and answer.length is None:
            for line in answer.body.splitlines():
                self._validate(json.loads(line), {"$ref": "#/components/schemas/JobCurve"}, request)

    def _validate(self, value, schema, request):
        whole = {**schema, "components": self.description["components"]}
        for mistake in jsonschema.Draft4Validator(whole).iter_errors(value):
            self.offences.append(f"{request.method} {request.path}: {mistake.message}")

    def _resolved(self, node):
        while "$ref" in node:
            reference, node = node["$ref"], self.description
            for part in reference[2:].split("/"):
                node = node[part]
        return node
