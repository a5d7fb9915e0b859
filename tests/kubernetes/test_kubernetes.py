"""The chart on a real cluster: from `helm install` over a sweep of real gangs, a killed coordinator, an upgrade and pools that grow and
shrink to `helm uninstall`. The tests are one story, in this order, as root: pytest -x tests/kubernetes/test_kubernetes.py

HIVQ_LAB_KEEP=1 leaves the cluster up, and uses one that is."""

import base64
import collections
import hmac
import json
import os
import re
import time
import urllib.error
import urllib.request

import pytest
import yaml
from conftest import BIN, CHART, HERE, LAB, ROOT, run, until

NAMESPACE, NAME = "science", "hivq"
EPOCHS = 6
VALUES = {
    "image": {"registry": "localhost/", **{name: {"tag": "lab", "pullPolicy": "Never"} for name in ("coordinator", "worker")}},
    "persistence": {"size": "1Gi", "keep": False},
    "backup": {"enabled": True, "size": "1Gi"},
    "networkPolicy": {"apiServerPorts": [443, 16443]},
    "pools": {"cpu": {"ranks": 2, "ranksPerPod": 1, "maximum": 1, "idle": "15s", "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": None},
                      "env": [{"name": "OMP_NUM_THREADS", "value": "1"}]}},
}
# The strictest of Kubernetes' Pod Security Standards: a pod that asks for more is refused.
SPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}


def kubectl(*arguments, **more):
    return run("kubectl", "-n", NAMESPACE, *arguments, **more)


def get(*arguments):
    """Objects of a kind."""
    return json.loads(kubectl("get", *arguments, "-o", "json"))["items"]


def names(*arguments):
    return {one["metadata"]["name"] for one in get(*arguments)}


def merged(base, more):
    return {**base, **{key: merged(base.get(key) or {}, value) if isinstance(value, dict) else value for key, value in more.items()}}


def helm(command, values=None):
    return run("helm", "-n", NAMESPACE, command, NAME, CHART, "-f", "-", "--wait", "--timeout", "4m", input=yaml.safe_dump(merged(VALUES, values or {})))


def hivq(*arguments, **more):
    """In the coordinator's pod, with the operator's key."""
    return kubectl("exec", f"{NAME}-0", "--", "hivq", *arguments, **more)


class Service:
    """The coordinator as others reach it: through the service's address."""

    def __init__(self):
        self.url = f"http://{kubectl('get', 'service', NAME, '-o', 'jsonpath={.spec.clusterIP}')}:4488"
        self.token = hivq("keys", "token", "--key", "/etc/hivq/keys/operator").strip()

    def text(self, path, body=None, token=True):
        request = urllib.request.Request(self.url + path, body and body.encode(), {"Content-Type": "application/yaml"})
        if token:
            request.add_header("Authorization", f"Bearer {self.token}")
        for _ in range(60):  # a coordinator that is replaced is away for some seconds
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.read().decode()
            except urllib.error.HTTPError as refused:
                if refused.code != 503:
                    raise
            except OSError:
                pass
            time.sleep(0.5)
        raise AssertionError(f"nobody answers at {self.url}")

    def ask(self, path, body=None):
        return json.loads(self.text(f"/api/v1{path}", body))

    def job(self, job):
        return self.ask(f"/jobs/{job}")

    def submit(self, key, epochs=EPOCHS):
        """quick.yaml, with fewer epochs."""
        spec = (ROOT / "jobs/specs/quick.yaml").read_text()
        return self.ask(f"/jobs?user=ada&key={key}", re.sub(r"(?m)^  epochs: \d+", f"  epochs: {epochs}", spec))["job"]

    def trials(self, job):
        return {trial["trial"]: trial for trial in self.ask(f"/jobs/{job}/trials?limit=100")["trials"]}

    def points(self, job):
        """Each point as it is stored: trial,metric,step,value."""
        return self.text(f"/api/v1/jobs/{job}/metrics?format=csv").splitlines()[1:]


@pytest.fixture(scope="module")
def cluster():
    """Empty, with hivq's images."""
    keep = os.environ.get("HIVQ_LAB_KEEP")
    os.environ.update(PATH=f"{LAB / 'bin'}:{os.environ['PATH']}", KUBECONFIG=str(LAB / "run/kubeconfig"))
    if not keep or run("kubectl", "get", "--raw", "/readyz", check=False).returncode:
        run(HERE / "lab", "up", timeout=2400)
    run(HERE / "lab", "images", BIN, timeout=1200)
    run("kubectl", "apply", "-f", "-", input=json.dumps(SPACE))
    run(HERE / "lab", "volumes", 2)
    yield
    if not keep:
        run(HERE / "lab", "down", timeout=120)


@pytest.fixture(scope="module")
def release(cluster):
    try:
        helm("install")
        yield
    finally:
        run("helm", "-n", NAMESPACE, "uninstall", NAME, "--ignore-not-found", "--wait")


@pytest.fixture(scope="module")
def service(release):
    return Service()


def gangs():
    """MPIJobs by name, each with its identity."""
    return {one["metadata"]["name"]: one["metadata"]["uid"] for one in get("mpijobs")}


def connected(service):
    return [gang for gang in service.ask("/gangs")["gangs"] if gang["connected"]]


def wait_ready():
    kubectl("rollout", "status", f"statefulset/{NAME}", "--timeout=3m")


CLIENT = {f"{NAME}-client": "true"}
GANG = {"app.kubernetes.io/name": "hivq", "app.kubernetes.io/instance": NAME, "app.kubernetes.io/component": "gang"}


def client(script, labels, image="coordinator"):
    """What a pod of its own says; by its labels the network policies know it."""
    name = f"client-{len(names('pods'))}-{os.urandom(3).hex()}"
    security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": {
        "restartPolicy": "Never", "automountServiceAccountToken": False, "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "image": f"localhost/hivq-{image}:lab", "imagePullPolicy": "Never", "securityContext": security,
                        "command": ["bash", "-c", script]}]}}
    kubectl("create", "-f", "-", input=json.dumps(pod))
    try:
        until(lambda: json.loads(kubectl("get", "pod", name, "-o", "json"))["status"]["phase"] in ("Succeeded", "Failed"), 60, f"{name} ends")
        return kubectl("logs", name)
    finally:
        kubectl("delete", "pod", name, "--now")


def test_the_coordinator_is_ready_after_helm_install(service):
    assert service.text("/readyz", token=False)
    assert connected(service) == [] and gangs() == {}, "the pool's minimum is 0"


def test_strangers_are_refused_by_the_network_and_by_the_coordinator(service):
    def reaches(labels, host, port):  # a moment after its start, when its address is known to who enforces the policies
        return client(f"sleep 3; timeout 5 bash -c 'exec 3<>/dev/tcp/{host}/{port} && echo open' || echo closed", labels) == "open\n"

    for port in (4487, 4488):
        assert reaches(CLIENT, NAME, port)
        assert not reaches({}, NAME, port)
    assert reaches(GANG, NAME, 4487) and not reaches(GANG, NAME, 4488)
    assert reaches({}, "kubernetes.default.svc", 443) and not reaches(GANG, "kubernetes.default.svc", 443), "gangs reach nothing else"
    with pytest.raises(urllib.error.HTTPError) as refused:
        service.text("/api/v1/jobs", token=False)
    assert refused.value.code == 401


def test_the_service_account_may_do_what_its_role_says(release):
    def may(verb, what):
        said = run("kubectl", "-n", NAMESPACE, "auth", "can-i", verb, what, f"--as=system:serviceaccount:{NAMESPACE}:{NAME}", check=False)
        return said.stdout.strip() == "yes"

    assert may("create", "mpijobs.kubeflow.org") and may("delete", "mpijobs.kubeflow.org") and may("list", "pods")
    for verb, what in [("create", "pods"), ("get", "secrets"), ("list", "secrets"), ("create", "pods/exec"), ("update", "statefulsets"),
                       ("create", "jobs"), ("patch", "mpijobs.kubeflow.org"), ("list", "nodes")]:
        assert not may(verb, what), (verb, what)


def test_a_sweep_outlives_its_coordinator_and_an_upgrade(service):
    """A gang comes for the sweep; in its middle the coordinator is killed, later upgraded to more gangs; nothing is lost."""
    job = service.submit("story")
    until(lambda: service.job(job)["finished"] >= 1, 300, "the first trial finishes")
    before, gang = service.trials(job), gangs()
    stored = set(service.points(job))
    assert len(gang) == 1 and len(stored) > 100
    pods = {pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in get("pods", "-l", "app.kubernetes.io/component=gang")}
    assert len([name for name in pods if "-worker-" in name]) == 2 and set(pods.values()) == {"localhost/hivq-worker:lab"}

    identity = kubectl("get", "pod", f"{NAME}-0", "-o", "jsonpath={.metadata.uid}")
    kubectl("delete", "pod", f"{NAME}-0", "--grace-period=0", "--force")
    until(lambda: kubectl("get", "pod", f"{NAME}-0", "-o", "jsonpath={.metadata.uid}", check=False).stdout not in ("", identity), 60, "another pod")
    wait_ready()
    after = service.trials(job)
    for name, trial in before.items():
        if trial["state"] == "finished":
            assert after[name]["final"] == trial["final"], name
    assert stored <= set(service.points(job)), "a point was lost"
    assert gangs() == gang, "the gang trained on"

    until(lambda: service.job(job)["finished"] >= 2, 300, "the gang goes on with the new coordinator")
    keys = kubectl("get", "secret", f"{NAME}-keys", "-o", "jsonpath={.data}")
    helm("upgrade", {"pools": {"cpu": {"maximum": 2}}, "coordinator": {"logFormat": "text"}})
    assert kubectl("get", "secret", f"{NAME}-keys", "-o", "jsonpath={.data}") == keys, "keys are kept"
    assert gang.items() <= gangs().items(), "the gang trained on"
    until(lambda: len(connected(service)) == 2, 120, "the pool grows with the queue")

    until(lambda: service.job(job)["state"] == "finished", 600, "the sweep finishes")
    trials = service.trials(job)
    assert {name: (trial["state"], trial["attempts"]) for name, trial in trials.items()} == {f"{job}/{i}": ("finished", 1) for i in range(5)}
    assert all(trial["final"]["auroc"] > 0.7 for trial in trials.values())
    points = service.points(job)
    assert stored <= set(points)
    times = collections.Counter(tuple(point.split(",")[:3]) for point in points)
    assert times.most_common(1)[0][1] == 1, "a point is stored once"
    steps = {trial: max(int(point.split(",")[2]) for point in points if point.startswith(f"{trial},loss,")) for trial in trials}
    assert len(set(steps.values())) == 1, f"every trial has all its steps: {steps}"


def test_a_pool_shrinks_when_nothing_waits_and_keeps_its_minimum(service):
    until(lambda: not gangs() and not get("pods", "-l", "app.kubernetes.io/component=gang"), 120, "idle gangs end")
    helm("upgrade", {"pools": {"cpu": {"minimum": 1, "maximum": 2}}})
    until(lambda: len(connected(service)) == 1, 120, "the minimum comes")
    helm("upgrade")
    until(lambda: not gangs(), 120, "and goes")


def test_a_lost_worker_pod_costs_one_attempt(service):
    job = service.submit("lost")
    until(lambda: any(trial["checkpoint_step"] > 0 for trial in service.trials(job).values()), 300, "a checkpoint")
    victim = sorted(name for name in names("pods", "-l", "app.kubernetes.io/component=gang") if "-worker-" in name)[-1]
    first = set(gangs())
    kubectl("delete", "pod", victim, "--grace-period=0", "--force")
    until(lambda: set(gangs()) - first, 120, "another gang comes")
    until(lambda: service.job(job)["state"] == "finished", 600, "the sweep finishes")
    trials = service.trials(job)
    assert sorted(trial["attempts"] for trial in trials.values()) == [1, 1, 1, 1, 2]


@pytest.mark.parametrize("https", [True, False], ids=["over HTTPS", "over HTTP"])
def test_helm_test_passes(release, https):
    helm("upgrade", {"tls": {"enabled": https}})
    said = run("helm", "-n", NAMESPACE, "test", NAME, "--timeout", "2m")
    assert "Phase:          Succeeded" in said


def test_a_backup_is_made_on_schedule_and_can_be_restored(service):
    kubectl("create", "job", "backup-now", f"--from=cronjob/{NAME}-backup")
    kubectl("wait", "--for=condition=complete", "job/backup-now", "--timeout=2m")
    listed = kubectl("exec", f"{NAME}-0", "--", "hivq-coordinator", "restore", "/var/lib/hivq-backup", "--list")
    assert len(listed.splitlines()) == 1
    kubectl("exec", f"{NAME}-0", "--", "hivq-coordinator", "restore", "/var/lib/hivq-backup", "--data", "/tmp/restored")
    assert "all is whole" in kubectl("exec", f"{NAME}-0", "--", "hivq-coordinator", "verify", "--data", "/tmp/restored")
    kubectl("exec", f"{NAME}-0", "--", "rm", "-r", "/tmp/restored")
    kubectl("delete", "job", "backup-now")


def test_a_backup_is_put_back_as_the_readme_says(service):
    before = service.ask("/jobs")["jobs"]
    later = service.submit("later", epochs=1)  # after the backup: gone when that is put back
    text = (CHART / "README.md").read_text()
    block = re.search(r"To put one back.*?\n\n((?:    .*\n)+)", text)[1]
    commands = re.sub(r"(?m)^    ", "", block).replace("-n hivq ", f"-n {NAMESPACE} ").replace("REGISTRY/hivq-coordinator:0.1.0", "localhost/hivq-coordinator:lab")
    run("bash", "-euo", "pipefail", "-c", commands)
    wait_ready()
    after = service.ask("/jobs")["jobs"]
    assert {job["job"]: job["finished"] for job in after} == {job["job"]: job["finished"] for job in before}, "what the backup had"
    assert later not in {job["job"] for job in after}
    until(lambda: not gangs(), 120, "the gang of the job that is gone has left")


def test_without_the_operator_gangs_are_jobs(service):
    run(HERE / "lab", "operator", "off")
    try:
        helm("upgrade", {"pools": {"cpu": {"operator": "auto"}}})
        job = service.submit("jobs", epochs=2)
        until(lambda: len(connected(service)) == 1, 120, "a gang comes")
        made = get("jobs", "-l", "app.kubernetes.io/component=gang")
        pods = sorted(names("pods", "-l", "app.kubernetes.io/component=gang"))
        assert len(made) == 1 and len(pods) == 2, "a pod a rank, as with the operator"
        kubectl("delete", "pod", pods[1], "--grace-period=0", "--force")
        until(lambda: names("jobs", "-l", "app.kubernetes.io/component=gang") not in (set(), {made[0]["metadata"]["name"]}), 120, "another gang comes")
        until(lambda: service.job(job)["state"] == "finished", 300, "the sweep finishes")
        assert sorted({trial["attempts"] for trial in service.trials(job).values()}) in ([1], [1, 2])
        # At the end rank 0 leaves, and the pods that wait for it go with it.
        until(lambda: not get("jobs", "-l", "app.kubernetes.io/component=gang"), 60, "an idle gang ends")
    finally:
        run(HERE / "lab", "operator", "on")


def test_nothing_secret_is_in_logs_and_lines_are_json_where_asked(service):
    helm("upgrade")
    job = service.submit("logs", epochs=2)
    until(lambda: service.job(job)["finished"] >= 1, 300, "a gang trains")
    pods = names("pods", "-l", "app.kubernetes.io/component=gang")  # one of an earlier gang may go meanwhile
    logs = {pod: kubectl("logs", pod, "--all-containers", check=False).stdout for pod in pods}
    assert any('"program"' in log for log in logs.values()), f"a gang has logged: {logs}"
    until(lambda: service.job(job)["state"] == "finished", 300, "the sweep finishes")
    logs["the coordinator"] = kubectl("logs", f"{NAME}-0")
    assert logs["the coordinator"] and all(json.loads(line) for line in logs["the coordinator"].splitlines())

    secrets, tokens = {}, {}
    for name, value in json.loads(kubectl("get", "secret", f"{NAME}-keys", "-o", "jsonpath={.data}")).items():
        text = base64.b64decode(value).decode()  # 32 bytes in base64, as hivq reads a bare key
        key = base64.b64decode(text)
        assert len(key) == 32, name
        tokens[name] = "hivq_" + hmac.new(key, b"hivq http token", "sha256").hexdigest()
        secrets |= {f"{name}, hex": key.hex(), f"{name}, base64": text.rstrip("="), f"{name}, token": tokens[name]}
    assert tokens["operator"] == service.token, "tokens are made as hivq makes them"
    assert not [(secret, place) for secret, text in secrets.items() for place, log in logs.items() if text.lower() in log.lower()]


def test_the_images_are_the_same_when_they_are_built_anew(cluster):
    first = run(HERE / "lab", "images", BIN)
    again = run(HERE / "lab", "images", BIN, env=dict(os.environ, HIVQ_LAB_ANEW="1"), timeout=1200)
    assert len(first.splitlines()) == 2 and first == again


def test_uninstalling_in_the_middle_of_a_sweep_leaves_nothing(service):
    service.submit("last")
    until(lambda: len(connected(service)) == 1, 120, "a gang comes")
    run("helm", "-n", NAMESPACE, "uninstall", NAME, "--wait", "--timeout", "2m")
    kinds = run("kubectl", "api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    kinds = [kind for kind in kinds if not kind.startswith("events")]

    def left():
        found = kubectl("get", ",".join(kinds), "-o", "name").split()
        return [one for one in found if one not in ("configmap/kube-root-ca.crt", "serviceaccount/default")]

    until(lambda: not left(), 120, f"nothing is left, but there is {left()}")
