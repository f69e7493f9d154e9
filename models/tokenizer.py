"""Text to token ids and back, from the metadata of a GGUF file alone.

Byte-level BPE (``tokenizer.ggml.model = gpt2``) with the pre-tokeniser that ``tokenizer.ggml.pre``
names. Patterns: llama.cpp, src/llama-vocab.cpp (``llm_tokenizer_bpe``). SentencePiece vocabularies
(``llama``) hold no merges: any two pieces whose concatenation is a piece may merge, best score first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lutscape.hw.errors import UserError, nearest
from lutscape.models.gguf_file import GgufFile

_CONTRACTIONS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _TAIL
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _TAIL


@dataclass(frozen=True)
class _Splits:
    """How text is cut before merging: patterns applied one after the other.

    Attributes:
        patterns: every match, and what lies between matches, becomes a piece.
        ignore_merges: a piece that is in the vocabulary is not merged up from bytes.
    """

    patterns: tuple[str, ...]
    ignore_merges: bool = False


_DIGIT_GPT2 = _Splits((r"\p{N}", _GPT2))
PRE_TOKENISERS: dict[str, _Splits] = {
    "gpt-2": _Splits((_GPT2,)),
    "phi-2": _Splits((_GPT2,)),
    "smollm": _DIGIT_GPT2,
    "starcoder": _DIGIT_GPT2,
    "refact": _DIGIT_GPT2,
    "command-r": _DIGIT_GPT2,
    "llama-bpe": _Splits((_LLAMA3,), ignore_merges=True),
    "llama3": _Splits((_LLAMA3,), ignore_merges=True),
    "llama-v3": _Splits((_LLAMA3,), ignore_merges=True),
    "dbrx": _Splits((_LLAMA3,)),
    "smaug-bpe": _Splits((_LLAMA3,)),
    "qwen2": _Splits((_QWEN2,)),
    "deepseek-r1-qwen": _Splits((_QWEN2,)),
    "stablelm2": _Splits((_QWEN2,)),
}
_CONTROL, _USER_DEFINED = 3, 4
_SPACE = "▁"


class Tokenizer:
    """Encoder and decoder of one model.

    Attributes:
        bos: id that begins a text, or None.
        eos: id that ends a text, or None.
        add_bos: whether :meth:`encode` puts ``bos`` first.
        stop: ids that end a generated text.

    Args:
        file: the GGUF file.

    Raises:
        UserError: metadata missing, or a tokenizer that is not supported.
    """

    def __init__(self, file: GgufFile) -> None:
        model = str(file.key("tokenizer.ggml.model"))
        self._tokens: list[str] = file.key("tokenizer.ggml.tokens")
        if model == "gpt2":
            self._tokenizer = _byte_level(file, self._tokens)
        elif model == "llama":
            self._tokenizer = _sentence_piece(file, self._tokens)
        else:
            raise UserError(f"{file.path}: tokenizer.ggml.model = {model!r} is not supported; supported: gpt2, llama")
        self.bos: int | None = file.key("tokenizer.ggml.bos_token_id", -1)
        self.eos: int | None = file.key("tokenizer.ggml.eos_token_id", -1)
        self.bos = None if self.bos == -1 else self.bos
        self.eos = None if self.eos == -1 else self.eos
        begins = model == "llama" or file.key("tokenizer.ggml.pre", "") in ("llama-bpe", "llama3", "llama-v3")
        self.add_bos = bool(file.key("tokenizer.ggml.add_bos_token", begins)) and self.bos is not None
        names = {"<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "</s>"}
        types = file.key("tokenizer.ggml.token_type", ())
        self.stop = [i for i, kind in enumerate(types) if kind == _CONTROL and self._tokens[i] in names]
        if self.eos is not None and self.eos not in self.stop:
            self.stop.append(self.eos)

    @property
    def size(self) -> int:
        """Number of tokens in the vocabulary."""
        return len(self._tokens)

    def encode(self, text: str, add_bos: bool | None = None) -> list[int]:
        """Return the ids of a text; control tokens such as ``<|im_start|>`` may be written in it.

        Args:
            text: any text.
            add_bos: put the begin token first; None = as the file says.
        """
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        if self.add_bos if add_bos is None else add_bos:
            if self.bos is None:
                raise UserError("this tokenizer has no begin token")
            return [self.bos, *ids]
        return ids

    def decode(self, ids: Sequence[int], control: bool = True) -> str:
        """Return the text of ids; broken UTF-8 becomes U+FFFD; ``control`` writes control tokens too."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=not control)
        return text

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Yield the text of each id as soon as it is complete UTF-8."""
        pending: list[int] = []
        for token in ids:
            pending.append(token)
            text = self.decode(pending)
            if not text.endswith("�") or len(pending) > 8:
                yield text
                pending = []
        if pending:
            yield self.decode(pending)


def _byte_level(file: GgufFile, tokens: list[str]) -> Any:
    from tokenizers import Regex, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Backend

    pre = str(file.key("tokenizer.ggml.pre"))
    if pre not in PRE_TOKENISERS:
        raise UserError(
            f"{file.path}: tokenizer.ggml.pre = {pre!r} is not supported{nearest(pre, PRE_TOKENISERS)}; "
            f"supported: {', '.join(PRE_TOKENISERS)}"
        )
    splits = PRE_TOKENISERS[pre]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merges = [tuple(m.split(" ", 1)) for m in file.key("tokenizer.ggml.merges")]
    model = _build_bpe(file, models.BPE, vocab=vocabulary, merges=merges, ignore_merges=splits.ignore_merges)
    backend = Backend(model)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(p), behavior="isolated") for p in splits.patterns),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    _add_control_tokens(file, backend, tokens)
    return backend


def _sentence_piece(file: GgufFile, tokens: list[str]) -> Any:
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers

    scores = file.key("tokenizer.ggml.scores")
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merges: list[tuple[float, int, int, int]] = []
    for i, token in enumerate(tokens):
        for cut in range(1, len(token)):
            left, right = vocabulary.get(token[:cut]), vocabulary.get(token[cut:])
            if left is not None and right is not None:
                merges.append((-float(scores[i]), i, left, right))
    merges.sort()
    model = _build_bpe(
        file,
        models.BPE,
        vocab=vocabulary,
        merges=[(tokens[left], tokens[right]) for _, _, left, right in merges],
        unk_token=tokens[int(file.key("tokenizer.ggml.unknown_token_id", 0))],
        fuse_unk=True,
        byte_fallback=True,
    )
    backend = Backend(model)
    prefix = bool(file.key("tokenizer.ggml.add_space_prefix", True))
    steps = [normalizers.Replace(" ", _SPACE)]
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), *steps] if prefix else steps)
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    _add_control_tokens(file, backend, tokens)
    return backend


def _build_bpe(file: GgufFile, kind: Any, **arguments: Any) -> Any:
    try:
        return kind(**arguments)
    except Exception as error:  # the Rust library raises plain Exception
        raise UserError(f"{file.path}: damaged vocabulary: {str(error).splitlines()[0]}") from None


def _add_control_tokens(file: GgufFile, backend: Any, tokens: list[str]) -> None:
    from tokenizers import AddedToken

    types = file.key("tokenizer.ggml.token_type", ())
    for kind, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        chosen = [AddedToken(tokens[i], special=special, normalized=False) for i, t in enumerate(types) if t == kind]
        backend.add_special_tokens(chosen) if special else backend.add_tokens(chosen)
