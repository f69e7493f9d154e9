"""What fits: words of ROM per tensor, and SRAM between adapter and KV cache.

Symbols: N x K a linear layer; g weights per ROM word; P words per group (planes); L L-Units that share a layer, all of
them (``placement: spread``) or those of one block (``layers``).

    words of a layer in each L-Unit     ⌈N ⌈K/g⌉ / L⌉ P
    adapter of a layer                  rank (N + K) bits / 8 bytes; routers of experts are FP16 and beside it
    KV cache of a token                 2 layers kv_heads head_dim bytes (FP8)
    context                             ⌊(SRAM - adapters) / KV cache of a token⌋
"""

from __future__ import annotations

from dataclasses import dataclass

from lutscape.hw.errors import UserError
from lutscape.hw.formats.storage import WeightFormat, kv_bytes
from lutscape.hw.machines.roma import RomaSpec
from lutscape.models.shape import ModelShape

EXPERT_LAYERS = ("gate", "up", "down")
HEAD, ROUTER = "lm_head", "router"


@dataclass(frozen=True)
class Sram:
    """How the SRAM of all chips is used.

    Attributes:
        total: bytes.
        adapter: bytes, the router of a mixture of experts included.
        token: bytes of one token's keys and values.
    """

    total: int
    adapter: int
    token: int

    @property
    def tokens(self) -> int:
        """Tokens that fit beside the adapter."""
        return max(0, self.total - self.adapter) // self.token


def layers(shape: ModelShape) -> dict[str, tuple[int, int, int]]:
    """Return (N, K, how many in the model) of every linear layer by role, the output projection included."""
    found = {}
    for role, (n, k) in shape.linear_shapes.items():
        each = shape.experts if shape.experts and role in EXPERT_LAYERS else 1
        found[role] = (n, k, shape.layers * each)
    found[HEAD] = (shape.vocab, shape.hidden, 1)
    return found


def sharing(spec: RomaSpec, blocks: int) -> int:
    """Return the L-Units that share one layer.

    Raises:
        UserError: fewer L-Units than blocks.
    """
    if spec.placement == "spread":
        return spec.l_units
    if spec.l_units < blocks:
        raise UserError(
            f"{spec.name}: placement = 'layers' with {spec.l_units} L-Units cannot hold {blocks} blocks; "
            "use placement 'spread' or more L-Units"
        )
    return spec.l_units // blocks


def words(spec: RomaSpec, n: int, k: int, weight_bits: int, shared_by: int) -> int:
    """Return the ROM words of an N x K layer in each of the L-Units that share it."""
    return -(-n * -(-k // spec.l_unit.group) // shared_by) * spec.planes(weight_bits)


def check_format(spec: RomaSpec, weight: WeightFormat, place: str) -> int:
    """Return the bits of a weight, or refuse a format that the ROM's words cannot hold.

    Args:
        spec: the machine.
        weight: as the trace counts it.
        place: names the operator in the error.

    Raises:
        UserError: floating point or GGUF blocks, scales of fewer weights than a word, a ternary machine given wider
            weights.
    """
    unit = spec.l_unit
    if not weight.element.weight_bits or weight.element.kind == "block":
        raise UserError(
            f"{spec.name}: {place} has {weight.name} weights, which ROM words of {unit.group} integers with one scale "
            f"do not hold; count them as int{2 * unit.plane_bits}-g{unit.group} or int{unit.plane_bits}-g{unit.group}"
        )
    if unit.encoding == "ternary" and weight.element.weight_bits > 2:
        raise UserError(
            f"{spec.name}: {place} has {weight.name} weights; l_unit.encoding = 'ternary' holds ternary only"
        )
    if weight.group is not None and weight.group > 0 and weight.group % unit.group:
        raise UserError(
            f"{spec.name}: {place} has {weight.name} weights: a scale for {weight.group} of them, where a word has one "
            f"for l_unit.group = {unit.group}; allowed: multiples of {unit.group}"
        )
    return weight.element.weight_bits


def rom_words(spec: RomaSpec, shape: ModelShape, bits: dict[str, int]) -> dict[str, int]:
    """Return the ROM words that each role of a model takes in the L-Unit with the most.

    Args:
        spec: the machine.
        shape: the model.
        bits: weight bits by role; roles that are absent are not in ROM.
    """
    shared_by, blocks = sharing(spec, shape.layers), 1 if spec.placement == "layers" else shape.layers
    found = {}
    for role, (n, k, count) in layers(shape).items():
        if role not in bits:
            continue
        per_block = 1 if role == HEAD else count // shape.layers * blocks
        found[role] = words(spec, n, k, bits[role], spec.l_units if role == HEAD else shared_by) * per_block
    return found


def check_rom(spec: RomaSpec, shape: ModelShape, bits: dict[str, int]) -> int:
    """Return the words used, or refuse a model that the ROM does not hold.

    Raises:
        UserError: with what it needs and what there is.
    """
    used = sum(rom_words(spec, shape, bits).values())
    if used > spec.l_unit.rom_words:
        need = used * spec.l_unit.word_bits * spec.l_units / 8e9
        raise UserError(
            f"{spec.name}: l_unit.rom_words = {spec.l_unit.rom_words} holds {spec.rom_bits / 8e9:.4g} GB; {shape.name} "
            f"needs {used} words ({need:.4g} GB)"
        )
    return used


def adapter_bytes(spec: RomaSpec, shape: ModelShape) -> int:
    """Return the bytes of the adapters of all target layers."""
    return sum(
        -(-spec.lora.rank * (n + k) * spec.lora.bits // 8) * count
        for role, (n, k, count) in layers(shape).items()
        if role in spec.lora.projections
    )


def router_bytes(shape: ModelShape) -> int:
    """Return the bytes of the routers of a mixture of experts, which stay FP16 in SRAM."""
    return 2 * shape.layers * shape.experts * shape.hidden


def token_bytes(shape: ModelShape, kv_format: str) -> int:
    """Return the bytes of one token's keys and values in all blocks."""
    return shape.layers * kv_bytes(1, shape.kv_heads, shape.head_dim, kv_format)


def sram(spec: RomaSpec, shape: ModelShape, kv_format: str = "fp8_e4m3") -> Sram:
    """Return the split of the SRAM for a model."""
    held = adapter_bytes(spec, shape) + router_bytes(shape)
    return Sram(spec.sram_bytes, held, token_bytes(shape, kv_format))


def check_sram(spec: RomaSpec, shape: ModelShape, kv_format: str, tokens: int, sequences: int) -> Sram:
    """Return the split, or refuse a workload that fits neither SRAM nor DRAM.

    Raises:
        UserError: with what fits.
    """
    split = sram(spec, shape, kv_format)
    if split.adapter > split.total:
        raise UserError(
            f"{spec.name}: the adapter of rank {spec.lora.rank} takes {split.adapter / 2**20:.4g} MiB of "
            f"{split.total / 2**20:.4g} MiB of SRAM; lower lora.rank or raise h_unit.sram_kib"
        )
    if spec.dram is None and (split.tokens < tokens * sequences or not split.tokens):
        raise UserError(
            f"{spec.name}: {tokens * sequences} tokens of context take more than the SRAM: {split.tokens} fit beside "
            f"an adapter of rank {spec.lora.rank} ({split.total / 2**20:.4g} MiB, {split.token} bytes a token)"
        )
    return split
