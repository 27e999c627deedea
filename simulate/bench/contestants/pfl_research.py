"""pfl-research (pfl), in its multi-process mode: torchrun starts the workers, torch.distributed (gloo) sums them up.

Its simulated backend, FederatedAveraging and PyTorchModel are used as its own benchmarks use them: one resident model a
process, reset in place. The sampler hands out the cohorts of the plan. In its first iteration pfl would evaluate each
client before and after local training; that is left out. Evaluation is its CentralEvaluationCallback, shared by the
workers: before the first round, and after each but the first.
"""

import dataclasses
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch


def main(folder: Path, output: Path, workers: int, threads: int) -> None:
    """Start the workers: this module again, in each."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"),
        *("-m", __name__, str(folder), str(output), str(threads)),
    ]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)})


def work(folder: Path, output: Path, threads: int) -> None:
    """What each worker does."""
    torch.set_num_threads(threads)
    # pfl joins the other workers when it is imported
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.callback.base import TrainingProcessCallback
    from pfl.callback.central_evaluation import CentralEvaluationCallback
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.data.pytorch import PyTorchTensorDataset
    from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
    from pfl.internal.ops.pytorch_ops import distributed
    from pfl.metrics import Metrics, Weighted
    from pfl.model.pytorch import PyTorchModel

    from simulate.bench.contestants.shared import Outcome, Plan, logits_of, mean_loss

    plan, outcome = Plan(folder), Outcome()
    model, trained = plan.model()
    steps, batch = plan.batches.shape[2:]

    def metrics(ids: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
        model.eval()
        with torch.inference_mode():
            right = int((logits_of(model, ids).argmax(-1) == labels).sum())
        model.train()
        return {"accuracy": Weighted(right, len(labels))}

    vars(model).update(loss=lambda ids, labels: mean_loss(model, ids, labels), metrics=metrics)

    def client(visit: tuple[int, int]) -> PyTorchTensorDataset:
        """The data of a client in the order of its batches."""
        outcome.first_client = outcome.first_client or time.time()
        outcome.steps += steps
        rows = plan.batches[visit].flatten()
        return PyTorchTensorDataset((plan.ids[rows], plan.labels[rows]), user_id=str(visit))

    class Algorithm(FederatedAveraging):
        def get_next_central_contexts(self, *arguments: Any, **keywords: Any) -> Any:
            contexts, *rest = super().get_next_central_contexts(*arguments, **keywords)
            return contexts and tuple(dataclasses.replace(it, do_evaluation=False) for it in contexts), *rest

    class Clock(TrainingProcessCallback):
        def after_central_iteration(
            self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int
        ) -> tuple[bool, Metrics]:
            if plan.evaluate and central_iteration:  # in the first the score is that from before it
                outcome.scores.append(aggregate_metrics.to_simple_dict()["Central val | accuracy"])
            outcome.end_round()
            return False, Metrics()

    rank, workers = distributed.global_rank, distributed.world_size
    places = range(rank, len(plan.cohorts[0]), workers)  # every round has as many
    visits: Iterator[tuple[int, int]] = iter(itertools.product(range(plan.rounds), places))
    # pfl draws one client for each worker whenever one needs a client, and takes that of its own rank
    ranks = itertools.cycle(range(workers))
    training = FederatedDataset(client, lambda: next(visits) if next(ranks) == rank else None)
    callbacks: list[TrainingProcessCallback] = []
    if plan.evaluate:
        held_out = PyTorchTensorDataset((plan.held_out_ids, plan.held_out_labels))
        callbacks.append(CentralEvaluationCallback(held_out, NNEvalHyperParams(local_batch_size=plan.evaluate_batch)))
    Algorithm().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=plan.rounds,
            evaluation_frequency=1,
            train_cohort_size=len(plan.cohorts[0]),
            val_cohort_size=None,
        ),
        backend=SimulatedBackend(training_data=training, val_data=training),
        model=PyTorchModel(
            model,
            lambda _, lr: torch.optim.SGD(trained.values(), lr, foreach=True),
            torch.optim.SGD(trained.values(), lr=1.0, foreach=True),
        ),
        model_train_params=NNTrainHyperParams(
            local_batch_size=batch, local_num_epochs=1, local_learning_rate=plan.lr, local_num_steps=None
        ),
        callbacks=[*callbacks, Clock()],
        send_metrics_to_platform=False,
    )
    (total,) = distributed.all_reduce([torch.tensor([float(outcome.steps)])])
    if distributed.global_rank == 0:
        outcome.steps = int(total)
        outcome.write(output, trained)


if __name__ == "__main__":
    plan_folder, output_folder, thread_count = sys.argv[1:]
    work(Path(plan_folder), Path(output_folder), int(thread_count))
