"""Llama (Touvron et al. 2023; Grattafiori et al. 2024) and decoders of its build: Mistral (Jiang et
al. 2023), Qwen2 and Qwen3 (Yang et al. 2024, 2025), SmolLM2 (Allal et al. 2025).
"""

from __future__ import annotations

from collections.abc import Iterator

from heed.pretrained.family import Config, Family, Head, Values, required, unsupported
from heed.pretrained.mapping import Entry, linear, norm, tensor
from heed.pretrained.rotary import rotary_config, rotary_values

GATES = {
    "silu": "swiglu",
    "gelu": "geglu",
    "gelu_new": "geglu_tanh",
    "gelu_pytorch_tanh": "geglu_tanh",
}
"""The activation of their gates as ours; the last name of each is the one that is written."""
CLASSES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
SPAN_PREFIXES = dict.fromkeys(("llama", "qwen2", "qwen3"), "transformer")
USUAL_WINDOW = 4096


def values(config: Config) -> dict[str, object]:
    """The Transformer of a LlamaConfig, MistralConfig, Qwen2Config or Qwen3Config."""
    vocabulary, width, heads, inner, layers, longest = required(
        config,
        *("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size"),
        *("num_hidden_layers", "max_position_embeddings"),
    )
    gate = config.get("hidden_act", "silu")
    if gate not in GATES:
        raise unsupported("hidden_act", gate, " or ".join(GATES))
    return {
        "shape": "decoder",
        "vocabulary_size": vocabulary,
        "d_model": width,
        "n_heads": heads,
        "n_kv_heads": config.get("num_key_value_heads") or heads,
        "head_width": config.get("head_dim") or width // heads,
        "d_feed_forward": inner,
        "n_layers": layers,
        "max_length": longest,
        "norm": "rms_norm",
        "norm_position": "pre",
        "norm_epsilon": config.get("rms_norm_eps", 1e-6),
        "positions": "rotary",
        **rotary_values(config),
        "scale_embeddings": False,
        "activation": GATES[gate],
        **windows(config, layers),
        **biases(config),
        "qk_norm": config["model_type"] == "qwen3",
        "tie_embeddings": "all" if config.get("tie_word_embeddings", False) else "none",
        "dropout": 0.0,
        "attention_dropout": config.get("attention_dropout") or 0.0,
    }


def biases(config: Config) -> Config:
    """Which projections have a bias: all or none, in Qwen2 those to queries, keys and values."""
    kind = config["model_type"]
    attention, network = (bool(config.get(f"{part}_bias", False)) for part in ("attention", "mlp"))
    if kind == "llama":
        if attention != network:
            raise unsupported("attention_bias", attention, f"mlp_bias ({str(network).lower()})")
        return {"bias": network, "qkv_bias": None}
    if attention and kind == "qwen3":
        raise unsupported("attention_bias", True, "false")
    return {"bias": False, "qkv_bias": True if kind == "qwen2" else None}


def windows(config: Config, n_layers: int) -> Config:
    """Which layers see no further than a window, in which a token counts itself."""
    kind, window = config["model_type"], None
    if kind == "mistral":
        window = config.get("sliding_window", USUAL_WINDOW)
        local = list(range(n_layers))
        if config.get("layer_types") is not None:
            raise unsupported("layer_types", config["layer_types"], "null")
    elif kind != "llama" and config.get("use_sliding_window", False):
        window = config.get("sliding_window", USUAL_WINDOW)
        types = config.get("layer_types")
        first = config.get("max_window_layers", 28)
        local = [
            i
            for i in range(n_layers)
            if (i >= first if types is None else types[i] == "sliding_attention")
        ]
    if window is None or not local:
        return {"attention": "scaled_dot_product", "window": None, "global_layers": []}
    if window < 2:
        raise unsupported("sliding_window", window, "2 or more")
    everywhere = [i for i in range(n_layers) if i not in local]
    return {"attention": "windowed", "window": window - 1, "global_layers": everywhere}


def config(values: Values) -> Config:
    """The config of the plainest of these models that a Transformer is."""
    kind = model_type(values)
    written: Config = {
        "model_type": kind,
        "vocab_size": values["vocabulary_size"],
        "hidden_size": values["d_model"],
        "num_attention_heads": values["n_heads"],
        "num_key_value_heads": values["n_kv_heads"],
        "head_dim": values["head_width"],
        "intermediate_size": values["d_feed_forward"],
        "num_hidden_layers": values["n_layers"],
        "max_position_embeddings": values["max_length"],
        "rms_norm_eps": values["norm_epsilon"],
        **rotary_config(values),
        "hidden_act": {ours: theirs for theirs, ours in GATES.items()}[values["activation"]],
        "tie_word_embeddings": values["tie_embeddings"] != "none",
        "attention_dropout": values["attention_dropout"],
    }
    if kind == "llama":
        written.update(attention_bias=values["bias"], mlp_bias=values["bias"])
    window = values.get("window")
    if kind != "llama":
        written["sliding_window"] = None if window is None else window + 1
    if kind.startswith("qwen") and window is not None:
        everywhere, kinds = values["global_layers"], ("sliding_attention", "full_attention")
        written["use_sliding_window"] = True
        written["layer_types"] = [kinds[i in everywhere] for i in range(values["n_layers"])]
    return written


def model_type(values: Values) -> str:
    """What a config.json calls a Transformer of these values."""
    if values.get("qk_norm"):
        return "qwen3"
    if values.get("qkv_bias") and not values["bias"]:
        return "qwen2"
    return "llama" if values.get("window") is None else "mistral"


def entries(values: Values) -> Iterator[Entry]:
    """The tensors of a LlamaModel and its kin."""
    yield tensor("decoder.embeddings.tokens.weight", "embed_tokens.weight")
    heads, groups, width = (values[name] for name in ("n_heads", "n_kv_heads", "head_width"))
    rows = (heads * width, groups * width, groups * width)
    bias, qkv_bias = values["bias"], values.get("qkv_bias")
    for layer in range(values["n_layers"]):
        ours, theirs = f"decoder.layers.{layer}", f"layers.{layer}"
        names = [f"{theirs}.self_attn.{part}_proj" for part in "qkv"]
        fused, attention = f"{ours}.self_attention", f"{theirs}.self_attn"
        yield from linear(
            f"{fused}.qkv", *names, rows=rows, bias=bias if qkv_bias is None else qkv_bias
        )
        if values.get("qk_norm"):
            yield from norm(f"{fused}.query_norm", f"{attention}.q_norm", bias=False)
            yield from norm(f"{fused}.key_norm", f"{attention}.k_norm", bias=False)
        yield from linear(f"{fused}.output", f"{attention}.o_proj", bias=bias)
        gated = [f"{theirs}.mlp.{part}_proj" for part in ("gate", "up")]
        inner = values["d_feed_forward"]
        yield from linear(f"{ours}.feed_forward.input", *gated, rows=2 * (inner,), bias=bias)
        yield from linear(f"{ours}.feed_forward.output", f"{theirs}.mlp.down_proj", bias=bias)
        for residual, name in (
            ("self_attention_residual", "input_layernorm"),
            ("feed_forward_residual", "post_attention_layernorm"),
        ):
            yield from norm(f"{ours}.{residual}.norm", f"{theirs}.{name}", bias=False)
    yield from norm("decoder.norm", "norm", bias=False)


def vocabulary_entries(values: Values) -> Iterator[Entry]:
    """LlamaForCausalLM: its own only where it shares the embeddings with nobody."""
    if values["tie_embeddings"] == "none":
        yield from linear("output", "lm_head", bias=False)


def label_entries(values: Values) -> Iterator[Entry]:
    """LlamaForSequenceClassification: the last token."""
    yield from linear("output", "score", bias=False)


def span_entries(values: Values) -> Iterator[Entry]:
    """LlamaForQuestionAnswering."""
    yield from linear("output", "qa_outputs")


def template(config: Config) -> dict[str, list[str]]:
    """Llama and Mistral begin a text with bos; Qwen, and those with one token for both ends, with
    nothing.
    """
    kind, ends = config.get("model_type"), config.get("eos_token_id", 2)
    begins = config.get("bos_token_id", 1)
    if kind not in ("llama", "mistral") or begins == ends:
        return {"text": ["A"]}
    return {"text": ["bos", "A"], "pair": ["bos", "A", "sep", "B"]}


FAMILY = Family(
    name="llama",
    model_types=tuple(CLASSES),
    prefix="model",
    values=values,
    config=config,
    entries=entries,
    heads={
        "label": Head("LlamaForSequenceClassification", label_entries),
        "span": Head("LlamaForQuestionAnswering", span_entries, prefixes=SPAN_PREFIXES),
        "vocabulary": Head("LlamaForCausalLM", vocabulary_entries),
    },
    bare="LlamaModel",
    classes=CLASSES,
    template=template,
    pooling="last_unbiased",
    not_needed=("layers.*.self_attn.rotary_emb.inv_freq", "lm_head.", "score.", "qa_outputs."),
)
