"""The model card of the checkpoint, written from the figures that the run left in its work folder."""

import json
from typing import Any

from simulate.pretraining.settings import Pretraining, WorkFolder

CREDITS = {
    "ncbi_disease": "NCBI disease corpus (Doğan, Leaman, Lu, J Biomed Inform 2014), public domain",
    "bc5cdr": "BC5CDR (Li et al., Database 2016; as converted by Crichton et al., BMC Bioinformatics 2017), CC BY 4.0; "
    "used in other form: joined to running text and learned from",
    "trial_criteria_ner": "Clinical-trial eligibility criteria (Tseo et al., arXiv:2006.07296; Facebook Research's "
    "Clinical-Trial-Parser), Apache License 2.0",
}
"""Folder name -> source and licence of the sets that the shipped checkpoint has seen."""

TEMPLATE = """---
language: en
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# tiny-llama

A causal language model with the proportions of LLaMA 3.2-1B at 1/16 of its width: {layers} decoder layers, hidden size
{hidden}, MLP {mlp}, {heads} heads and one key-value head, {vocabulary} byte-level BPE entries, tied embeddings,
{parameters} parameters. It exists so that experiments on which layers to train start from *pre-trained* layers without
a download. It is not a model for clinical use, and what it writes means nothing.

Weights are stored in float16 and load as float32:

    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained("simulate/models/tiny_llama")
    tokenizer = AutoTokenizer.from_pretrained("simulate/models/tiny_llama")

Every input begins with `<bos>`, which the tokenizer adds. Words given one by one (`is_split_into_words=True`) get the
tokens they have in running text.

## Data

| source | training tokens | seen |
| --- | --- | --- |
{data}

Synthetic notes are the project's own (seed {seed}; the evaluation corpora use other seeds), Apache-2.0. Of each folder
of real text only the *train* split is read, and of it the last {held_out} of the documents are kept out:

{credits}

No validation or test split and no patient record was used. Real text appears in two renderings, as running text and
as sentences with words and marks apart; so does a quarter of the notes.

## Training

{steps} steps of {batch_tokens} tokens ({tokens} M tokens), sequences of 128 and 512 tokens (three steps to one),
bfloat16 autocast over float32 weights, AdamW (0.9, 0.98), weight decay {weight_decay}, gradient norm {clip}. Learning
rate {peak_lr:g}: {warmup} steps of warm-up at each depth, then constant, falling linearly to zero at the end. The depth
grows by stacking (Gong et al., "Efficient Training of BERT by Progressively Stacking", ICML 2019): the layers are
copied on top of themselves and the optimizer starts anew.

| depth | steps | training loss at its end (nats a token) |
| --- | --- | --- |
{stages}

Hardware: {processor}, {threads} thread(s); {hours:.2f} hours. The command, from the project's root:

    python -m simulate.pretraining train --checkpoint simulate/models/tiny_llama \\
        --steps {planned}{limit} --notes {notes} --seed {seed}{text_options}

## Held-out perplexity

A token (bits a byte in brackets), all three over the same tokens. The untrained model has the same configuration; the
unigram model is the add-one smoothed token frequencies of the training notes, or of the real training text.

| held-out text | tokens | tiny-llama | untrained | unigram |
| --- | --- | --- | --- | --- |
{perplexity}

BC5CDR and the trial criteria name no documents, so a held-out document there may share its abstract or trial with the
last training document.

## Probe of the frozen features

Logistic regression on frozen hidden states, on corpora that pre-training has not seen; layer and regularisation chosen
on validation, figures of the test split in percent. A causal model's state knows the words to the left only. Random
weights: mean of {draws} draws, lowest to highest in brackets.

{probe}

## Limits

Short training on little text: synthetic notes repeat their templates, real text is abstracts and trial criteria
rather than notes, English only.
"""


def card(work: WorkFolder) -> str:
    """The card's text.

    Raises:
        FileNotFoundError: if `train`, `evaluate` or `probe` has not left its figures in the work folder.
    """
    settings = Pretraining.model_validate_json(work.settings.read_text())
    training = json.loads(work.training.read_text())
    probes = json.loads(work.probe.read_text())
    draws = [name for corpus in probes.values() for name in corpus["probes"] if name.startswith("random")]
    return TEMPLATE.format(
        **settings.model_dump(include={"hidden", "mlp", "heads", "seed", "batch_tokens", "weight_decay", "clip"}),
        **settings.model_dump(include={"peak_lr", "warmup", "vocabulary", "notes"}),
        layers=settings.stages[-1].layers,
        parameters=f"{training['parameters']:,}".replace(",", " "),
        held_out=f"{settings.held_out:.0%}",
        data=_data(settings, training),
        credits="\n".join(f"- `{folder.name}`: {_credit(folder.name)}" for folder in settings.text) or "- none",
        steps=training["steps"],
        tokens=f"{training['tokens'] / 1e6:.1f}",
        planned=sum(stage.steps for stage in settings.stages),
        limit=f" --hours {training['hours']}" if training["hours"] else "",
        processor=training["processor"],
        threads=training["threads"],
        hours=training["seconds"] / 3600,
        stages=_stages(training),
        text_options="".join(f" --text PATH/{folder.name}" for folder in settings.text),
        perplexity=_perplexity(json.loads(work.perplexity.read_text())),
        draws=len(set(draws)),
        probe="\n\n".join(_probe(corpus, figures) for corpus, figures in probes.items()),
    )


def _credit(name: str) -> str:
    return CREDITS.get(name, "see the folder's own terms")


def _data(settings: Pretraining, training: dict[str, Any]) -> str:
    sizes = training["stream_tokens"]
    shares = {"notes": 1 - settings.text_share, "text": settings.text_share} if "text" in sizes else {"notes": 1.0}
    names = {"notes": f"{settings.notes} synthetic notes", "text": "real text, both renderings"}
    return "\n".join(
        f"| {names[key]} | {sizes[key] / 1e6:.2f} M | {share * training['tokens'] / sizes[key]:.1f} times |"
        for key, share in shares.items()
    )


def _stages(training: dict[str, Any]) -> str:
    last = {layers: (step, loss) for step, layers, loss in training["losses"]}
    rows, before = [], 0
    for layers, (step, loss) in last.items():
        rows.append(f"| {layers} layers | {step - before} | {loss:.2f} |")
        before = step
    return "\n".join(rows)


def _perplexity(figures: dict[str, Any]) -> str:
    def cell(values: dict[str, float]) -> str:
        return f"{values['perplexity']:.1f} ({values['bits_per_byte']:.2f})"

    return "\n".join(
        f"| {name} | {row['tokens']} | {cell(row['trained'])} | {cell(row['untrained'])} | {cell(row['unigram'])} |"
        for name, row in figures.items()
    )


def _probe(corpus: str, figures: dict[str, Any]) -> str:
    probes = figures["probes"]
    metrics = list(probes["trained"]["test"])
    rows = [f"| {corpus} | features | " + " | ".join(metric.replace("_", " ") for metric in metrics) + " |"]
    rows.append("| --- | --- |" + " --- |" * len(metrics))
    for name, entry in probes.items():
        if not name.startswith("random"):
            cells = " | ".join(f"{100 * entry['test'][metric]:.1f}" for metric in metrics)
            rows.append(f"| {name} | {entry['features']} | {cells} |")
    drawn = [entry["test"] for name, entry in probes.items() if name.startswith("random")]
    spans = []
    for metric in metrics:
        values = [100 * test[metric] for test in drawn]
        spans.append(f"{sum(values) / len(values):.1f} ({min(values):.1f} to {max(values):.1f})")
    rows.append("| random weights | best layer of each | " + " | ".join(spans) + " |")
    return "\n".join(rows)
