"""The Transformer (Vaswani et al. 2017) as encoder, decoder or encoder-decoder.

Legend: B batch, S source length, T target length, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from heed.backbone.block import NormPosition
from heed.backbone.cache import KeyValueCache
from heed.backbone.feed_forward import Activation
from heed.backbone.frequencies import RotaryScaling
from heed.backbone.initialization import initialize_embedding, initialize_stack, soften_output
from heed.backbone.layout import Padded
from heed.backbone.norms import NormKind
from heed.backbone.packed import (
    Layout,
    Segments,
    layout_of,
    longest,
    visible,
    visible_before,
)
from heed.backbone.parts import AttentionKind, KernelName, Parts, Positions
from heed.backbone.stack import Stack
from heed.backbone.validation import check_values
from heed.errors import UserError


class Transformer(nn.Module):
    """One backbone for every task; heads are added outside it.

    Args:
        shape: "encoder" (every position sees all), "decoder" (every position sees those before
            it) or "encoder_decoder" (a decoder that also sees an encoder's output).
        vocabulary_size: V of the source, and of the target unless it has its own.
        target_vocabulary_size: V of the target when the two sides have different tokenizers.
        d_model: D, the width of every position's vector.
        n_heads: Attention heads; divides `d_model`, unless `head_width` is given.
        n_kv_heads: Heads of keys and values; divides `n_heads`, whose queries share them in groups
            (Ainslie et al. 2023); None: as many as `n_heads`.
        head_width: Of one head; None: `d_model` / `n_heads`.
        d_feed_forward: Inner width of the feed-forward networks.
        n_layers: Blocks of the encoder, or of a decoder on its own.
        n_decoder_layers: Blocks of an encoder-decoder's decoder; None: as many as `n_layers`.
        max_length: Longest row in tokens. Learned positions end there; others may be longer.
        norm: "layer_norm" or "rms_norm".
        norm_position: "post" as in 2017, or, with a final norm after each stack, "pre", "sandwich"
            (around each sublayer), "parallel" (attention beside the feed-forward network) or
            "parallel_one_norm" (the same norm for both).
        norm_epsilon: Added to the variance by each norm.
        first_norm: Whether the first sublayer of a pre-norm stack normalises what goes into it;
            false where normalised embeddings make it needless (as in ModernBERT).
        embedding_norm: Whether the embeddings are normalised (as in BERT and BART).
        n_segments: Texts of a row that have a vector each, added to those of their tokens (Devlin
            et al. 2019, section 3.2); 0: none.
        positions: "sinusoidal", "sinusoidal_halves" (all sines before all cosines, as in Marian),
            "learned", "rotary", "alibi" or "relative" (T5's buckets).
        rotary_base: Wavelengths of rotary positions grow up to 2 pi times this.
        local_rotary_base: The same for layers with a window; None: as `rotary_base`.
        rotary_share: Share of each head's dimensions that turn.
        rotary_scaling: "none", "linear", "ntk" or "llama3": see `scaled_frequencies`.
        rotary_factor: How many times as long rows may be as those trained on.
        rotary_original_length: Of the rows that the model was first trained on.
        relative_buckets: Buckets of distances.
        relative_max_distance: Distances from here on share a bucket.
        scale_embeddings: Whether token vectors are multiplied by sqrt(D) (2017, section 3.4);
            None: with sinusoidal positions only.
        activation: "relu", "gelu", "gelu_tanh", "silu"; with a gate "swiglu", "geglu" or
            "geglu_tanh".
        attention: "scaled_dot_product", "windowed" (Beltagy et al. 2020) or "additive" (Bahdanau et
            al. 2015).
        window: How far windowed self attention sees: to each side, in a decoder to the left.
        global_layers: Numbers of the layers, from 0, whose attention has no window.
        kernel: How scaled dot products are computed; "auto": the fastest for the device.
        attention_soft_cap: Bound of the attention scores; None for none.
        logit_soft_cap: Bound of a vocabulary head's logits; None for none.
        logit_scale: Factor of a vocabulary head's logits: D^-0.5 in T5 (Raffel et al. 2020).
        logit_bias: Whether a vocabulary head has a bias.
        qk_norm: Whether queries and keys are normalised.
        bias: Whether projections and layer norms have one.
        qkv_bias: Whether the projections to queries, keys and values have one; None: as `bias`.
        tie_embeddings: "all": source, target and output share one table; "inputs": source and
            target do; "decoder": target and output do; "none": each has its own.
        gradient_checkpointing: Whether training keeps little of each block and computes the rest
            again (Chen et al. 2016): less memory, more time, the same numbers.
        dropout: Probability of dropping an element of a sublayer's output (2017, section 5.4).
        attention_dropout: Of dropping an attention weight.
        activation_dropout: Of dropping an inner activation of a feed-forward network.
        embedding_dropout: Of dropping an element of the embeddings; None: as `dropout`.
        layer_dropout: That a row skips a block.

    Raises:
        UserError: If a value is out of its range or two do not fit together.
    """

    def __init__(
        self,
        *,
        shape: Literal["encoder", "decoder", "encoder_decoder"],
        vocabulary_size: int,
        target_vocabulary_size: int | None = None,
        d_model: int = 512,
        n_heads: int = 8,
        n_kv_heads: int | None = None,
        head_width: int | None = None,
        d_feed_forward: int = 2048,
        n_layers: int = 6,
        n_decoder_layers: int | None = None,
        max_length: int = 1024,
        norm: NormKind = "layer_norm",
        norm_position: NormPosition = "post",
        norm_epsilon: float = 1e-5,
        first_norm: bool = True,
        embedding_norm: bool = False,
        n_segments: int = 0,
        positions: Positions = "sinusoidal",
        rotary_base: float = 10000.0,
        local_rotary_base: float | None = None,
        rotary_share: float = 1.0,
        rotary_scaling: RotaryScaling = "none",
        rotary_factor: float = 1.0,
        rotary_original_length: int = 8192,
        relative_buckets: int = 32,
        relative_max_distance: int = 128,
        scale_embeddings: bool | None = None,
        activation: Activation = "relu",
        attention: AttentionKind = "scaled_dot_product",
        window: int | None = None,
        global_layers: Sequence[int] = (),
        kernel: KernelName = "auto",
        attention_soft_cap: float | None = None,
        logit_soft_cap: float | None = None,
        logit_scale: float = 1.0,
        logit_bias: bool = False,
        qk_norm: bool = False,
        bias: bool = True,
        qkv_bias: bool | None = None,
        tie_embeddings: Literal["all", "inputs", "decoder", "none"] = "all",
        gradient_checkpointing: bool = False,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        embedding_dropout: float | None = None,
        layer_dropout: float = 0.0,
    ) -> None:
        check_values(locals())
        parts = Parts.of(locals())
        super().__init__()
        self.shape = shape
        self.d_model = d_model
        self.n_heads = n_heads
        self.max_length = max_length
        self.vocabulary_size = vocabulary_size
        self.target_vocabulary_size = target_vocabulary_size or vocabulary_size
        self.tie_embeddings = tie_embeddings
        self.logit_soft_cap = logit_soft_cap
        self.norm_epsilon = norm_epsilon
        self.logit_scale = logit_scale
        self.logit_bias = logit_bias
        self.bias = bias
        self._build(parts, n_layers, n_decoder_layers or n_layers)

    def _build(self, parts: Parts, n_layers: int, n_decoder_layers: int) -> None:
        tokens = self._new_table(self.vocabulary_size)
        self.encoder: Stack | None = None
        self.decoder: Stack | None = None
        if self.shape == "decoder":
            self.decoder = parts.build_stack(tokens, n_layers, causal=True)
        else:
            self.encoder = parts.build_stack(tokens, n_layers, causal=False)
        if self.shape == "encoder_decoder":
            if self.tie_embeddings not in ("all", "inputs"):
                tokens = self._new_table(self.target_vocabulary_size)
            self.decoder = parts.build_stack(tokens, n_decoder_layers, causal=True, cross=True)
        for stack in (self.encoder, self.decoder):
            if stack is not None:
                initialize_stack(stack, pre_norm=parts.norm_position != "post")
        if self.decoder is not None and self.output_embedding is not None:
            soften_output(self.decoder, self.d_model)

    def _new_table(self, vocabulary_size: int) -> nn.Embedding:
        table = nn.Embedding(vocabulary_size, self.d_model)
        initialize_embedding(table)
        return table

    @property
    def output_embedding(self) -> nn.Parameter | None:
        """(V, D) the weight that a vocabulary head shares; None when it shall have its own."""
        if self.tie_embeddings in ("inputs", "none"):
            return None
        stack = self.encoder if self.decoder is None else self.decoder
        assert stack is not None
        weight = stack.embeddings.tokens.weight
        assert isinstance(weight, nn.Parameter)
        return weight

    def new_cache(self) -> KeyValueCache:
        """An empty cache for `decode`."""
        assert self.decoder is not None, f"model.shape={self.shape} has no decoder"
        return KeyValueCache(n_layers=len(self.decoder.layers))

    def encode(
        self, ids: Tensor, layout: Layout | None = None, segments: Tensor | None = None
    ) -> Tensor:
        """Read the source.

        Args:
            ids: (B, S) long.
            layout: Which positions hold tokens; None: all. Packed: B is 1.
            segments: (B, S) long, which text of its row each token belongs to, from 0; None: all to
                the first. Not looked at with `n_segments=0`.

        Returns:
            (B, S, D), arbitrary where there is padding.

        Raises:
            UserError: If a row is longer than the learned positions.
        """
        assert self.encoder is not None, f"model.shape={self.shape} has no encoder"
        layout = layout_of(ids, layout)
        mask = visible(layout, layout)
        return self.encoder(
            ids, layout.positions(), width=longest(layout), mask=mask, segments=segments
        )

    def decode(
        self,
        ids: Tensor,
        layout: Layout | None = None,
        memory: Tensor | None = None,
        memory_layout: Layout | None = None,
        cache: KeyValueCache | None = None,
        prefix: Padded | None = None,
    ) -> Tensor:
        """Read the target; position t sees 0..t of it, and all of the memory.

        Args:
            ids: (B, T) long; with a cache, the tokens that follow those it holds.
            layout: Which positions hold tokens; None: all. Packed: B is 1.
            memory: (B, S, D) the encoder's output. Not needed once a cache has seen it.
            memory_layout: Which of its positions hold tokens; None: all. Packed if `layout` is.
            cache: Filled with keys and values, and used in place of earlier tokens; not with packed
                rows.
            prefix: Layout of the first tokens of each row, which all see each other: a prefix LM
                (Raffel et al. 2020, section 3.2.1). With a cache, only while that is empty; not
                with packed rows. None: position t sees 0..t, whatever it holds.

        Returns:
            (B, T, D), arbitrary where there is padding.

        Raises:
            UserError: If a row is longer than the learned positions.
        """
        assert self.decoder is not None, f"model.shape={self.shape} has no decoder"
        layout = layout_of(ids, layout)
        memory_mask = None
        if memory_layout is not None and (cache is None or cache.length == 0):
            memory_mask = visible(layout, memory_layout)
        if cache is None:
            return self.decoder(
                ids,
                layout.positions(),
                width=longest(layout),
                mask=visible_before(layout, prefix),
                causal=prefix is None,
                memory=memory,
                memory_mask=memory_mask,
            )
        assert isinstance(layout, Padded), "packed rows have no cache"
        assert not isinstance(memory_mask, Segments)
        if cache.length == 0:
            cache.memory_mask = memory_mask
        positions, mask, width = cache.extend(layout, prefix)
        return self.decoder(
            ids,
            positions,
            width=width,
            mask=mask,
            memory=memory,
            memory_mask=cache.memory_mask,
            cache=cache,
        )

    def features(
        self, ids: Tensor, layout: Layout | None = None, segments: Tensor | None = None
    ) -> Tensor:
        """One vector a position, for a head that labels a text or finds a span in it.

        An encoder encodes; a decoder reads causally, so its last token has seen the most; an
        encoder-decoder reads the text on both sides, as BART does (Lewis et al. 2020, section 3.1).

        Args:
            ids: (B, S) long.
            layout: Which positions hold tokens; None: all. Packed: B is 1.
            segments: (B, S) long, as for `encode`; decoders do not look at them.

        Returns:
            (B, S, D).

        Raises:
            UserError: If the two sides have different vocabularies, or a row is too long.
        """
        if self.shape == "encoder":
            return self.encode(ids, layout, segments)
        if self.shape == "decoder":
            return self.decode(ids, layout)
        if self.target_vocabulary_size != self.vocabulary_size:
            raise UserError(
                "model.shape=encoder_decoder must have one vocabulary to label a text, but the "
                f"source has {self.vocabulary_size} tokens and the target "
                f"{self.target_vocabulary_size}",
                "use tokenizer.joint=true or model.shape=encoder",
            )
        return self.decode(ids, layout, self.encode(ids, layout, segments), layout)
