"""Records tests/data/module_orders.json with the transformers that is installed, adding to what
other versions recorded: `python tests/record_module_orders.py`.

Of each class and config: the names that save_pretrained writes, in the order of
named_parameters(), the shapes, and the parameters that Trainer gives no weight decay.
"""

import json
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from transformers.trainer import Trainer
from transformers.trainer_pt_utils import get_parameter_names

DATA = Path(__file__).parent / "data" / "module_orders.json"

SIZES = {  # of every class, which reads those that it knows
    "vocab_size": 16,
    "pad_token_id": 0,
    "hidden_size": 8,
    "d_model": 8,
    "d_kv": 5,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 20,
    "n_inner": 20,
    "hidden_dim": 20,
    "ffn_dim": 20,
    "d_ff": 20,
    "max_position_embeddings": 9,
    "image_size": 8,
    "patch_size": 4,
    "encoder_stride": 4,
}
LAYERS = {"gpt2": "n_layer", "distilbert": "n_layers", "t5": "num_layers"}

HEADS = ("Model", "ForCausalLM", "ForSequenceClassification", "ForTokenClassification")
BERT_HEADS = (
    *("Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"),
    *("ForQuestionAnswering", "ForMultipleChoice"),
)
BIAS = {"attention_bias": (False, True)}
TIED = {"tie_word_embeddings": (False, True)}
CROSS = ({}, {"is_decoder": True, "add_cross_attention": True})
FAMILIES = {  # model type: the classes' common start, their ends, and the settings to combine
    "llama": ("Llama", HEADS, {**BIAS, "mlp_bias": (False, True), **TIED}),
    "qwen2": ("Qwen2", HEADS, TIED),
    "qwen3": ("Qwen3", HEADS, {**BIAS, **TIED}),
    "mistral": ("Mistral", HEADS, {"num_hidden_layers": (2, 11), **TIED}),
    "gemma": ("Gemma", HEADS, {**BIAS, **TIED}),
    "gemma2": ("Gemma2", HEADS, BIAS),
    "gemma3_text": ("Gemma3", ("TextModel", "ForCausalLM"), {**BIAS, **TIED}),
    "phi3": ("Phi3", HEADS, TIED),
    "olmo": ("Olmo", HEADS[:3], {**BIAS, **TIED}),
    "olmo2": ("Olmo2", HEADS[:3], {**BIAS, **TIED}),
    "gpt_neox": ("GPTNeoX", (*HEADS, "ForQuestionAnswering"), {**BIAS, **TIED}),
    "gpt2": (
        "GPT2",
        ("Model", "LMHeadModel", "DoubleHeadsModel", *HEADS[2:], "ForQuestionAnswering"),
        {"add_cross_attention": (False, True), **TIED},
    ),
    "bert": (
        "Bert",
        (*BERT_HEADS, "ForPreTraining", "LMHeadModel", "ForNextSentencePrediction"),
        {"": CROSS, **TIED},
    ),
    "roberta": ("Roberta", (*BERT_HEADS, "ForCausalLM"), {"": CROSS, **TIED}),
    "distilbert": ("DistilBert", BERT_HEADS, TIED),
    "opt": (
        "OPT",
        ("Model", "ForCausalLM", "ForSequenceClassification", "ForQuestionAnswering"),
        {
            "do_layer_norm_before": (True, False),
            "enable_bias": (True, False),
            "word_embed_proj_dim": (8, 4),
            "layer_norm_elementwise_affine": (True, False),
            "_remove_final_layer_norm": (False, True),
        },
    ),
    "t5": (
        "T5",
        (
            *("Model", "ForConditionalGeneration", "EncoderModel", "ForTokenClassification"),
            *("ForSequenceClassification", "ForQuestionAnswering"),
        ),
        {"feed_forward_proj": ("relu", "gated-gelu"), "num_decoder_layers": (None, 1), **TIED},
    ),
    "vit": (
        "ViT",
        ("Model", "ForImageClassification", "ForMaskedImageModeling"),
        {"qkv_bias": (True, False)},
    ),
}


def configs(model_type, settings, *, all_values):
    """Two layers with the first value of every setting, and with the last of every one; with
    `all_values` also with each other value alone."""
    first = {key: values[0] for key, values in settings.items()}
    chosen = [first, {key: values[-1] for key, values in settings.items()}]
    if all_values:
        chosen += [first | {key: one} for key in settings for one in settings[key][1:]]
    for one in chosen:
        several = one.pop("", {})
        yield {LAYERS.get(model_type, "num_hidden_layers"): 2, **one, **several}


def recorded(name, model_type, config):
    """The config that a class writes, and its listing."""
    model = getattr(transformers, name)(transformers.CONFIG_MAPPING[model_type](**SIZES, **config))
    parameters = dict(model.named_parameters())
    assert all(one.requires_grad for one in parameters.values())
    for number, parameter in enumerate(parameters.values()):
        torch.nn.init.constant_(parameter, number)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tensors = load_file(Path(folder) / "model.safetensors")
        written = json.loads((Path(folder) / "config.json").read_bytes())
    stored = {int(tensor.flatten()[0]): name for name, tensor in tensors.items()}
    assert sorted(stored) == [*range(len(parameters))]
    assert len(tensors) == len(parameters)
    by_class = [torch.nn.LayerNorm]
    splits = [
        Trainer.get_decay_parameter_names(None, model),
        get_parameter_names(model, by_class, ["bias", "layernorm", "rmsnorm"]),
        [one for one in get_parameter_names(model, by_class) if "bias" not in one],
    ]
    kept = ("model_type", "architectures", "transformers_version", *config)
    return {key: written[key] for key in kept if key in written}, {
        "names": " ".join(stored[number] for number in range(len(parameters))),
        "shapes": " ".join("x".join(map(str, one.shape)) for one in parameters.values()),
        "decay": [*dict.fromkeys("".join("01"[n in one] for n in parameters) for one in splits)],
    }


def main():
    records = json.loads(DATA.read_bytes()) if DATA.exists() else []
    for model_type, (start, ends, settings) in FAMILIES.items():
        for end, all_values in [(end, end in ends[:2]) for end in ends]:
            for config in configs(model_type, settings, all_values=all_values):
                name = start + end
                try:
                    written, listing = recorded(name, model_type, config)
                except AttributeError as error:
                    print(f"{name} {config}: {error}")
                    continue
                same = [one for one in records if listing.items() <= one.items()]
                if not same:
                    records.append(listing | {"configs": []})
                written_before = (same or records[-1:])[0]["configs"]
                if written not in written_before:
                    written_before.append(written)
    text = ",\n".join(json.dumps(one, separators=(",", ":")) for one in records)
    DATA.write_text(f"[{text}]\n")
    print(f"{sum(len(one['configs']) for one in records)} configs, {len(records)} listings")


if __name__ == "__main__":
    main()
