"""The manifests of the examples and the pages, against Kubernetes' schemas and the program itself."""

from __future__ import annotations

import re
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hera.workflows.models as argo
import kubernetes_validate  # type: ignore[import-untyped]  # it has no stubs
import pytest
import yaml

from kerutaprep import PrepError, PrepSettings
from kerutaprep import errors as kerutaprep_errors
from kerutaprep.arguments import parse_arguments
from kerutaprep.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parent.parent
_EXAMPLES = sorted(path.name for path in (_ROOT / "examples").glob("*.yaml"))
_PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (_ROOT / "docs").glob("*.md"))]
_KUBERNETES = ("1.30", "1.33", kubernetes_validate.latest_version())
"""Before the first of them the published schema of podFailurePolicy asked for both kinds of condition in each rule."""
_OF_THE_TASK = frozenset({"KERUTA_CACHE_DIR"})
"""Keruta's variables that the install script reads, and not the program."""
_SIGNALS = {130, 143}


@cache
def _documents(example: str) -> tuple[dict[str, Any], ...]:
    return tuple(yaml.safe_load_all((_ROOT / "examples" / example).read_text(encoding="utf-8")))


def _fragments() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each block of YAML in the pages."""
    for page in _PAGES:
        text = (_ROOT / page).read_text(encoding="utf-8")
        for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)):
            yield f"{page} #{number + 1}", yaml.safe_load(block)


def _pod(spec: dict[str, Any]) -> dict[str, Any]:
    containers = [{"name": "one", "image": "one"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": {"containers": containers, **spec}}


def _around(fragment: dict[str, Any]) -> dict[str, Any]:
    """The whole manifest that a page shows a part of."""
    if "podFailurePolicy" in fragment:
        pod = {"spec": _pod({"restartPolicy": "Never"})["spec"]}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "one"},
            "spec": {**fragment, "template": pod},
        }
    of_a_pod = {"initContainers", "volumes"} & fragment.keys() or "fsGroup" in fragment.get("securityContext", {})
    if not of_a_pod:
        return _pod({"containers": [{"name": "one", "image": "one", **fragment}]})
    container = {name: fragment[name] for name in ("env", "volumeMounts") if name in fragment}
    rest = {name: value for name, value in fragment.items() if name not in container}
    return _pod({"containers": [{"name": "one", "image": "one", **container}], **rest})


def _pod_specs(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a manifest would have run: Tekton's and Argo's containers in a pod, without the fields of their own."""
    spec = document.get("spec", {})
    match document["kind"]:
        case "Pod":
            yield spec
        case "Job":
            yield spec["template"]["spec"]
        case "Task":
            common = spec["stepTemplate"]["securityContext"]
            names = {"computeResources": "resources"}
            steps = [{names.get(key, key): value for key, value in step.items()} for step in spec["steps"]]
            yield {"containers": [{"securityContext": common, **step} for step in steps]}
        case "WorkflowTemplate":
            for template in spec["templates"]:
                if "container" in template:
                    yield {
                        "containers": [{"name": "main", **template["container"]}],
                        "securityContext": spec["securityContext"],
                    }


def _containers(pod_spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod_spec.get("initContainers", []), *pod_spec["containers"]]


_EVERYWHERE = [
    *((name, document) for name in _EXAMPLES for document in _documents(name)),
    *((name, _around(fragment)) for name, fragment in _fragments()),
]
_IDS = [f"{name} {document['kind']}" for name, document in _EVERYWHERE]
everywhere = pytest.mark.parametrize("document", [document for _, document in _EVERYWHERE], ids=_IDS)


@everywhere
@pytest.mark.parametrize("version", _KUBERNETES)
def test_kubernetes_knows_every_field(document: dict[str, Any], version: str) -> None:
    """Every manifest keeps to the strict schema, old and new; Tekton's and Argo's by the pods that they become."""
    if document["kind"] not in {"Task", "WorkflowTemplate"}:
        kubernetes_validate.validate(document, version, strict=True)
    for spec in _pod_specs(document):
        kubernetes_validate.validate(_pod(spec), version, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_seen() -> None:
    """A name that is not Kubernetes' own does not get through."""
    with pytest.raises(kubernetes_validate.ValidationError, match="worckingDir"):
        kubernetes_validate.validate(_around({"worckingDir": "/work"}), _KUBERNETES[0], strict=True)


def test_argos_own_models_know_every_field() -> None:
    """The workflow's template goes through the models made from Argo's published API, and nothing of it is lost."""
    (document,) = _documents("argo-workflow-template.yaml")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = argo.WorkflowTemplate.model_validate(document)
    assert model.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True) == document


def _settings_of(container: dict[str, Any], document: str) -> dict[str, str]:
    """The container's environment; what comes from elsewhere is looked up in the same file, or is some text."""
    values: dict[str, str] = {}
    for source in container.get("envFrom", []):
        (reference,) = source.values()
        values |= _held(document, reference["name"])
    for variable in container.get("env", []):
        value = variable.get("value", "something")
        for reference in variable.get("valueFrom", {}).values():
            value = _held(document, reference["name"]).get(reference["key"], "something")
        values[variable["name"]] = _filled(value, {})
    return values


def _filled(text: str, settings: dict[str, str]) -> str:
    """A word with its references resolved: Kubernetes' and Tekton's ``$(…)``, Argo's ``{{…}}``."""
    known = {
        "workspaces.work.path": "/work",
        "params.api-url": "http://api",
        "workflow.parameters.api-url": "http://api",
    }
    lookup = known | settings
    return re.sub(r"\$\(([^)]*)\)|\{\{([^}]*)\}\}", lambda found: lookup.get(found[1] or found[2], "something"), text)


def _held(example: str, name: str) -> dict[str, str]:
    for document in _documents(example) if example in _EXAMPLES else ():
        if document["metadata"]["name"] == name and document["kind"] in {"ConfigMap", "Secret"}:
            return {**document.get("data", {}), **document.get("stringData", {})}
    return {}


@pytest.mark.parametrize(("name", "document"), _EVERYWHERE, ids=_IDS)
def test_the_program_knows_every_variable(name: str, document: dict[str, Any]) -> None:
    """No manifest sets a variable of Keruta's that the program would not read."""
    known = {variable for option in OPTIONS for variable in option.variables} | _OF_THE_TASK
    used = {
        variable
        for spec in _pod_specs(document)
        for container in _containers(spec)
        for variable in _settings_of(container, name)
    }
    assert {variable for variable in used if variable.startswith("KERUTA_")} <= known


@pytest.mark.parametrize("example", _EXAMPLES)
def test_the_program_accepts_the_examples_settings(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command line and each value is one that ``init`` takes."""
    prepared = 0
    for document in _documents(example):
        for spec in _pod_specs(document):
            for container in _containers(spec):
                command = [*container["command"], *container.get("args", [])]
                if command[:2] != ["keruta-agent", "init"]:
                    continue
                with monkeypatch.context() as patch:
                    settings = _settings_of(container, example)
                    for variable, value in settings.items():
                        patch.setenv(variable, value)
                    values, problems = parse_arguments([_filled(word, settings) for word in command[2:]])
                    assert problems == []
                    assert str(PrepSettings(**values).work_dir) == "/work"
                prepared += 1
    assert prepared


@pytest.mark.parametrize("example", _EXAMPLES)
def test_the_examples_are_restricted(example: str) -> None:
    """Every container keeps to the restricted Pod Security Standard, but for Keruta's own, which is left as it is."""
    for document in _documents(example):
        for spec in _pod_specs(document):
            assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
            assert all(set(volume) & {"emptyDir", "persistentVolumeClaim"} for volume in spec.get("volumes", []))
            for container in _containers(spec):
                merged = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
                assert merged["runAsNonRoot"] is True
                assert merged["seccompProfile"] == {"type": "RuntimeDefault"}
                if container == _the_contracts():
                    continue
                assert merged["allowPrivilegeEscalation"] is False
                assert merged["capabilities"] == {"drop": ["ALL"]}


def _the_contracts() -> dict[str, Any]:
    (fragment,) = (
        fragment for name, fragment in _fragments() if name.startswith("README") and "initContainers" in fragment
    )
    container: dict[str, Any] = fragment["initContainers"][0]
    return container


def test_the_job_has_the_readmes_init_container() -> None:
    """Keruta's init container is the same in both places."""
    (job,) = (document for document in _documents("job.yaml") if document["kind"] == "Job")
    assert job["spec"]["template"]["spec"]["initContainers"] == [_the_contracts()]


def test_what_is_tried_again_is_what_a_retry_helps() -> None:
    """The exit codes in the Job's policy and in Argo's expression are those of the errors that say so."""
    kinds = [
        kind for kind in vars(kerutaprep_errors).values() if isinstance(kind, type) and issubclass(kind, PrepError)
    ]
    temporary = {kind.exit_code for kind in kinds if kind.retryable} | _SIGNALS
    lasting = {kind.exit_code for kind in kinds} - temporary

    (job,) = _documents("pod-failure-policy.yaml")
    rules = {rule["action"]: rule for rule in job["spec"]["podFailurePolicy"]["rules"]}
    assert set(rules["FailJob"]["onExitCodes"]["values"]) == lasting
    assert set(rules["Count"]["onExitCodes"]["values"]) == temporary
    (in_the_docs,) = (fragment for _, fragment in _fragments() if "podFailurePolicy" in fragment)
    assert [rule for rule in in_the_docs["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"] == [
        rules["FailJob"]
    ]

    (workflow,) = _documents("argo-workflow-template.yaml")
    expressions = [
        template["retryStrategy"]["expression"]
        for template in workflow["spec"]["templates"]
        if "retryStrategy" in template
    ]
    assert [set(map(int, re.findall(r"\d+", expression))) for expression in expressions] == [temporary]
