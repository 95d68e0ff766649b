"""The examples' pods, played as Kubernetes would run them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest
import yaml

from tests.fakes import login, run_git

if TYPE_CHECKING:
    from tests.fakes import Stage
    from tests.image.podman import Podman

pytestmark = pytest.mark.anyio

_EXAMPLES = Path(__file__).parents[2] / "examples"
_IN_THE_CLUSTER = "http://keruta-api.keruta.svc.cluster.local"


def _documents(example: str, stage: Stage, **secrets: str) -> list[dict[str, Any]]:
    """An example's documents, the API's address and the secrets aside as they are; podman plays no Job but its pod."""
    text = (_EXAMPLES / example).read_text(encoding="utf-8").replace(_IN_THE_CLUSTER, stage.api_url)
    documents = list(yaml.safe_load_all(text))
    for number, document in enumerate(documents):
        if document["kind"] == "Job":
            metadata = {"name": document["metadata"]["name"], "labels": {"app": "task"}}
            pod = document["spec"]["template"]["spec"] | {"hostNetwork": True}
            _expand(pod["initContainers"][0], documents)
            documents[number] = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}
        elif document["kind"] == "Secret":
            plain = document.pop("stringData") | secrets
            document["data"] = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        elif document["kind"] == "PersistentVolumeClaim":  # stands for fsGroup, which podman does not know
            document["metadata"]["annotations"] = {"volume.podman.io/uid": "10001", "volume.podman.io/gid": "10001"}
    return documents


def _expand(container: dict[str, Any], documents: list[dict[str, Any]]) -> None:
    """Put the variables' values into the command, as the kubelet does and podman does not."""
    maps = {document["metadata"]["name"]: document["data"] for document in documents if document["kind"] == "ConfigMap"}
    for variable in container["env"]:
        reference = variable.get("valueFrom", {}).get("configMapKeyRef")
        value = maps[reference["name"]][reference["key"]] if reference else variable.get("value")
        if value is not None:
            container["command"] = [word.replace(f"$({variable['name']})", value) for word in container["command"]]


async def _play(podman: Podman, place: Path, documents: list[dict[str, Any]]) -> int:
    """Play a pod to its end, and give the exit code of its container ``task``."""
    return await anyio.to_thread.run_sync(_play_in_thread, podman, place, documents)


def _play_in_thread(podman: Podman, place: Path, documents: list[dict[str, Any]]) -> int:
    secrets = {document["metadata"]["name"]: document for document in documents if document["kind"] == "Secret"}
    if podman.do("version", "--format={{.Client.Version}}").startswith("4.3."):  # can't read the secrets that it plays
        documents = [document for document in documents if document["kind"] != "Secret"]
        for name, document in secrets.items():
            (place / name).write_text(json.dumps(document["data"]))
            podman.do("secret", "create", name, str(place / name))
    manifest = place / "pod.yaml"
    manifest.write_text(yaml.safe_dump_all(documents))
    (pod,) = (document["metadata"]["name"] for document in documents if document["kind"] == "Pod")
    try:
        podman.do("kube", "play", str(manifest))
        return int(podman.do("wait", f"{pod}-task"))
    finally:
        for container in ("keruta-agent-init", "task"):
            podman.succeeds("logs", f"{pod}-{container}")
        podman.do("pod", "rm", "--force", "--ignore", "--time", "0", pod)
        podman.do("secret", "rm", *secrets)


async def test_the_job_runs_from_init_to_push(podman: Podman, stage: Stage, tmp_path: Path) -> None:
    """Keruta's manifest, its init container unchanged: prepared by PID 1, read and pushed by the task."""
    stage.content.token = "the-api-token"
    stage.content.repositories["shop"]["branch"] = "main"
    stage.content.scripts["shop"] = b"#!/bin/sh\ntr '\\0' ' ' < /proc/1/cmdline > first-process\n"
    stage.content.documents = {"task-7": b"Mend the basket.\n"}
    run_git(stage.repository, "config", "http.receivepack", "true")
    assert await _play(podman, tmp_path, _documents("job.yaml", stage, token="the-api-token")) == 0

    assert run_git(stage.repository, "show", "keruta-task-7:TASK") == "# Mend the basket.\n"
    assert "keruta-agent init" in run_git(stage.repository, "show", "keruta-task-7:first-process")
    assert run_git(stage.repository, "rev-parse", "keruta-task-7~1").strip() == stage.commit
    changed = run_git(stage.repository, "diff", "--name-only", "main", "keruta-task-7")
    assert changed.split() == ["TASK", "first-process"]


async def test_parent_and_child_share_a_private_repositorys_clone(podman: Podman, stage: Stage, tmp_path: Path) -> None:
    """The child finds the parent's volume, begins where the parent ended, and pushes a branch of its own."""
    stage.git.on("/shop.git", *[login("keruta", "the-git-token")] * 1000)
    stage.content.documents = {"task-7": b"Mend the basket.\n", "task-8": b"Mend the till.\n"}
    del stage.content.scripts["shop"]
    run_git(stage.repository, "config", "http.receivepack", "true")
    settings, tokens, claim, parent, child = _documents("shared-volume.yaml", stage, KERUTA_GIT_TOKEN="the-git-token")
    assert await _play(podman, tmp_path, [settings, tokens, claim, parent]) == 0
    assert await _play(podman, tmp_path, [settings, tokens, child]) == 0

    tasks = run_git(stage.repository, "show", "keruta-task-8:TASKS.md")
    assert tasks == "Mend the basket.\nMend the till.\n"
    parents = run_git(stage.repository, "rev-parse", "keruta-task-8~1", "keruta-task-7").split()
    assert len(set(parents)) == 1
    volume = Path(json.loads(podman.do("volume", "inspect", "keruta-work"))[0]["Mountpoint"])
    assert "the-git-token" not in (volume / ".git" / "config").read_text()
