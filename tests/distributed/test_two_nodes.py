"""Two machines: two network namespaces joined by a virtual link, torchrun on both."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

pytestmark = [
    pytest.mark.learning,
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("ip") is None,
        reason="network namespaces need root and the package iproute2",
    ),
]


class Node(NamedTuple):
    """One of the two machines."""

    namespace: str
    link: str
    address: str


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    """Two namespaces that see each other and nothing else, not even this machine."""
    tag = os.getpid() % 100_000
    made = [Node(f"node{i}-{tag}", f"v{i}-{tag}", f"10.77.7.{i + 1}") for i in range(2)]
    try:
        for node in made:
            try:
                ip("netns", "add", node.namespace)
            except AssertionError as error:
                pytest.skip(f"no network namespaces here: {error}")
        ip("link", "add", made[0].link, "type", "veth", "peer", "name", made[1].link)
        for node in made:
            ip("link", "set", node.link, "netns", node.namespace)
            inside = ("netns", "exec", node.namespace, "ip")
            ip(*inside, "addr", "add", f"{node.address}/24", "dev", node.link)
            ip(*inside, "link", "set", node.link, "up")
            ip(*inside, "link", "set", "lo", "up")
        yield made
    finally:
        for node in made:
            subprocess.run(["ip", "netns", "delete", node.namespace], capture_output=True)


def torchrun(nodes: list[Node], words: list[str]) -> list[subprocess.Popen[str]]:
    """The same command on both nodes, as one would type it there."""
    launched = []
    for rank, node in enumerate(nodes):
        command = [
            *("ip", "netns", "exec", node.namespace),
            *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"),
            *(f"--node-rank={rank}", f"--local-addr={node.address}"),
            *(f"--master-addr={nodes[0].address}", "--master-port=29507"),
            *("-m", "heed", "train", *words),
        ]
        launched.append(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": node.link},
            )
        )
    return launched


def test_two_nodes_are_one_run(nodes, trained, words, root):
    one = trained("sentiment", "one-plain", 1)
    own = [word for word in words("sentiment", "nodes") if not word.startswith("trainer.devices")]
    first, second = torchrun(nodes, own)
    outputs = [process.communicate(timeout=400)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), "\n".join(outputs)
    (record,) = (root / "nodes").rglob("run.json")
    fields = json.loads(record.read_text())
    assert fields["status"] == "done"
    assert (record.parent / "logs" / "rank-1.log").is_file()
    assert "Done in" in outputs[0]
    assert "Done in" not in outputs[1]
    run = type(one)(record.parent, "")
    for name in ("train/loss", "val/loss"):
        values = [value for _, value in one.column(name)]
        assert [value for _, value in run.column(name)] == pytest.approx(values, abs=1e-4), name


def test_a_mistake_is_said_once(nodes, words):
    first, second = torchrun(nodes, [*words("sentiment", "mistake"), "model.d_modl=7"])
    outputs = [process.communicate(timeout=200)[0] for process in (first, second)]
    said = [text.count("model.d_modl is not a key of the config") for text in outputs]
    assert said == [1, 0], "\n".join(outputs)
    assert "heed/commands" not in outputs[0] + outputs[1]  # no traceback of ours
