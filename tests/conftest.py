"""Tiny models and corpora that every test can afford."""

import json
import os
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from simulate.engine.executors import EngineSettings, Executor
from simulate.engine.make import make_executor

WORDS = [f"word{index}" for index in range(30)] + ["pain", "fever", "aspirin", "heparin"]
TAGS = {"pain": "B-problem", "fever": "B-problem", "aspirin": "B-treatment", "heparin": "B-treatment"}


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory) -> None:
    """Tests, and the commands that they start, keep to a cache of their own."""
    os.environ["SKIPFL_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real clinical corpora; tests that ask for it are skipped where it is absent."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder of real corpora beside the checkout")
    return folder


def save_with_tokenizer(model, folder: Path) -> Path:
    """A checkpoint folder of a model whose tokens are `WORDS`."""
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<unk>", "<eos>", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>", model_max_length=64
    )
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def save_decoder(folder: Path, hidden: int) -> Path:
    """A checkpoint folder of a random LLaMA of 4 blocks."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=2,
    )
    return save_with_tokenizer(LlamaForCausalLM(config), folder)


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory) -> Path:
    """A random LLaMA of 4 blocks, hidden 16."""
    return save_decoder(tmp_path_factory.mktemp("tiny-decoder"), hidden=16)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> Path:
    """A random BERT of 3 blocks, hidden 16, with dropout."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=64,
        hidden_dropout_prob=0.1,
        pad_token_id=0,
    )
    return save_with_tokenizer(BertForMaskedLM(config), tmp_path_factory.mktemp("tiny-encoder"))


def write_corpus(folder: Path, task: str, sizes: dict[str, int]) -> Path:
    """An invented corpus as JSONL: words of `WORDS`, tags or label by the entity words among them."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    seen: set[tuple[str, ...]] = set()
    for split, size in sizes.items():
        with (folder / f"{split}.jsonl").open("w") as stream:
            written = 0
            while written < size:
                tokens = tuple(rng.choice(WORDS, rng.integers(3, 9)).tolist())
                if tokens in seen:
                    continue
                seen.add(tokens)
                example = {"id": f"{split}-{written}", "group": f"site{written % 3}"}
                if task == "ner":
                    example |= {"tokens": tokens, "tags": [TAGS.get(token, "O") for token in tokens]}
                elif task == "multilabel":
                    labels = sorted({TAGS[token][2:] for token in tokens if token in TAGS})
                    example |= {"text": " ".join(tokens), "labels": labels}
                else:
                    problems = sum(TAGS.get(token) == "B-problem" for token in tokens)
                    example |= {"text": " ".join(tokens), "label": "ill" if problems else "well"}
                stream.write(json.dumps(example) + "\n")
                written += 1
    return folder


@pytest.fixture(scope="session")
def ner_corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("ner"), "ner", {"train": 60, "validation": 20, "test": 20})


@pytest.fixture(scope="session")
def text_corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("texts"), "classification", {"train": 60, "validation": 20, "test": 20})


@pytest.fixture(scope="session")
def labelled_corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("label-sets")
    return write_corpus(folder, "multilabel", {"train": 60, "validation": 20, "test": 20})


class RaySession:
    """Executors of one and of two actors in a session of Ray that all tests share which do not start their own."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.executors: dict[str, Executor] = {}

    def open(self) -> dict[str, Executor]:
        """The executors, by name."""
        import ray  # not above: it reads its environment when it is imported, and faults are injected by that

        if not self.executors:
            ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
            self.stack.callback(ray.shutdown)
            for name, workers in (("one", 1), ("two", 2)):
                self.executors[name] = self.stack.enter_context(make_executor(EngineSettings(workers=workers)))
        return self.executors

    def rest(self) -> None:
        """Have the actors forget what they were at; those that were killed are replaced at the next start."""
        for executor in self.executors.values():
            for actor in executor._actors:
                with suppress(executor._ray.exceptions.RayActorError):
                    executor._ray.get(actor.stop.remote())

    def close(self) -> None:
        """Make room for a session that a test starts itself."""
        self.stack.close()
        self.executors.clear()


@pytest.fixture(scope="session")
def ray_session():
    session = RaySession()
    yield session
    session.close()


@pytest.fixture(scope="module")
def actors(ray_session):
    """Executors of one and of two Ray actors, by name."""
    yield ray_session.open()
    ray_session.rest()
