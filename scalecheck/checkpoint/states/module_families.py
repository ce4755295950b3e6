"""The parameters of Hugging Face's classes, as tables. A family is added here; what transformers
itself lists is recorded by tests/record_module_orders.py."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Layers:
    """A list of layers named `path`, as many as the setting `count` says. Of `parameters`, those
    that end in `?first` exist in the first layer only."""

    path: str
    count: str
    parameters: tuple[str, ...]


Body = tuple[str | Layers, ...]
"""Templates of parameters' names in order. `a.{b,c}.{weight,bias?x}` stands for `a.b.weight`,
`a.b.bias?x`, `a.c.weight` and `a.c.bias?x`. A parameter that ends in `?x` exists where x is true,
one in `?!x` where x is false: a setting, or else whether the file has any parameter with `?x`."""


@dataclass(frozen=True)
class Family:
    """Classes of one model type.

    `settings` are the keys of config.json that decide which parameters exist, each with its value
    where the key is absent; a word is the key whose value it takes. `bodies` are the base model's
    parameters, more than one where versions of transformers order them differently. `classes` give
    each class's prefix to the body, then its head. `unlisted` are names that a file may have
    besides, with `*` for a number: buffers, and second names of tied parameters.
    """

    model_type: str
    settings: Mapping[str, bool | int | str]
    bodies: tuple[Body, ...]
    classes: Mapping[str, tuple[str, ...]]
    unlisted: frozenset[str] = frozenset()


TIED = "tie_word_embeddings"

_WB = "{weight,bias}"
_LM_HEAD = f"lm_head.weight?!{TIED}"
_SCORE = "score.weight"
_CLASSIFIER = f"classifier.{_WB}"
_ANSWERS = f"qa_outputs.{_WB}"

# Decoders whose modules are named as Llama's are.
_ATTENTION = "self_attn.{q,k,v,o}_proj.{weight,bias?attention_bias}"
_QK_NORMS = "self_attn.{q,k}_norm.weight"
_MLP = "mlp.{gate,up,down}_proj.weight"
_NORMS = "{input,post_attention}_layernorm.weight"
_FEEDFORWARD_NORMS = "{pre,post}_feedforward_layernorm.weight"

_HEADS = {
    "Model": ("",),
    "ForCausalLM": ("model.", _LM_HEAD),
    "ForSequenceClassification": ("model.", _SCORE),
}
_MORE_HEADS = _HEADS | {"ForTokenClassification": ("model.", f"score.{_WB}")}


def _decoder(
    model_type: str,
    start: str,
    layer: tuple[str, ...],
    norm: tuple[str, ...] = ("norm.weight",),
    heads: Mapping[str, tuple[str, ...]] = _MORE_HEADS,
    **settings: bool | int,
) -> Family:
    return Family(
        model_type,
        {"num_hidden_layers": 32, TIED: False} | settings,
        (("embed_tokens.weight", Layers("layers", "num_hidden_layers", layer), *norm),),
        {start + end: head for end, head in heads.items()},
        frozenset(("layers.*.self_attn.rotary_emb.inv_freq",)),
    )


_DECODERS = (
    _decoder(
        "llama",
        "Llama",
        (_ATTENTION, "mlp.{gate,up,down}_proj.{weight,bias?mlp_bias}", _NORMS),
        attention_bias=False,
        mlp_bias=False,
    ),
    _decoder("mistral", "Mistral", ("self_attn.{q,k,v,o}_proj.weight", _MLP, _NORMS)),
    _decoder(
        "qwen2",
        "Qwen2",
        (f"self_attn.{{q,k,v}}_proj.{_WB}", "self_attn.o_proj.weight", _MLP, _NORMS),
    ),
    _decoder("qwen3", "Qwen3", (_ATTENTION, _QK_NORMS, _MLP, _NORMS), attention_bias=False),
    _decoder(
        "gemma",
        "Gemma",
        (_ATTENTION, _MLP, _NORMS),
        num_hidden_layers=28,
        attention_bias=False,
        tie_word_embeddings=True,
    ),
    _decoder(
        "gemma2",
        "Gemma2",
        (_ATTENTION, _MLP, _NORMS, _FEEDFORWARD_NORMS),
        num_hidden_layers=26,
        attention_bias=False,
        tie_word_embeddings=True,
    ),
    _decoder(
        "gemma3_text",
        "Gemma3",
        (_ATTENTION, _QK_NORMS, _MLP, _NORMS, _FEEDFORWARD_NORMS),
        heads={"TextModel": ("",), "ForCausalLM": ("model.", _LM_HEAD)},
        num_hidden_layers=26,
        attention_bias=False,
        tie_word_embeddings=True,
    ),
    _decoder(
        "phi3",
        "Phi3",
        ("self_attn.{o,qkv}_proj.weight", "mlp.{gate_up,down}_proj.weight", _NORMS),
    ),
    _decoder("olmo", "Olmo", (_ATTENTION, _MLP), (), _HEADS, attention_bias=False),
    _decoder(
        "olmo2",
        "Olmo2",
        (_ATTENTION, _QK_NORMS, _MLP, "post_{attention,feedforward}_layernorm.weight"),
        heads=_HEADS,
        attention_bias=False,
    ),
)

_GPT_NEOX = Family(
    "gpt_neox",
    {"num_hidden_layers": 44, "attention_bias": True, TIED: False},
    (
        (
            "embed_in.weight",
            Layers(
                "layers",
                "num_hidden_layers",
                (
                    f"{{input,post_attention}}_layernorm.{_WB}",
                    "attention.{query_key_value,dense}.{weight,bias?attention_bias}",
                    f"mlp.dense_{{h_to_4h,4h_to_h}}.{_WB}",
                ),
            ),
            f"final_layer_norm.{_WB}",
        ),
    ),
    {
        "GPTNeoXModel": ("",),
        "GPTNeoXForCausalLM": ("gpt_neox.", f"embed_out.weight?!{TIED}"),
        "GPTNeoXForSequenceClassification": ("gpt_neox.", _SCORE),
        "GPTNeoXForTokenClassification": ("gpt_neox.", _CLASSIFIER),
        "GPTNeoXForQuestionAnswering": ("gpt_neox.", _ANSWERS),
    },
    frozenset(
        (
            "layers.*.attention.bias",
            "layers.*.attention.masked_bias",
            "layers.*.attention.rotary_emb.inv_freq",
        )
    ),
)

_GPT2 = Family(
    "gpt2",
    {"n_layer": 12, "add_cross_attention": False, TIED: True},
    (
        (
            "{wte,wpe}.weight",
            Layers(
                "h",
                "n_layer",
                (
                    f"ln_1.{_WB}",
                    f"attn.{{c_attn,c_proj}}.{_WB}",
                    f"ln_2.{_WB}",
                    f"crossattention.{{c_attn,q_attn,c_proj}}.{_WB}?add_cross_attention",
                    f"ln_cross_attn.{_WB}?add_cross_attention",
                    f"mlp.{{c_fc,c_proj}}.{_WB}",
                ),
            ),
            f"ln_f.{_WB}",
        ),
    ),
    {
        "GPT2Model": ("",),
        "GPT2LMHeadModel": ("transformer.", _LM_HEAD),
        "GPT2DoubleHeadsModel": (
            "transformer.",
            _LM_HEAD,
            f"multiple_choice_head.summary.{_WB}",
        ),
        "GPT2ForSequenceClassification": ("transformer.", _SCORE),
        "GPT2ForTokenClassification": ("transformer.", _CLASSIFIER),
        "GPT2ForQuestionAnswering": ("transformer.", _ANSWERS),
    },
    frozenset(("h.*.attn.bias", "h.*.attn.masked_bias")),
)

_BERT_LAYERS = Layers(
    "encoder.layer",
    "num_hidden_layers",
    (
        f"attention.self.{{query,key,value}}.{_WB}",
        f"attention.output.{{dense,LayerNorm}}.{_WB}",
        f"crossattention.self.{{query,key,value}}.{_WB}?add_cross_attention",
        f"crossattention.output.{{dense,LayerNorm}}.{_WB}?add_cross_attention",
        f"intermediate.dense.{_WB}",
        f"output.{{dense,LayerNorm}}.{_WB}",
    ),
)
_BERT_SETTINGS = {"num_hidden_layers": 12, "add_cross_attention": False, TIED: True}
_POOLER_IF_SAVED = f"pooler.dense.{_WB}?pooler"  # an argument of the class, which no config holds

_BERT_POOLER = f"bert.pooler.dense.{_WB}"
_BERT_LM_HEAD = (
    "cls.predictions.bias",
    f"cls.predictions.transform.{{dense,LayerNorm}}.{_WB}",
    f"cls.predictions.decoder.weight?!{TIED}",
    f"cls.predictions.decoder.bias?!{TIED}?own_bias",
)
_BERT = Family(
    "bert",
    _BERT_SETTINGS,
    (
        (
            "embeddings.{word,position,token_type}_embeddings.weight",
            f"embeddings.LayerNorm.{_WB}",
            _BERT_LAYERS,
        ),
    ),
    {
        "BertModel": ("", _POOLER_IF_SAVED),
        "BertForPreTraining": (
            "bert.",
            _BERT_POOLER,
            *_BERT_LM_HEAD,
            f"cls.seq_relationship.{_WB}",
        ),
        "BertLMHeadModel": ("bert.", *_BERT_LM_HEAD),
        "BertForMaskedLM": ("bert.", *_BERT_LM_HEAD),
        "BertForNextSentencePrediction": ("bert.", _BERT_POOLER, f"cls.seq_relationship.{_WB}"),
        "BertForSequenceClassification": ("bert.", _BERT_POOLER, _CLASSIFIER),
        "BertForMultipleChoice": ("bert.", _BERT_POOLER, _CLASSIFIER),
        "BertForTokenClassification": ("bert.", _CLASSIFIER),
        "BertForQuestionAnswering": ("bert.", _ANSWERS),
    },
    frozenset(("embeddings.position_ids",)),
)

_ROBERTA_LM_HEAD = (
    "lm_head.bias",
    f"lm_head.{{dense,layer_norm}}.{_WB}",
    f"lm_head.decoder.weight?!{TIED}",
    f"lm_head.decoder.bias?!{TIED}?own_bias",
)
_ROBERTA = Family(
    "roberta",
    _BERT_SETTINGS,
    (
        (  # transformers 4
            "embeddings.{word,position,token_type}_embeddings.weight",
            f"embeddings.LayerNorm.{_WB}",
            _BERT_LAYERS,
        ),
        (  # transformers 5
            "embeddings.{word,token_type}_embeddings.weight",
            f"embeddings.LayerNorm.{_WB}",
            "embeddings.position_embeddings.weight",
            _BERT_LAYERS,
        ),
    ),
    {
        "RobertaModel": ("", _POOLER_IF_SAVED),
        "RobertaForCausalLM": ("roberta.", *_ROBERTA_LM_HEAD),
        "RobertaForMaskedLM": ("roberta.", *_ROBERTA_LM_HEAD),
        "RobertaForSequenceClassification": (
            "roberta.",
            f"classifier.{{dense,out_proj}}.{_WB}",
        ),
        "RobertaForMultipleChoice": ("roberta.", f"roberta.pooler.dense.{_WB}", _CLASSIFIER),
        "RobertaForTokenClassification": ("roberta.", _CLASSIFIER),
        "RobertaForQuestionAnswering": ("roberta.", _ANSWERS),
    },
    frozenset(("embeddings.position_ids",)),
)

_DISTILBERT = Family(
    "distilbert",
    {"n_layers": 6, "sinusoidal_pos_embds": False, TIED: True},
    (
        (
            "embeddings.word_embeddings.weight",
            "embeddings.position_embeddings.weight?!sinusoidal_pos_embds",  # else not trained
            f"embeddings.LayerNorm.{_WB}",
            Layers(
                "transformer.layer",
                "n_layers",
                (
                    f"attention.{{q,k,v,out}}_lin.{_WB}",
                    f"sa_layer_norm.{_WB}",
                    f"ffn.{{lin1,lin2}}.{_WB}",
                    f"output_layer_norm.{_WB}",
                ),
            ),
        ),
    ),
    {
        "DistilBertModel": ("",),
        "DistilBertForMaskedLM": (
            "distilbert.",
            f"vocab_{{transform,layer_norm}}.{_WB}",
            f"vocab_projector.{{weight?!{TIED},bias}}",
        ),
        "DistilBertForSequenceClassification": (
            "distilbert.",
            f"pre_classifier.{_WB}",
            _CLASSIFIER,
        ),
        "DistilBertForMultipleChoice": ("distilbert.", f"pre_classifier.{_WB}", _CLASSIFIER),
        "DistilBertForTokenClassification": ("distilbert.", _CLASSIFIER),
        "DistilBertForQuestionAnswering": ("distilbert.", _ANSWERS),
    },
)

_OPT_NORM = f"{_WB}?layer_norm_elementwise_affine"
_OPT = Family(
    "opt",
    {
        "num_hidden_layers": 12,
        "do_layer_norm_before": True,
        "_remove_final_layer_norm": False,
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
        TIED: True,
    },
    (
        (
            "decoder.{embed_tokens,embed_positions}.weight",
            "decoder.{project_out,project_in}.weight?projected",
            f"decoder.final_layer_norm.{_OPT_NORM}?do_layer_norm_before?!_remove_final_layer_norm",
            Layers(
                "decoder.layers",
                "num_hidden_layers",
                (
                    "self_attn.{k,v,q,out}_proj.{weight,bias?enable_bias}",
                    f"self_attn_layer_norm.{_OPT_NORM}",
                    "{fc1,fc2}.{weight,bias?enable_bias}",
                    f"final_layer_norm.{_OPT_NORM}",
                ),
            ),
        ),
    ),
    {
        "OPTModel": ("",),
        "OPTForCausalLM": ("model.", _LM_HEAD),
        "OPTForSequenceClassification": ("model.", _SCORE),
        "OPTForQuestionAnswering": ("model.", _ANSWERS),
    },
)


def _t5_layer(number: int, attention: str) -> tuple[str, ...]:
    return f"layer.{number}.{attention}.{{q,k,v,o}}.weight", f"layer.{number}.layer_norm.weight"


def _t5_stack(name: str, count: str, *, crossed: bool) -> Body:
    self_attention, norm = _t5_layer(0, "SelfAttention")
    last = 2 if crossed else 1
    return (
        Layers(
            f"{name}.block",
            count,
            (
                self_attention,
                "layer.0.SelfAttention.relative_attention_bias.weight?first",
                norm,
                *(_t5_layer(1, "EncDecAttention") if crossed else ()),
                f"layer.{last}.DenseReluDense.wi.weight?!gated",
                f"layer.{last}.DenseReluDense.{{wi_0,wi_1}}.weight?gated",
                f"layer.{last}.DenseReluDense.wo.weight",
                f"layer.{last}.layer_norm.weight",
            ),
        ),
        f"{name}.final_layer_norm.weight",
    )


_T5_SETTINGS: Mapping[str, bool | int | str] = {
    "num_layers": 6,
    "num_decoder_layers": "num_layers",
    TIED: True,
}
_T5_ENCODER = ("shared.weight", *_t5_stack("encoder", "num_layers", crossed=False))
_T5_UNLISTED = frozenset(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"))
_T5 = (
    Family(
        "t5",
        _T5_SETTINGS,
        ((*_T5_ENCODER, *_t5_stack("decoder", "num_decoder_layers", crossed=True)),),
        {
            "T5Model": ("",),
            "T5ForConditionalGeneration": ("", _LM_HEAD),
            "T5ForQuestionAnswering": ("", _ANSWERS),
            "T5ForSequenceClassification": (
                "transformer.",
                f"classification_head.{{dense,out_proj}}.{_WB}",
            ),
        },
        _T5_UNLISTED,
    ),
    Family(
        "t5",
        _T5_SETTINGS,
        (_T5_ENCODER,),
        {"T5EncoderModel": ("",), "T5ForTokenClassification": ("transformer.", _CLASSIFIER)},
        _T5_UNLISTED,
    ),
)

_VIT_ATTENTION = (
    "attention.attention.{query,key,value}.{weight,bias?qkv_bias}",
    f"attention.output.dense.{_WB}",
)
_VIT_MLP = f"{{intermediate,output}}.dense.{_WB}"
_VIT_NORMS = f"layernorm_{{before,after}}.{_WB}"


def _vit(tokens: str, classes: Mapping[str, tuple[str, ...]]) -> Family:
    return Family(
        "vit",
        {"num_hidden_layers": 12, "qkv_bias": True},
        tuple(
            (
                f"embeddings.{tokens}",
                "embeddings.position_embeddings",
                f"embeddings.patch_embeddings.projection.{_WB}",
                Layers("encoder.layer", "num_hidden_layers", (*_VIT_ATTENTION, *rest)),
                f"layernorm.{_WB}",
            )
            for rest in (
                (_VIT_MLP, _VIT_NORMS),  # transformers 4
                (_VIT_NORMS, _VIT_MLP),  # transformers 5, which renames them in its files
            )
        ),
        classes,
    )


FAMILIES = (
    *_DECODERS,
    _GPT_NEOX,
    _GPT2,
    _BERT,
    _ROBERTA,
    _DISTILBERT,
    _OPT,
    *_T5,
    _vit(
        "cls_token",
        {
            "ViTModel": ("", _POOLER_IF_SAVED),
            "ViTForImageClassification": ("vit.", _CLASSIFIER),
        },
    ),
    _vit(
        "{cls_token,mask_token}",
        {"ViTForMaskedImageModeling": ("vit.", f"decoder.0.{_WB}")},
    ),
)
