"""The door to a coordinator."""

from __future__ import annotations

import getpass
import os
import secrets
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Union

from hivq.answers import Comparison, Estimate, Gang, Table, Validation, known, mistakes_of, number_of
from hivq.errors import ApiError, SpecError
from hivq.job import Job
from hivq.paging import entries, pages_by_number
from hivq.spec import Spec, read_spec, written_as_json
from hivq.study import Study
from hivq.transport import Resend, Transport
from hivq.trial import Trial, parts_of

DEFAULT_URL = "http://127.0.0.1:4488"
QUERY_TIMEOUT = 45.0  # a question itself may take 30 s


class Client:
    """A coordinator. url: without it the environment's HIVQ_URL, else http://127.0.0.1:4488. token: without it HIVQ_TOKEN, else
    none. timeout: seconds that the coordinator may be silent.

    Nothing is sent before the first question. What reads, and submissions, are sent again where the connection broke or the
    coordinator cannot serve for now; then Unreachable is raised. Threads may share a client."""

    def __init__(self, url: Optional[str] = None, token: Optional[str] = None, timeout: float = 30.0) -> None:
        url = url or os.environ.get("HIVQ_URL") or DEFAULT_URL
        self._transport = Transport(url, token or os.environ.get("HIVQ_TOKEN") or None, timeout)

    @property
    def url(self) -> str:
        return self._transport.url

    def submit(self, spec: Spec, user: Optional[str] = None, file: Optional[str] = None) -> Job:
        """Submits a job, once, however often the request must be sent. `spec`: a path to a YAML file, YAML text, or a dict.
        `user`: whose share it is, without it your login name. `file`: the specification's name in errors. Paths in a
        specification are those of the machines that train. Errors: SpecError with every mistake."""
        body, name = read_spec(spec)
        name = file or name
        query = {"key": secrets.token_hex(16), "user": user or login_name(), "file": name}
        with mistakes_in(name):
            answer = self._transport.post("/jobs", query, body, Resend.ALWAYS)
        return self.job(answer["job"])

    def study(
        self,
        name: str,
        trials: Optional[int] = None,
        search: Optional[str] = None,
        goal: Optional[str] = None,
        metric: Optional[str] = None,
        stop: Optional[Mapping[str, Any]] = None,
        seed: Optional[int] = None,
        *,
        parameters: Optional[Mapping[str, Any]] = None,
        metrics: Optional[Sequence[Mapping[str, Any]]] = None,
        constraints: Optional[Sequence[Mapping[str, Any]]] = None,
        startup: Optional[int] = None,
        population: Optional[int] = None,
        warm_start: Optional[Sequence[int]] = None,
        project: Optional[str] = None,
        user: Optional[str] = None,
    ) -> Study:
        """The study of this name: a function of your own to optimise, see Study.optimize(). With settings it is created where it is
        not there yet, and must have these where it is; without any it must be there.

        trials: in all. search: tpe (where nothing is said), random, sobol, gp, cma-es, nsga2, bohb, or grid. goal: minimize, or
        maximize, the metric, which is called "value" where nothing is said. stop: ends trials that fall behind, such as
        {"by": "asha", "min_epochs": 2, "reduction": 3}. parameters: ranges that are known beforehand, as in a specification.
        metrics: several, for nsga2. Errors: SpecError for mistakes, and where the study is there with other settings."""
        search_settings = {
            "trials": trials, "search": search, "goal": goal, "metric": metric, "stop": stop, "seed": seed, "parameters": parameters,
            "metrics": metrics, "constraints": constraints, "startup": startup, "population": population, "warm_start": warm_start,
        }  # fmt: skip
        given = {key: value for key, value in search_settings.items() if value is not None}
        if given or project is not None:
            body = written_as_json({"name": name, **({} if project is None else {"project": project}), "study": given})
            with mistakes_in(None):
                answer = self._transport.post("/studies", {"user": user or login_name()}, body, Resend.ALWAYS)
        else:
            answer = self._transport.get("/studies", {"name": name})
        return Study(self._transport, self._transport.get(f"/jobs/{int(answer['job'])}"))

    def validate(self, spec: Spec, file: Optional[str] = None) -> Validation:
        """A specification's mistakes, or what the job would take."""
        body, name = read_spec(spec)
        with mistakes_in(file or name):
            answer = self._transport.post("/validate", None, body, Resend.ALWAYS)
        estimate = None if answer["estimate"] is None else Estimate(**known(Estimate, answer["estimate"]))
        return Validation(answer["valid"], mistakes_of(answer["mistakes"]), answer["yaml"], estimate, file or name)

    def jobs(
        self,
        state: Optional[str] = None,
        user: Optional[str] = None,
        project: Optional[str] = None,
        name: Optional[str] = None,
        limit: Optional[int] = None,
    ) -> Iterator[Job]:
        """Jobs, the newest first. `name`: a text that theirs holds. `limit`: so many at most."""
        query = {"state": state, "user": user, "project": project, "name": name}
        answers = pages_by_number(self._transport, "/jobs", query, limit, "jobs", lambda job: int(job["job"]))
        return (Job(self._transport, each) for each in entries(answers, "jobs", "job", limit))

    def job(self, id: int) -> Job:
        """Errors: ApiError of status 404 where there is no such job."""
        return Job(self._transport, self._transport.get(f"/jobs/{int(id)}"))

    def trial(self, id: str) -> Trial:
        """`id`: such as 3/0. Errors: ApiError of status 404 where there is no such trial."""
        job, index = parts_of(id)
        return Trial(self._transport, self._transport.get(f"/trials/{job}/{index}"))

    def compare(self, trials: Sequence[Union[str, Trial]]) -> Comparison:
        """Up to 50 trials side by side: settings in which they differ, and metrics."""
        names = [each.id if isinstance(each, Trial) else each for each in trials]
        answer = self._transport.get("/compare", {"trial": names})
        texts = {part: {line["name"]: list(line["values"]) for line in answer[part]} for part in ("facts", "settings")}
        metrics = {line["name"]: [number_of(value) for value in line["values"]] for line in answer["metrics"]}
        return Comparison(list(answer["trials"]), texts["facts"], texts["settings"], metrics)

    def query(self, sql: str) -> Table:
        """What a SELECT over jobs, trials, params, results, metrics, checkpoints, logs and events finds; `.to_pandas()` makes a
        DataFrame of it. It may take 30 s. Errors: ApiError with what SQLite says."""
        answer = self._transport.post("/query", None, {"sql": sql}, Resend.ALWAYS, max(self._transport.timeout, QUERY_TIMEOUT))
        return Table(list(answer["columns"]), list(answer["rows"]), answer["complete"])

    def gangs(self) -> List[Gang]:
        """Workers that are connected, and what they do."""
        return [Gang(**known(Gang, each)) for each in self._transport.get("/gangs")["gangs"]]

    def drain(self, target: str, drained: bool = True, to_the_end: bool = False) -> Dict[str, Any]:
        """Gives a gang, by its name or how that begins, or `host:NAME`, no new trials; drained=False ends it. to_the_end: trials
        that run there run to their end instead of going on elsewhere. Gives target, drained, gangs, running."""
        body = {"target": target, "drained": drained, "to_the_end": to_the_end}
        answer: Dict[str, Any] = self._transport.post("/drain", None, body)
        return answer

    def version(self) -> str:
        """The coordinator's."""
        return str(self._transport.get("/version")["version"])

    def close(self) -> None:
        """Closes connections that are kept for later."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<hivq.Client {self.url}>"


@contextmanager
def mistakes_in(file: Optional[str]) -> Iterator[None]:
    """A refused specification becomes a SpecError that names the file."""
    try:
        yield
    except ApiError as refusal:
        if refusal.status == 422 or (refusal.status == 400 and refusal.mistakes):
            raise SpecError(refusal.status, refusal.title, refusal.detail, refusal.mistakes, file) from None
        raise


def login_name() -> Optional[str]:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        return None
