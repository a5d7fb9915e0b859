"""The chart, without a cluster: what it makes of several sets of values, held against the schemas of several versions of Kubernetes."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request

import pytest
import yaml
from conftest import BIN, CHART, ROOT, run
from schemas import VERSIONS

GPU = {"ranks": 8, "ranksPerPod": 8, "gpus": 8, "maximum": 4, "labels": {"gpu": "h100"}, "image": {"tag": "0.1.0-cuda"},
       "resources": {"limits": {"memory": "256Gi"}}, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
       "nodeSelector": {"gpu": "h100"}, "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "images"}}],
       "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True}], "cache": {"claimName": "features"}}
SETS = {
    "as it comes": {},
    "everything": {
        "pools": {"gpu": GPU, "edge": {"ranks": 1, "maximum": 1, "operator": "auto", "namespace": "edge", "cache": {"hostPath": "/var/cache/hivq"},
                                       "mpirun": ["--bind-to", "none"], "podLabels": {"team": "a"}, "podAnnotations": {"a/b": "c"}}},
        "image": {"registry": "registry.example/team/", "pullSecrets": [{"name": "pull"}]},
        "coordinator": {"policy": {"users": {"*": {"max_ranks": 8}}}, "args": ["--input-memory", "512"], "env": [{"name": "A", "value": "b"}],
                        "podLabels": {"tier": "one"}, "podAnnotations": {"tier": "one"}, "priorityClassName": "high", "tolerations": [{"operator": "Exists"}],
                        "affinity": {"nodeAffinity": {}}, "nodeSelector": {"a": "b"}},
        "tls": {"enabled": True, "secretName": "hivq-tls"},
        "ingress": {"enabled": True, "className": "nginx", "annotations": {"a": "b"}, "tls": {"secretName": "outer"}},
        "networkPolicy": {"clients": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "http": [{"namespaceSelector": {}}],
                          "gangEgress": [{"to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}], "ports": [{"port": 443}]}]},
        "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}, "dashboard": {"enabled": True},
                    "prometheusRule": {"enabled": True, "labels": {"a": "b"}, "rules": [{"alert": "Mine", "expr": "up == 0"}]}},
        "backup": {"enabled": True, "timeZone": "Europe/Berlin"},
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
    },
    "nothing": {"pools": {"cpu": None}, "networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False},
                "serviceAccount": {"create": False}, "rbac": {"create": False}, "keys": {"existingSecret": "mine"},
                "persistence": {"keep": False, "storageClassName": "fast"}},
    "without the operator": {"pools": {"cpu": {"operator": "job"}}},
    "its own certificate": {"tls": {"enabled": True}, "backup": {"enabled": True, "existingClaim": "there"}},
    "another name": {"fullnameOverride": "queue", "nameOverride": "q"},
}


def template(values, *arguments, check=True):
    return run("helm", "template", "hivq", CHART, "--namespace", "science", "-f", "-", *arguments, input=yaml.safe_dump(values), check=check)


def objects(values, *arguments):
    return [one for one in yaml.safe_load_all(template(values, *arguments)) if one]


def of_kind(found, kind):
    return [one for one in found if one["kind"] == kind]


def pools_of(found):
    return yaml.safe_load(next(one["data"]["pools.yaml"] for one in of_kind(found, "ConfigMap") if "pools.yaml" in one["data"]))["pools"]


def pods_of(found):
    """Each pod's name and specification, of the gangs too."""
    for one in found:
        spec = {"StatefulSet": lambda s: s["spec"]["template"]["spec"], "CronJob": lambda s: s["spec"]["jobTemplate"]["spec"]["template"]["spec"],
                "Pod": lambda s: s["spec"]}.get(one["kind"])
        if spec:
            yield f"{one['kind']} {one['metadata']['name']}", spec(one)
    for pool in pools_of(found):
        yield f"pool {pool['name']}", pool["template"]["spec"]


@pytest.mark.parametrize("name", SETS)
def test_lint_finds_nothing(tools, name):
    said = run("helm", "lint", "--strict", CHART, "-f", "-", input=yaml.safe_dump(SETS[name]))
    assert "[WARNING]" not in said and "[ERROR]" not in said


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", SETS)
def test_every_object_is_what_that_kubernetes_knows(schemas, name, version):
    said = run("kubeconform", "-strict", "-summary", "-output", "json", "-kubernetes-version", version,
               "-schema-location", f"{schemas}/v{version}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
               "-schema-location", f"{schemas}/custom/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", "-",
               input=template(SETS[name], "--kube-version", version))
    summary = json.loads(said)["summary"]
    assert summary["valid"] >= 5 and not summary["invalid"] and not summary["errors"] and not summary["skipped"], said


def test_the_schemas_find_mistakes(schemas):
    wrong = template({}).replace("serviceName:", "serviceNames:")
    said = run("kubeconform", "-strict", "-schema-location", f"{schemas}/v{VERSIONS[-1]}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", "-",
               input=wrong, check=False)
    assert said.returncode == 1 and "serviceNames" in said.stdout


@pytest.mark.parametrize("values, word", [
    ({"pools": {"cpu": {"rank": 2}}}, "rank"),
    ({"pools": {"cpu": {"ranks": 0}}}, "ranks"),
    ({"pools": {"Under_Score": {"ranks": 1, "maximum": 1}}}, "Under_Score"),
    ({"pools": {"a-name-too-long-for-the-names-of-pods": {"ranks": 1, "maximum": 1}}}, "a-name-too-long"),
    ({"pools": {"cpu": {"operator": "yes"}}}, "operator"),
    *[({"pools": {"cpu": {"idle": time}}}, "idle") for time in ("1d", "500ms", "0m", "-5m", "5", "5 m", "100001s", "1h30m", "Never", "", 300)],
    ({"pools": {"cpu": {"cache": {"claimName": "a", "hostPath": "/b"}}}}, "cache"),
    ({"coordinator": {"replicas": 2}}, "replicas"),
    ({"persistence": {"size": "many"}}, "size"),
    ({"service": {"port": 99999}}, "port"),
    ({"coordinator": {"logFormat": "xml"}}, "logFormat"),
    ({"image": {"registry": "registry.example"}}, "registry"),
    ({"ingress": {"path": "/hivq"}}, "path"),  # the dashboard lies at the root
    # What the coordinator would refuse, and end.
    ({"pools": {"cpu": {"minimum": 3}}}, "pools.cpu.minimum is 3, and its maximum 2"),
    ({"pools": {"cpu": {"ranks": 3, "ranksPerPod": 2}}}, "pools.cpu.ranks is 3, which is not a multiple of its ranksPerPod, 2"),
    ({"pools": {"cpu": {"labels": {"pool": "b"}}}}, "pools.cpu.labels.pool"),
])
def test_values_that_cannot_be_are_refused_by_name(tools, values, word):
    said = template(values, check=False)
    assert said.returncode and word in said.stderr


@pytest.mark.parametrize("time", ["90s", "5m", "2h", "100000s", "never"])
def test_times_that_the_coordinator_knows_reach_it(tools, time):
    """cluster/pools.cpp reads them."""
    pool, = pools_of(objects({"pools": {"cpu": {"idle": time}}}))
    assert pool["idle"] == time


@pytest.mark.parametrize("name", SETS)
def test_what_is_printed_keeps_the_key_to_its_owner_and_names_it(tools, tmp_path, name):
    """The notes as Helm makes them, through a template of their text: `helm template` leaves them out."""
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart, ignore=shutil.ignore_patterns("containers"))
    (chart / "templates/NOTES.txt").rename(chart / "notes")
    (chart / "templates/notes.yaml").write_text('kind: Notes\ntext: {{ tpl (.Files.Get "notes") . | toJson }}\n')
    said = run("helm", "template", "hivq", chart, "--namespace", "science", "-s", "templates/notes.yaml", "-f", "-", input=yaml.safe_dump(SETS[name]))
    commands = [line.strip() for line in yaml.safe_load(said)["text"].splitlines() if line.startswith("  ")]
    written = [line for line in commands if "keys add" in line]
    assert len(written) == 1 and written[0].startswith("(umask 077; set -C; kubectl ") and written[0].endswith(" > ~/.config/hivq/key.json)")
    asks = [line for line in commands if line.startswith("hivq ")]
    assert len(asks) == 2 and all(" --key ~/.config/hivq/key.json" in line for line in asks), "for an address of this machine hivq looks for none"


@pytest.mark.parametrize("name", SETS)
def test_no_pod_may_anything(tools, name):
    """What the strictest of Kubernetes' Pod Security Standards asks, and a root that cannot be written."""
    for pod, spec in pods_of(objects(SETS[name])):
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 10001, pod
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, pod
        assert spec["automountServiceAccountToken"] is pod.startswith("StatefulSet"), pod
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"], pod
            assert security["capabilities"] == {"drop": ["ALL"]}, pod
            assert "resources" in container or not pod.startswith(("StatefulSet", "CronJob")), pod


def rights(values):
    return {(role["metadata"].get("namespace"), group, resource, verb) for role in of_kind(objects(values), "Role") for rule in role["rules"]
            for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]}


def test_the_coordinator_may_make_mpijobs_and_look_at_pods_and_no_more(tools):
    assert rights({}) == {*(("science", "kubeflow.org", "mpijobs", verb) for verb in ("create", "list", "delete")),
                          ("science", "", "pods", "list"), ("science", "", "pods/log", "get"), ("science", "apps", "statefulsets", "get")}
    assert not of_kind(objects({}), "ClusterRole")


def test_jobs_only_where_a_pool_does_without_the_operator(tools):
    own = rights(SETS["without the operator"])
    assert ("science", "batch", "jobs", "create") in own and not any(group == "kubeflow.org" for _, group, _, _ in own)
    both = rights(SETS["everything"])
    assert ("edge", "batch", "jobs", "create") in both and ("edge", "kubeflow.org", "mpijobs", "create") in both
    assert ("science", "batch", "jobs", "create") not in both
    assert not any(resource == "statefulsets" for namespace, _, resource, _ in both if namespace == "edge")


def test_gangs_of_jobs_have_names_and_an_ssh_key(tools, tmp_path):
    found = objects(SETS["everything"])
    edge = next(pool for pool in pools_of(found) if pool["name"] == "edge")
    assert "service" not in next(pool for pool in pools_of(found) if pool["name"] == "gpu")
    secret = next(one for one in of_kind(found, "Secret") if one["metadata"]["name"] == edge["ssh_secret"])
    service = next(one for one in of_kind(found, "Service") if one["metadata"]["name"] == edge["service"])
    assert secret["metadata"]["namespace"] == service["metadata"]["namespace"] == "edge"
    labels = {**edge["template"]["metadata"]["labels"], "hivq.io/kind": "job"}  # the coordinator's own
    assert service["spec"]["selector"].items() <= labels.items() and service["spec"]["publishNotReadyAddresses"]
    key = tmp_path / "key"
    key.write_bytes(base64.b64decode(secret["data"]["ssh-privatekey"]))
    key.chmod(0o600)
    assert run("ssh-keygen", "-yf", key).startswith("ecdsa-sha2-nistp256 ")
    own = objects({**SETS["everything"], "keys": {"existingGangSecret": "mine"}})
    assert next(pool for pool in pools_of(own) if pool["name"] == "edge")["ssh_secret"] == "mine"
    assert {one["metadata"]["name"] for one in of_kind(own, "Secret")} == {"hivq-keys"}
    assert not [one for one in of_kind(objects({}), "Service") + of_kind(objects({}), "Secret") if one["metadata"]["name"] == "hivq-gang"]


def test_a_pool_of_gpus_asks_for_them(tools):
    gpu = next(pool for pool in pools_of(objects(SETS["everything"])) if pool["name"] == "gpu")
    assert gpu["resources"]["limits"] == {"memory": "256Gi", "nvidia.com/gpu": 8}
    assert gpu["image"] == "registry.example/team/hivq-worker:0.1.0-cuda"
    assert gpu["labels"] == {"gpu": "h100"} and gpu["ranks_per_pod"] == 8
    assert {"name": "cache", "persistentVolumeClaim": {"claimName": "features"}} in gpu["template"]["spec"]["volumes"]


def test_keys_are_random_and_nowhere_but_in_their_secret(tools):
    def secrets():
        return {one["metadata"]["name"]: one["data"] for one in of_kind(objects(SETS["everything"]), "Secret")}

    made = [secrets(), secrets()]
    assert {name: set(data) for name, data in made[0].items()} == {"hivq-keys": {"coordinator", "gang", "operator"}, "hivq-gang": {"ssh-privatekey"}}
    assert len({value for one in made for data in one.values() for value in data.values()}) == 8
    assert not of_kind(objects({"keys": {"existingSecret": "mine"}}), "Secret")
    assert of_kind(objects({"keys": {"existingSecret": "mine"}}), "StatefulSet")[0]["spec"]["template"]["spec"]["volumes"][2]["secret"]["secretName"] == "mine"


def test_a_change_of_the_pools_starts_the_coordinator_again_and_no_other_does(tools):
    def checksum(values):
        return of_kind(objects(values), "StatefulSet")[0]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum({}) == checksum({"ingress": {"enabled": True}})
    assert checksum({}) != checksum({"pools": {"cpu": {"maximum": 3}}})


def test_what_may_be_kept_is_kept_only_on_request(tools):
    kept, gone = (objects({"persistence": {"keep": keep}, "backup": {"enabled": True}}) for keep in (True, False))
    assert of_kind(kept, "StatefulSet")[0]["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
    assert of_kind(gone, "StatefulSet")[0]["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete"
    assert of_kind(kept, "PersistentVolumeClaim")[0]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "annotations" not in of_kind(gone, "PersistentVolumeClaim")[0]["metadata"]


@pytest.mark.parametrize("more", [{}, SETS["another name"]], ids=["its own name", "another name"])
def test_the_coordinator_is_scraped_once(tools, more):
    found = objects({**SETS["everything"], **more})
    monitor, = of_kind(found, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    services = of_kind(found, "Service")
    scraped = [one for one in services if wanted <= one["metadata"]["labels"].items()]
    assert len(services) == 3 and len(scraped) == 1 and "clusterIP" not in scraped[0]["spec"]
    ports = {port["name"] for port in scraped[0]["spec"]["ports"]}
    assert [end["port"] for end in monitor["spec"]["endpoints"]] == ["http"] and "http" in ports
    rules = of_kind(found, "PrometheusRule")[0]["spec"]["groups"][0]["rules"]
    memory = next(rule["expr"] for rule in rules if rule["alert"] == "HivqMemory")
    assert f'service="{scraped[0]["metadata"]["name"]}"' in memory, "the alert asks for what is scraped"


@pytest.mark.skipif(not (BIN / "hivq-coordinator").exists(), reason="hivq is not built")
def test_the_dashboard_and_the_alerts_ask_for_metrics_that_there_are(tools, tmp_path):
    process = subprocess.Popen([BIN / "hivq-coordinator", "--data", tmp_path / "data", "--listen", "tcp://127.0.0.1:0"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        written = tmp_path / "data/coordinator.json"
        for _ in range(600):
            if written.exists():
                break
            time.sleep(0.1)
        given = urllib.request.urlopen(json.loads(written.read_text())["http"] + "/metrics", timeout=30).read().decode()
    finally:
        process.terminate()
        process.wait(60)
    there = set(re.findall(r"^([a-z_]+)", given, re.M))
    states = set(re.findall(r'state="(\w+)"', given))
    dashboard = json.loads((CHART / "dashboards/hivq.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = of_kind(objects(SETS["everything"]), "PrometheusRule")[0]["spec"]["groups"][0]["rules"]
    asked += [rule["expr"] for rule in rules]
    assert len(rules) == 7 and len(asked) > 20
    for text in asked:
        for name in re.findall(r"\b((?:hivq|process)_[a-z_]+)", text):
            assert name in there, text
        for alternatives in re.findall(r'state!?=~?"([\w|]+)"', text):
            assert set(alternatives.split("|")) <= states, text


def test_the_alerts_are_raised_when_they_should(tools, tmp_path):
    spec = of_kind(objects(SETS["everything"]), "PrometheusRule")[0]["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    run("promtool", "check", "rules", tmp_path / "rules.yaml")
    where = 'namespace="science"'
    scraped, pod = 'instance="10.0.0.1:4488",job="hivq",pod="hivq-0",service="hivq"', 'pod="hivq-0",container="coordinator"'
    limit = f'kube_pod_container_resource_limits{{{where},{pod},resource="memory",unit="byte"}}'
    cases = [
        ("HivqCoordinatorAway", {}, "10m"),
        ("HivqNoGangs", {f'hivq_trials_queued{{{where}}}': "3x60", f'hivq_gangs{{{where},state="idle"}}': "0x60",
                         f'hivq_gangs{{{where},state="busy"}}': "0x60"}, "20m"),
        ("HivqIdleBesideWaiting", {f'hivq_trials_queued{{{where}}}': "3x60", f'hivq_gangs{{{where},state="idle"}}': "1x60"}, "40m"),
        ("HivqTrialsFail", {f'hivq_trials{{{where},state="failed"}}': "0x10 0+1x30"}, "40m"),
        ("HivqMemory", {f'process_resident_memory_bytes{{{where},{scraped}}}': "95x60", limit: "100x60"}, "15m"),
        ("HivqVolumeFull", {f'kubelet_volume_stats_available_bytes{{{where},persistentvolumeclaim="data-hivq-0"}}': "5x60",
                            f'kubelet_volume_stats_capacity_bytes{{{where},persistentvolumeclaim="data-hivq-0"}}': "100x60"}, "15m"),
        ("HivqBackupOld", {f'kube_cronjob_status_last_successful_time{{{where},cronjob="hivq-backup"}}': "0x3000"}, "49h"),
        ("HivqBackupOld", {f'kube_cronjob_created{{{where},cronjob="hivq-backup"}}': "0x3000"}, "49h"),  # none was ever good
    ]
    there = re.findall(r"- alert: (\w+)", (CHART / "dashboards/alerts.yaml").read_text())
    assert sorted({alert for alert, _, _ in cases}) == sorted(there) == sorted(rule["alert"] for rule in spec["groups"][0]["rules"]), "each alert has a case"
    for alert, series, at in cases:
        steps = [{"series": name, "values": values} for name, values in series.items()]
        test = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [{"interval": "1m", "input_series": steps, "promql_expr_test": [
            {"expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})', "eval_time": at,
             "exp_samples": [{"labels": "{}", "value": 1}]}]}]}
        (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
        run("promtool", "test", "rules", tmp_path / "test.yaml")


def test_the_images_are_pinned_and_need_no_root():
    for name in ("coordinator", "worker"):
        text = (ROOT / f"helm/containers/{name}.Containerfile").read_text()
        base = re.search(r"^ARG BASE=(\S+)$", text, re.M)[1]
        assert re.search(r":bookworm-\d{8}-slim$|@sha256:", base), base
        assert re.search(r"^ARG SNAPSHOT=\d{8}T\d{6}Z$", text, re.M)
        runtime = text[text.index("AS runtime"):text.index("AS prebuilt")]
        assert "\nUSER 10001:10001\n" in runtime
