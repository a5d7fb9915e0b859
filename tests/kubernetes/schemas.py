#!/usr/bin/env python3
"""schemas.py FOLDER: JSON schemas for kubeconform in FOLDER, of several versions of Kubernetes from what each release publishes (its
OpenAPI, in its Go module), and of the custom resources that the chart may make (in their operators' Go modules)."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import yaml

VERSIONS = ("1.27.16", "1.30.14", "1.32.9", "1.34.0")
CUSTOM = {
    "github.com/kubeflow/mpi-operator@v0.6.0": ["manifests/base/kubeflow.org_mpijobs.yaml"],
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": [
        f"example/prometheus-operator-crd/monitoring.coreos.com_{name}.yaml" for name in ("servicemonitors", "prometheusrules")],
}
FREE = {  # what OpenAPI cannot say: a value of two types, any value
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer"]},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["string", "number"]},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {},
}


def module(name):
    """The files of a Go module; where it was not there, it is removed again: Kubernetes is large."""
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, GOMODCACHE=folder, GOFLAGS="-modcacherw")
        said = subprocess.run(["go", "mod", "download", "-json", name], cwd=folder, env=environment, check=True, capture_output=True)
        yield pathlib.Path(json.loads(said.stdout)["Dir"])
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)


def strict(schema):
    """The schema, with which an unknown field is a mistake."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    done = {key: strict(value) for key, value in schema.items() if not key.startswith("x-") and key not in ("description", "format")}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        done.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        done.pop("anyOf", None)
        done["type"] = ["string", "integer"]
    return done


def references(schema):
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rsplit("/", 1)[1]
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def of_kubernetes(swagger, folder):
    definitions = {name: FREE.get(name) or strict(schema) for name, schema in swagger["definitions"].items()}
    for name, schema in swagger["definitions"].items():
        for known in schema.get("x-kubernetes-group-version-kind", []):
            if name.startswith("io.k8s.apimachinery"):
                continue
            wanted, found = [name], {}
            while wanted:
                if (one := wanted.pop()) not in found:
                    found[one] = definitions[one]
                    wanted.extend(references(definitions[one]))
            own = dict(found[name], required=sorted({"apiVersion", "kind", *found[name].get("required", [])}), definitions=found)
            own["properties"] = dict(own["properties"], kind={"enum": [known["kind"]]})
            group = known["group"].split(".")[0]
            file = "-".join(part for part in (known["kind"].lower(), group, known["version"]) if part)
            (folder / f"{file}.json").write_text(json.dumps(own))


def main():
    target = pathlib.Path(sys.argv[1])
    for version in VERSIONS:
        folder = target / f"v{version}"
        if not folder.exists():
            for source in module(f"k8s.io/kubernetes@v{version}"):
                part = folder.with_suffix(".part")
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir(parents=True)
                of_kubernetes(json.loads((source / "api/openapi-spec/swagger.json").read_text()), part)
                part.rename(folder)
    for name, paths in CUSTOM.items():
        for source in module(name) if not all((target / f"custom/{pathlib.Path(path).stem}.done").exists() for path in paths) else ():
            (target / "custom").mkdir(parents=True, exist_ok=True)
            for path in paths:
                definition = yaml.safe_load((source / path).read_text())["spec"]
                for version in definition["versions"]:
                    schema = strict(version["schema"]["openAPIV3Schema"])
                    schema["properties"]["metadata"] = {"type": "object"}
                    file = f"{definition['names']['kind'].lower()}-{definition['group'].split('.')[0]}-{version['name']}.json"
                    (target / "custom" / file).write_text(json.dumps(schema))
                (target / f"custom/{pathlib.Path(path).stem}.done").touch()


if __name__ == "__main__":
    main()
