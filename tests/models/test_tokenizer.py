"""Byte-level BPE against a slow pure-Python twin; control tokens, SentencePiece, bad input."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw.errors import UserError
from lutscape.models.gguf_file import GgufFile
from lutscape.models.tokenizer import Tokenizer

SPACES = " \t\n\r\x0b\x0c\x85\xa0\u2003\u3000"


def split_gpt2(text: str) -> Iterator[str]:
    """Cut as GPT-2's pattern does, character by character."""
    i = 0
    while i < len(text):
        contraction = next((c for c in ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d") if text.startswith(c, i)), None)
        if contraction:
            yield contraction
            i += len(contraction)
            continue
        start = i + 1 if text[i] == " " and i + 1 < len(text) and text[i + 1] not in SPACES else i
        if text[start] in SPACES:
            end = i
            while end < len(text) and text[end] in SPACES:
                end += 1
            # \s+(?!\S): all but the last white space when something follows, if that leaves any.
            if end < len(text) and end - i > 1:
                end -= 1
        else:
            kind = category(text[start])
            end = start
            while end < len(text) and text[end] not in SPACES and category(text[end]) == kind:
                end += 1
        yield text[i:end]
        i = end


def category(character: str) -> str:
    first = unicodedata.category(character)[0]
    return first if first in "LN" else "other"


def split_smollm(text: str) -> Iterator[str]:
    """Single digits first, then GPT-2's pattern on what lies between."""
    rest = ""
    for character in text:
        if category(character) == "N":
            yield from split_gpt2(rest)
            yield character
            rest = ""
        else:
            rest += character
    yield from split_gpt2(rest)


def twin_encode(file: GgufFile, text: str) -> list[int]:
    """Merge the best-ranked pair until none is left."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    letter = [chr(b) if b in printable else chr(next(others)) for b in range(256)]
    ranks = {tuple(m.split(" ")): i for i, m in enumerate(file.key("tokenizer.ggml.merges"))}
    ids = {token: i for i, token in enumerate(file.key("tokenizer.ggml.tokens"))}
    out = []
    for piece in split_smollm(text):
        parts = [letter[b] for b in piece.encode()]
        while len(parts) > 1:
            pairs = list(itertools.pairwise(parts))
            best = min(range(len(pairs)), key=lambda i: ranks.get(pairs[i], 1 << 30))
            if pairs[best] not in ranks:
                break
            parts[best : best + 2] = ["".join(pairs[best])]
        out += [ids[p] for p in parts]
    return out


@pytest.fixture(scope="module")
def tiny(tiny_gguf: Path) -> tuple[GgufFile, Tokenizer]:
    file = GgufFile(tiny_gguf)
    return file, Tokenizer(file)


ALPHABET = "abehinortsT '\"12345²½,.!-_\n\t\r \u3000éßñΩя北京あ한😀€"


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.sampled_from(ALPHABET), max_size=40))
def test_equals_its_twin(tiny: tuple[GgufFile, Tokenizer], text: str) -> None:
    file, tokenizer = tiny
    ids = tokenizer.encode(text)
    assert ids == twin_encode(file, text)
    assert tokenizer.decode(ids) == text
    assert "".join(tokenizer.stream(ids)) == text


def test_control_tokens_may_be_written(tiny: tuple[GgufFile, Tokenizer]) -> None:
    _, tokenizer = tiny
    ids = tokenizer.encode("<|im_start|>the<|im_end|>")
    assert ids[0] == 1
    assert ids[-1] == 2
    assert tokenizer.decode(ids) == "<|im_start|>the<|im_end|>"
    assert tokenizer.decode(ids, control=False) == "the"
    assert tokenizer.stop == [0, 2]
    assert tokenizer.encode("a", add_bos=True)[0] == 1


def test_stream_waits_for_whole_characters(tiny: tuple[GgufFile, Tokenizer]) -> None:
    _, tokenizer = tiny
    ids = tokenizer.encode("é😀")
    assert list(tokenizer.stream(ids)) == ["é", "😀"]
    assert list(tokenizer.stream(ids[:-1])) == ["é", "�"]


def error_of(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        Tokenizer(GgufFile(path))
    return str(caught.value).replace(str(path), "FILE")


def test_unknown_pre_tokeniser(tmp_path: Path, write_gguf: Callable[..., Path]) -> None:
    message = error_of(write_gguf(tmp_path / "m.gguf", metadata={"tokenizer.ggml.pre": "smolm"}))
    start = "FILE: tokenizer.ggml.pre = 'smolm' is not supported (did you mean 'smollm'?); supported: gpt-2, "
    assert message.startswith(start)
    message = error_of(write_gguf(tmp_path / "m.gguf", omit=("tokenizer.ggml.pre",)))
    assert message == "FILE: metadata key 'tokenizer.ggml.pre' is missing"


def test_unknown_model(tmp_path: Path, write_gguf: Callable[..., Path]) -> None:
    message = error_of(write_gguf(tmp_path / "m.gguf", metadata={"tokenizer.ggml.model": "t5"}))
    assert message == "FILE: tokenizer.ggml.model = 't5' is not supported; supported: gpt2, llama"


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("gpt-2", "a 1234'll", ["a", " 1234", "'ll"]),
        ("smollm", "a 12'LL", ["a", " ", "1", "2", "'", "LL"]),
        ("llama-bpe", "a 1234'LL\n\nb", ["a", " ", "123", "4", "'LL", "\n\n", "b"]),
        ("qwen2", "a 12'LL!\nb", ["a", " ", "1", "2", "'LL", "!\n", "b"]),
    ],
)
def test_pre_tokenisers_cut(
    tmp_path: Path, write_gguf: Callable[..., Path], pre: str, text: str, pieces: list[str]
) -> None:
    path = write_gguf(tmp_path / "m.gguf", metadata={"tokenizer.ggml.pre": pre})
    backend = Tokenizer(GgufFile(path))._tokenizer
    cut = [text[slice(*span)] for _, span in backend.pre_tokenizer.pre_tokenize_str(text)]
    assert cut == pieces


def test_sentence_piece(tmp_path: Path) -> None:
    """Greedy merging by score, byte fallback, and the space in front."""
    import gguf

    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    pieces = {"▁": -9, "a": -9, "b": -9, "c": -9, "ab": -3, "bc": -2, "▁a": -4, "▁ab": -5, "abc": -6}
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_string("tokenizer.ggml.model", "llama")
    writer.add_token_list([*tokens, *pieces])
    writer.add_token_scores([0.0] * len(tokens) + [float(s) for s in pieces.values()])
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * len(pieces))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tokenizer = Tokenizer(GgufFile(tmp_path / "m.gguf"))
    names = [*tokens, *pieces]
    # bc (-2) before ab (-3): "▁abc" -> ▁ a bc -> ▁a bc; nothing joins those two.
    assert [names[i] for i in tokenizer.encode("abc")] == ["<s>", "▁a", "bc"]
    assert [names[i] for i in tokenizer.encode("ab é", add_bos=False)] == ["▁ab", "▁", "<0xC3>", "<0xA9>"]
    assert tokenizer.decode(tokenizer.encode("ab é", add_bos=False)) == "ab é"
    assert tokenizer.stop == [2]
