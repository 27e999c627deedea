"""A workload written out: model, texts, and who trains on which batches when, for contestants of any framework.

Cohorts and batches are the engine's own, pure functions of the seed: each contestant trains the same clients on the
same examples in the same order, and ends at the same weights.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import nn
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

from baselines.lora import LoRA
from simulate import seeds
from simulate.bench.workloads import VARIANTS, Workload
from simulate.clients.batches import client_batches
from simulate.config import Experiment, build
from simulate.engine.cohort import cohort
from simulate.experiment import Prepared, prepare
from simulate.models.backbone import load_model
from simulate.models.structure import find_structure

LABELS = ("one", "two", "three", "four", "five")
SPECIAL = ("<pad>", "<unk>", "<eos>")
LEAST_HELD_OUT = 5
"""Texts of validation and of test where nothing is to be evaluated: the least a corpus can have, one of each label."""
EVALUATE_BATCH = 32


def write_material(workload: Workload, folder: Path) -> None:
    """Write model and corpus of a workload into the folders `model` and `corpus`; the same bytes every time."""
    shape = workload.shape
    config = LlamaConfig(
        **shape,
        max_position_embeddings=max(64, workload.tokens),
        num_labels=len(LABELS),
        pad_token_id=SPECIAL.index("<pad>"),
        bos_token_id=None,
        eos_token_id=SPECIAL.index("<eos>"),
    )
    with seeds.torch_draws(0, "bench model"):
        model = LlamaForSequenceClassification(config)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder / "model")
    save_file(model.state_dict(), folder / "model" / "model.safetensors", {"format": "pt"})
    words = [*SPECIAL, *(f"w{number}" for number in range(len(SPECIAL), shape["vocab_size"]))]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>"
    ).save_pretrained(folder / "model")
    (folder / "corpus").mkdir(parents=True)
    held_out = workload.held_out or 2 * LEAST_HELD_OUT
    sizes = {
        "train": workload.clients * workload.examples,
        "validation": held_out - held_out // 2,
        "test": held_out // 2,
    }
    for split, size in sizes.items():
        rng = seeds.generator(0, "bench texts", split)
        texts = rng.integers(len(SPECIAL), shape["vocab_size"], (size, workload.tokens))
        with (folder / "corpus" / f"{split}.jsonl").open("w") as stream:
            for number, text in enumerate(texts.tolist()):
                row = {"text": " ".join(f"w{token}" for token in text), "label": LABELS[number % len(LABELS)]}
                stream.write(json.dumps(row) + "\n")


def experiment_of(workload: Workload, variant: str, material: Path) -> Experiment:
    """The experiment that a workload is to this project."""
    return build(_settings(workload, variant, material))


def _settings(workload: Workload, variant: str, material: Path) -> dict[str, Any]:
    corpus = {"name": "jsonl", "path": str(material / "corpus"), "task": "classification", "labels": list(LABELS)}
    return {
        "name": f"bench-{variant}",
        "rounds": workload.rounds,
        "corpus": corpus,
        "model": {"name": str(material / "model"), "max_length": workload.tokens},
        "partition": {"name": "iid", "clients": workload.clients, "min_size": 1},
        "method": VARIANTS[variant],
        "train": {
            "optimizer": "sgd",
            "lr": workload.lr,
            "weight_decay": 0.0,
            "clip_norm": None,
            "batch_size": workload.batch,
        },
        "cohort": {"count": workload.cohort},
        "evaluate": {"every": 1 if workload.held_out else workload.rounds, "batch_size": EVALUATE_BATCH},
    }


def write_plan(workload: Workload, variant: str, material: Path, folder: Path) -> None:
    """Write what the contestants read: `experiment.yaml` (ours), and for all others the rest.

    `plan.safetensors` holds the tokenized texts, the cohorts and the batches (see `contestants.shared.Plan`),
    `adapters.safetensors` the initial adapters of LoRA, and `settings.json`: the folder of the model; the names of the
    trained tensors; LoRA's configuration or null; clients, and examples of each; learning rate; whether to evaluate,
    and in batches of how many.

    Args:
        workload: what to run.
        variant: what of the model is trained.
        material: what `write_material` wrote.
        folder: where to write, made here.
    """
    folder.mkdir(parents=True)
    settings = _settings(workload, variant, material)
    (folder / "experiment.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    experiment = build(settings)
    prepared = prepare(experiment)
    model, trained = _prepared_model(experiment, prepared)
    method = experiment.method
    adapters = {name: tensor for name, tensor in trained.items() if ".lora_" in name}
    if adapters:
        save_file(adapters, folder / "adapters.safetensors")
    save_file(_plan(prepared), folder / "plan.safetensors")
    facts = {
        "model": str(material / "model"),
        "trained": list(trained),
        "lora": _lora(method, adapters) if isinstance(method, LoRA) else None,
        "clients": workload.clients,
        "examples": workload.examples,
        "lr": workload.lr,
        "evaluate": bool(workload.held_out),
        "evaluate_batch": EVALUATE_BATCH,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained_parameters": sum(tensor.numel() for tensor in trained.values()),
    }
    (folder / "settings.json").write_text(json.dumps(facts, indent=2) + "\n")


def _prepared_model(experiment: Experiment, prepared: Prepared) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The model as a worker prepares it, and the initial values of what is trained."""
    labels = prepared.task.model_labels
    model, _ = load_model(experiment.model, prepared.corpus.task, labels, experiment.seed)
    with seeds.torch_draws(experiment.seed, "method"):
        experiment.method.prepare(model)
    scope = experiment.method.scope(find_structure(model))
    return model, {name: model.get_parameter(name).detach() for name in scope.trained}


def _lora(method: LoRA, adapters: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The arguments of peft's `LoraConfig` for the adapters that are there."""
    targets = sorted({name.partition(".lora_")[0] for name in adapters})
    return {"r": method.rank, "lora_alpha": method.rank * method.scaling, "target_modules": targets}


def _plan(prepared: Prepared) -> dict[str, torch.Tensor]:
    """Texts, cohorts and batches as tensors."""
    experiment, train = prepared.experiment, prepared.splits["train"]
    clients = prepared.partition.num_clients
    shards = [train.windows(prepared.partition.indices(client)) for client in range(clients)]
    cohorts = [cohort(experiment.cohort, clients, experiment.seed, 1 + round_) for round_ in range(experiment.rounds)]
    batches = [
        [
            np.stack(
                list(
                    client_batches(
                        experiment.train,
                        shards[client],
                        train.lengths,
                        seeds.generator(experiment.seed, "batches", 1 + round_, client),
                    )
                )
            )
            for client in chosen
        ]
        for round_, chosen in enumerate(cohorts)
    ]
    held_out = [prepared.splits[name] for name in ("validation", "test")]
    return {
        "ids": torch.from_numpy(train.ids.reshape(len(train), -1).copy()),
        "labels": torch.from_numpy(train.labels.copy()),
        "held_out_ids": torch.from_numpy(np.concatenate([split.ids.reshape(len(split), -1) for split in held_out])),
        "held_out_labels": torch.from_numpy(np.concatenate([split.labels for split in held_out])),
        "cohorts": torch.tensor(cohorts),
        "batches": torch.from_numpy(np.asarray(batches, dtype=np.int64)),
    }
