"""What every contestant but ours has in common: the written plan, the model, one client's training, the outcome."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoModelForSequenceClassification


class Plan:
    """A workload as `simulate.bench.plan.write_plan` wrote it.

    Attributes:
        ids, labels: int64, all training examples: (examples, tokens) and (examples,).
        held_out_ids, held_out_labels: the same of the examples to evaluate.
        cohorts: the clients of each round, (rounds, clients a round).
        batches: rows of `ids` in the order of training, (rounds, clients a round, steps, batch).
        settings: the rest, see `write_plan`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = json.loads((folder / "settings.json").read_text())
        tensors = load_file(folder / "plan.safetensors")
        self.ids, self.labels = tensors["ids"].long(), tensors["labels"]
        self.held_out_ids, self.held_out_labels = tensors["held_out_ids"].long(), tensors["held_out_labels"]
        self.cohorts: list[list[int]] = tensors["cohorts"].tolist()
        self.batches = tensors["batches"]
        self.rounds = len(self.cohorts)
        self.lr: float = self.settings["lr"]
        self.evaluate: bool = self.settings["evaluate"]
        self.evaluate_batch: int = self.settings["evaluate_batch"]

    def model(self) -> tuple[torch.nn.Module, dict[str, torch.nn.Parameter]]:
        """The model in training mode, and its trained parameters, all others frozen; every start is the same."""
        model = AutoModelForSequenceClassification.from_pretrained(self.settings["model"], dtype=torch.float32)
        model.config.use_cache = False
        if self.settings["lora"]:
            inject_adapter_in_model(LoraConfig(**self.settings["lora"]), model)
            model.load_state_dict(load_file(self.folder / "adapters.safetensors"), strict=False)
        model.requires_grad_(False)
        trained = {name: model.get_parameter(name) for name in self.settings["trained"]}
        for parameter in trained.values():
            parameter.requires_grad_(True)
        return model.train(), trained

    def loss(self, model: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
        """The mean loss of a batch of training examples."""
        return mean_loss(model, self.ids[rows], self.labels[rows])

    def train(
        self, model: torch.nn.Module, trained: Iterable[torch.nn.Parameter], round_: int, place: int
    ) -> tuple[int, int]:
        """Local training of a cohort's client, in place, from the values the model holds: plain SGD.

        Returns:
            Its examples, which are its weight, and its steps.
        """
        optimizer = torch.optim.SGD(trained, self.lr, foreach=True)
        batches = self.batches[round_, place]
        for rows in batches:
            self.loss(model, rows).backward()
            optimizer.step()
            optimizer.zero_grad()
        return self.weight, len(batches)

    @property
    def weight(self) -> int:
        """A client's examples; all hold as many."""
        return self.settings["examples"]

    @torch.inference_mode()
    def score(self, model: torch.nn.Module, part: int, parts: int) -> tuple[int, int]:
        """Of a share of the held-out examples, batch by batch; the model stays in training mode.

        Returns:
            How many are right, and how many there are.
        """
        model.eval()
        right = 0
        ids, labels = self.held_out_ids[part::parts], self.held_out_labels[part::parts]
        for begin in range(0, len(ids), self.evaluate_batch):
            batch = slice(begin, begin + self.evaluate_batch)
            right += int((logits_of(model, ids[batch]).argmax(-1) == labels[batch]).sum())
        model.train()
        return right, len(ids)


def logits_of(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def mean_loss(model: torch.nn.Module, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in nats, the mean over the batch."""
    return functional.cross_entropy(logits_of(model, ids), labels, reduction="sum") / len(labels)


@dataclass
class Outcome:
    """What a contestant reports; times are seconds since the epoch, which all processes share.

    Attributes:
        first_client: when the first client began to train, or to be given the global values, by a model that is there.
        round_ends: when each round was over, its evaluation included.
        steps: optimizer steps of all clients together.
        scores: accuracy on all held-out examples after each round, where evaluated.
        main_mb: resident memory of the main process after each round, MB (1e6 bytes).
    """

    first_client: float = 0.0
    round_ends: list[float] = field(default_factory=list)
    steps: int = 0
    scores: list[float] = field(default_factory=list)
    main_mb: list[float] = field(default_factory=list)

    def end_round(self) -> None:
        self.round_ends.append(time.time())
        self.main_mb.append(round(resident_mb(), 1))

    def write(self, output: Path, final: Mapping[str, torch.Tensor]) -> None:
        """Leave the outcome and the final exchanged tensors, float32, in the folder."""
        save_file({name: tensor.detach().float().contiguous() for name, tensor in final.items()}, output / FINAL)
        (output / OUTCOME).write_text(json.dumps(self.__dict__))


FINAL, OUTCOME = "final.safetensors", "outcome.json"


def resident_mb() -> float:
    """Resident memory of this process now, MB (1e6 bytes); 0 where the system does not tell (not Linux)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS:"))
