"""A Ray cluster of two machines, both played by this one: workers on each, and the same bits as in one process."""

import json
import subprocess
import sys

import pytest
import yaml

from tests.runs import experiment, run, same_results

ON_CLUSTER = """
import json, sys
from pathlib import Path
import ray, yaml
from ray.cluster_utils import Cluster
from simulate.config import build
from simulate.engine.make import make_executor
from simulate.experiment import prepare, run

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
settings = yaml.safe_load(Path(sys.argv[1]).read_text())
what = build(settings | {"engine": {"address": cluster.address, "device": "cpu"}})
with make_executor(what.engine) as executor:
    ask = lambda worker: ray.get_runtime_context().get_node_id()
    where = ray.get([actor.__ray_call__.remote(ask) for actor in executor._actors])
    print(json.dumps({"workers": executor.workers, "nodes": len(set(where))}))
    run(prepare(what), Path(sys.argv[2]), executor)
cluster.shutdown()
"""


@pytest.mark.slow
def test_workers_on_two_machines_give_the_same_bits(tiny_decoder, ner_corpus, tmp_path):
    what = experiment(tiny_decoder, ner_corpus, "layer_skipping")
    run(what, tmp_path / "serial")
    (tmp_path / "what.yaml").write_text(yaml.safe_dump(what.resolved()))
    command = [sys.executable, "-c", ON_CLUSTER, tmp_path / "what.yaml", tmp_path / "cluster"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[0]) == {"workers": 2, "nodes": 2}
    same_results(tmp_path / "cluster", tmp_path / "serial")
