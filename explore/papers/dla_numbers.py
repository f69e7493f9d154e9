"""What the LUT-DLA page computes: memory and time of dataflows, designs of given sizes, a placed decoder, a search."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from lutscape.explore import funnel, pareto
from lutscape.explore.papers import dla_published as published
from lutscape.explore.workload import FixedTrace
from lutscape.hw import spec as specs
from lutscape.hw import technology
from lutscape.hw.calibration import dla, tables
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import DATAFLOWS, METRICS, Codebook, LutDlaSpec
from lutscape.hw.memories import cells
from lutscape.models.recorder import Formats
from lutscape.models.trace import Trace
from lutscape.models.tracing import trace_model
from lutscape.sim.lut_dla import stage_timing
from lutscape.sim.lut_dla.dataflow import minimum_on_chip
from lutscape.sim.lut_dla.layers import Product, time_product
from lutscape.sim.simulate import simulate

Numbers = dict[str, Any]
LAYER = (512, 768, 768)
"""M, N, K of one projection of BERT-base on 512 tokens."""


def machine(name: str = "lut-dla", **changes: Any) -> LutDlaSpec:
    """Return a packaged machine with some fields set; ``__`` stands for a dot."""
    spec = specs.override(specs.load(name), {k.replace("__", "."): v for k, v in changes.items()})
    assert isinstance(spec, LutDlaSpec)
    return spec


def linear_layers(network: str, tokens: int) -> FixedTrace:
    """Return the trace of a network's matrix products alone."""
    trace = trace_model(network, tokens, 0, 1, Formats(activations="int8")).trace
    return FixedTrace.of(Trace(trace.header, trace.rows[trace.rows["kind"] == "linear"].reset_index(drop=True)))


def on_chip() -> list[Numbers]:
    """Return the least on-chip memory of every order for the layer, c = 32, v = 4, Tn = 32."""
    m, n, k = LAYER
    book, rows = Codebook(v=4, c=32, metric="l2"), []
    asked: list[tuple[str, str, int]] = [(d, "store", 8) for d in DATAFLOWS]
    asked += [("ls-n", "recompute", 8), ("ls-n", "recompute", 32)]
    for flow, indices, bits in asked:
        found = minimum_on_chip(flow, m, n, k, book, 32, bits, indices=indices)  # type: ignore[arg-type]
        rows.append({
            "dataflow": flow, "indices": indices if flow == "ls-n" else "", "sum_bits": bits,
            "sums_kib": found.sums_bytes / 1024, "index_kib": found.index_bytes / 1024,
            "table_kib": found.table_bytes / 1024, "total_kib": found.total_bytes / 1024,
        })  # fmt: skip
    return rows


def operations() -> list[Numbers]:
    """Return how many times fewer operations lookup takes than the product, for the layer."""
    m, n, k = (np.array([x]) for x in LAYER)
    work = funnel.Work(m, n, k, np.array([1]))
    rows = []
    for metric, (v, c) in itertools.product(METRICS, ((4, 16), (8, 16), (9, 16), (4, 32))):
        spec = machine(codebook__v=v, codebook__c=c, codebook__metric=metric)
        rows.append({"metric": metric, "v": v, "c": c, "fewer": 1 / funnel.operations(spec, work),
                     "table_bytes_per_weight_byte": c / v})  # fmt: skip
    return rows


def orders() -> list[Numbers]:
    """Return time and traffic of the layer in every order, on the packaged machine with room for it."""
    m, n, k = LAYER
    rows = []
    for flow, indices in [*((d, "store") for d in DATAFLOWS), ("ls-n", "recompute")]:
        spec = machine(dataflow=flow, indices=indices, imm__rows=1536)
        layer = time_product(spec, Product("layer", m, n, k, float(m * k), 2.0 * m * n))
        rows.append({
            "dataflow": flow, "indices": indices if flow == "ls-n" else "", "cycles": layer.cycles,
            "lookup": layer.lookup, "encode": layer.encode, "dram_bytes": layer.table_bytes + layer.activation_bytes
            + layer.centroid_bytes + layer.output_bytes, "table_loads": layer.table_loads,
            "encodings": layer.encodings,
        })  # fmt: skip
    return rows


def swap() -> list[Numbers]:
    """Return the bandwidth that hides the swap of tables by rows, and the share of time that waits at 25.6 GB/s."""
    rows = []
    for m in (1, 8, 64, 128, 256, 512):
        spec = machine(codebook__c=32, imm__lanes=256, imm__count=1, imm__rows=512, imm__fill_entries=256)
        bank = spec.codebook.c * spec.imm.lanes * spec.imm.table_bits / 8
        layer = time_product(spec, Product("layer", m, 768, 768))
        rows.append({
            "rows": m, "gb_s": bank * spec.clock_mhz * 1e6 / m * 1e-9, "waiting": layer.exposed / layer.cycles,
            "cycles": layer.cycles, "lookup": layer.lookup,
        })  # fmt: skip
    return rows


def trap() -> list[Numbers]:
    """Return the re-encoding trap: LS-N with Tn = 1 to 256, indices computed again, chains at the modules' clock."""
    m, n, k = LAYER
    rows = []
    for lanes in (1, 16, 64, 256):
        for indices in ("store", "recompute"):
            spec = machine(
                imm__lanes=lanes, imm__count=1, imm__fill_entries=lanes, indices=indices, imm__rows=512,
                ccm__clock_mhz=75, buffers__index_kib=64,
            )  # fmt: skip
            layer = time_product(spec, Product("layer", m, n, k))
            rows.append({
                "lanes": lanes, "indices": indices, "encoded": m * layer.subspaces * layer.encodings,
                "cycles": layer.cycles, "lookup": layer.lookup, "encode": layer.encode,
            })  # fmt: skip
    return rows


def units() -> list[Numbers]:
    """Return cost of a dPE by metric and width at 45 nm, 7 nm, and interpolated at 28 nm; v = 4, c = 16."""
    rows = []
    for name in ("45nm", "28nm", "7nm"):
        node = technology.load(name)
        for bits, metric in itertools.product((4, 8, 12, 16), METRICS):
            price = dla.dpe_price(Codebook(v=4, c=16, metric=metric, input_bits=bits), node)
            rows.append({
                "node": name, "volts": node.supply_v, "input_bits": bits, "metric": metric,
                "area_um2": price.area_um2, "energy_pj": price.energy_pj, "leakage_uw": price.leakage_uw,
                "grade": str(price.grade), "source": price.source,
            })  # fmt: skip
    return rows


def fits() -> list[Numbers]:
    """Return the errors of the fitted costs on designs that they had not seen."""
    rows = []
    for library in ("nangate45", "asap7"):
        for kind, found in dla.coefficients(library).items():
            rows.append({
                "library": library, "kind": kind,
                **{f"rms_{q}": float(e) for q, e in zip(tables.QUANTITIES, found.error, strict=True)},
                **{f"worst_{q}": float(e) for q, e in zip(tables.QUANTITIES, found.worst, strict=True)},
            })  # fmt: skip
    return rows


def checks(library: Numbers) -> list[Numbers]:
    """Return the machine model's area and energy beside whole synthesised units, Nangate45.

    Args:
        library: of ``units.json``.
    """
    node, rows = technology.load("45nm"), []
    node = node.model_copy(update={"supply_v": 1.1})  # the library's
    for row in library["rows"]:
        if row["kind"] != "dla_ccm":
            continue
        book = Codebook(v=row["v"], c=row["c"], metric=row["metric"], input_bits=row["input_bits"])
        element, store = dla.dpe_price(book, node), dla.codebook_price(book, node)
        rows.append({
            "what": f"CCM, {row['metric']}, v {row['v']}, INT{row['input_bits']}, c {row['c']}",
            "area_um2": row["area_um2"], "ours_um2": book.c * element.area_um2 + 2 * store.area_um2,
            "energy_pj": row["energy"]["gaussian"]["pj_per_cycle"], "ours_pj": book.c * element.energy_pj,
        })  # fmt: skip
    lane = library["summary"]["imm_lane"]
    if lane:
        bank = cells.register_file_area("nangate45", "enable-flip-flop", 16, 8, 1, 1)
        price = dla.lane_price(8, 32, node)
        rows.append({
            "what": "one lane of the IMM with two banks of flip-flops, c 16, INT8, sums of 32 bits",
            "area_um2": lane["area_um2"], "ours_um2": 2 * bank + price.area_um2,
            "energy_pj": None, "ours_pj": None,
        })  # fmt: skip
    return rows


def halut() -> Numbers:
    """Return our area of a decoder with the public one's parameters, part by part, Nangate45."""
    public, node = published.HALUT, technology.load("45nm")
    words = public["codebooks"] * public["entries"]
    latches = {style: cells.register_file_area("nangate45", style, words, 8, 1, 1) for style in ("latch", "flip-flop")}
    lane = dla.lane_price(8, 32, node)
    ours = latches["latch"] + lane.area_um2
    return {
        **public, "words": words, "latch_um2": latches["latch"], "flip_flop_um2": latches["flip-flop"],
        "lane_um2": lane.area_um2, "ours_um2": ours, "ratio": ours / public["area_um2"],
        "per_bit_public_um2": public["area_um2"] / public["bits"], "per_bit_ours_um2": ours / public["bits"],
    }  # fmt: skip


V, LANES, MODULES = (2, 3, 4, 6, 8), (64, 96, 128, 192, 256, 384, 512, 768), (1, 2, 4)


def designs() -> list[Numbers]:
    """Return, for each recalled size, every factorisation at 28 nm and 300 MHz, timed and priced on BERT-base."""
    trace = linear_layers("bert-base", 512)
    found = []
    for asked in published.DESIGNS:
        rows = []
        for v, lanes, count, bits, share in itertools.product(V, LANES, MODULES, (20, 32), ("columns", "rows")):
            if 2 * v * lanes * count == asked.operations_per_cycle and (count > 1 or share == "columns"):
                rows.append(priced(trace, v, lanes, count, bits, share=share))
        best = max(rows, key=lambda r: r["reached_gmac_s"] / r["area_mm2"])
        for row in rows:
            found.append({"size": asked.name, **row, "best": row is best})
    return found


def priced(
    trace: Trace, v: int, lanes: int, count: int, sum_bits: int, metric: str = "l2", share: str = "columns"
) -> Numbers:
    """Return one design of given size: area and power of the chip without DRAM, on the layers of a trace."""
    spec = machine(
        "lut-dla-small", codebook__v=v, codebook__metric=metric, imm__lanes=lanes, imm__count=count, imm__share=share,
        imm__accumulator_bits=sum_bits, imm__fill_entries=min(lanes, 64) if lanes % 64 == 0 else 32,
        ccm__ccus=count if share == "rows" else 1, dram__bandwidth_gb_s=51.2, vector_lanes=max(32, lanes // 8),
    )  # fmt: skip
    result, ppa = simulate(spec, trace)
    seconds, energy = result.total_seconds(), ppa.total_energy(result)
    chip = sum(joules for name, joules in energy.items() if name != "DRAM")
    macs = float((result.operators["macs"] * result.count).sum())
    area = ppa.metrics["area_mm2"].value
    peak = spec.peak_macs_per_second * 1e-9
    reached, chip_mw = macs / seconds * 1e-9, 1e3 * chip / seconds
    return {
        "v": v, "lanes": lanes, "modules": count, "share": share, "metric": metric, "sum_bits": sum_bits,
        "gmac_s": peak, "reached_gmac_s": reached, "area_mm2": area, "chip_mw": chip_mw,
        "dram_mw": 1e3 * energy["DRAM"] / seconds, "gmac_s_per_mm2": peak / area, "reached_per_mm2": reached / area,
        "gmac_s_per_mw": reached / chip_mw, "latency_ms": 1e3 * seconds,
        "parts": {name: q.value for name, q in ppa.area.items()},
        "energy_parts": {name: 1e3 * joules for name, joules in energy.items()},
    }  # fmt: skip


def metrics_at_size() -> list[Numbers]:
    """Return the middle size with each metric: what the distance costs a whole machine."""
    trace = linear_layers("bert-base", 512)
    return [priced(trace, 4, 256, 2, 20, metric) for metric in METRICS]


def search() -> Numbers | None:
    """Return what the packaged sweep's rules leave and which designs are not dominated; None without accuracies."""
    from lutscape.explore import space, sweep_file
    from lutscape.explore.evaluate import COMPLETE, evaluate

    plan = sweep_file.load("lut-dla")
    assert plan.file.funnel is not None
    work = plan.file.workload
    trace = FixedTrace.of(trace_model(
        str(work.model), work.prompt_tokens, work.decode_tokens, work.batch, Formats(activations=work.activations)
    ).trace)  # fmt: skip
    try:
        left = funnel.run(plan.file.funnel, plan.template, plan.file.parameters, trace)
    except UserError as error:
        return {"missing": str(error)}
    rows = []
    for index in left.chosen(min(plan.file.trials, 4000)):
        design = space.grid_point(plan.file.parameters, index)
        outcome = evaluate(plan.template, trace, design)
        if outcome.state == COMPLETE:
            rows.append({**design, **outcome.metrics})
    values = np.array([[row[name] for name in plan.file.objectives] for row in rows])
    front = [rows[i] for i in np.flatnonzero(pareto.non_dominated(values))]
    return {
        "designs": left.designs, "text": left.text(), "objectives": plan.file.objectives, "simulated": len(rows),
        "stages": [{"name": s.name, "entered": s.entered, "left": s.left, "example": s.example} for s in left.stages],
        "front": sorted(front, key=lambda r: float(r[plan.file.objectives[0]])),
    }  # fmt: skip


def stages() -> list[Numbers]:
    """Return stage latencies of the packaged machine, cycles of their own clock."""
    spec = machine()
    book, imm = spec.codebook, spec.imm
    rows = [
        ("chain: sub-vector to index", stage_timing.chain_latency(book, spec.ccm.dpe_stages), "CCM"),
        ("loading the centroids of a subspace", stage_timing.centroid_load_cycles(book), "CCM"),
        ("index through an empty FIFO, at most", stage_timing.fifo_latency(spec.synchroniser_stages), "IMM"),
        ("filling one bank of tables", stage_timing.fill_cycles(book, imm.lanes, imm.fill_entries), "IMM"),
        ("index to sum", stage_timing.LOOKUP_STAGES, "IMM"),
    ]
    return [{"what": what, "cycles": cycles, "clock": clock} for what, cycles, clock in rows]
