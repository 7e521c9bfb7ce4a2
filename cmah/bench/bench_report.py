"""The numbers of a benchmark for people and machines: a table, the rules beneath it, a picture, a JSON record."""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

import cmah
from cmah.bench.kernel_choice import vector_features
from cmah.bench.measuring import Case, Settings
from cmah.files import atomic_path, require_replaceable

_COLUMNS = (  # heading, width
    ("bits", 5), ("n", 11), ("k", 5), ("queries", 8), ("a query", 10), ("quartiles", 20), ("10^9/s", 8),
    ("bytes", 7), ("kernel", 10), ("compute", 9), ("memory", 7),
)  # fmt: skip


def machine() -> dict[str, Any]:
    """What the numbers depend on: the processor and the versions of what is installed.

    Examples:
        >>> sorted(machine()["versions"])
        ['cmah', 'faiss', 'numba', 'numpy', 'python', 'usearch']
    """
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        described = ""
    model = re.search(r"^model name\s*:\s*(.+)$", described, re.MULTILINE)
    versions = {"python": platform.python_version(), "cmah": cmah.__version__, "numpy": np.__version__}
    for name in ("numba", "faiss", "usearch"):
        try:
            versions[name] = str(import_module(name).__version__)
        except ImportError:
            versions[name] = "not installed"
    options = ""
    if versions["faiss"] != "not installed":
        options = str(import_module("faiss").get_compile_options()).strip()
    return {
        "processor": model.group(1).strip() if model else platform.processor() or platform.machine(),
        "vector_popcount": "avx512_vpopcntdq" in described.split(),
        "vector_features": vector_features(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "versions": versions,
        "faiss_options": options,
    }


def heading(peers: Sequence[str]) -> str:
    """The header line of the table, with a column for each peer.

    Examples:
        >>> print(heading(["faiss"]))
        bits  n  k  queries  a query  quartiles  10^9/s  bytes  kernel  compute  memory  faiss ÷ ours
    """
    columns = [*_COLUMNS, *((f"{name} ÷ ours", len(name) + 9) for name in peers)]
    return "".join(name.rjust(width) for name, width in columns)


def line(case: Case, peers: Sequence[str]) -> str:
    """The line of a case in the table; a star marks the lower one of its two ceilings.

    Examples:
        >>> from cmah.bench.timing import Timing
        >>> ours, peer = Timing(4e-5, 3e-5, 5e-5, 256, 64), Timing(4.4e-4, 4e-4, 5e-4, 256, 7)
        >>> case = Case("random", 64, 1_000_000, 10, 256, 2, 8.0, 100_000, ours, {"faiss": peer}, {}, 0.0)
        >>> print(line(case, ["faiss"]))
        64  1,000,000  10  256  40 µs  30 µs-50 µs  25.00  8.00  popcount  -  -  11.0
    """
    fractions = [
        f"{100 * case.fractions[name]:.0f} %{'*' if name == case.bound else ' '}" if case.fractions else "-"
        for name in (case.kernel.ceiling, "memory")
    ]
    ours = case.ours
    cells = [
        str(case.bits), f"{case.n:,}", str(case.k), str(case.queries), duration(ours.seconds),
        f"{duration(ours.low)}-{duration(ours.high)}", f"{case.comparisons_per_second / 1e9:.2f}",
        f"{case.bytes_per_object:.2f}", case.kernel.short, *fractions, *(f"{case.ratios[name]:.1f}" for name in peers),
    ]  # fmt: skip
    widths = [width for _, width in _COLUMNS] + [len(name) + 9 for name in peers]
    return "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def duration(seconds: float) -> str:
    """A duration as text, with three digits.

    Examples:
        >>> duration(0.0123)
        '12.3 ms'
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def rules(cases: Sequence[Case], machine: dict[str, Any], seed: int) -> str:
    """What the numbers mean, and what they were measured on.

    Args:
        cases: at least one.
        machine: as `machine()` gives it.
        seed: seed of the data.

    Examples:
        >>> from cmah.bench.timing import Timing
        >>> ours = Timing(4e-5, 3e-5, 5e-5, 256, 64)
        >>> case = Case("random", 64, 1_000_000, 10, 256, 2, 8.0, 100_000, ours, {}, {}, 0.0)
        >>> facts = {"processor": "CPU", "vector_features": ["AVX2"], "cores": 2, "versions": {"numpy": "2.3"}}
        >>> rules([case], facts, seed=0).splitlines()[-2:]
        ['CPU, AVX2, 2 threads of 2 cores; numpy 2.3', 'data: random, seed 0']
    """
    case = cases[0]
    ways = {(name, timing.way) for case in cases for name, timing in case.peers.items()}
    cut = {name for case in cases for name, timing in case.peers.items() if timing.queries < case.queries}
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        "a query: median over calls, divided by the queries of a call; quartiles of the same; 10^9/s: codes compared.",
        "bytes: size of the index file per code, without ids. ÷ ours: how many times as long the peer takes, medians.",
    ]
    if case.peers:
        lines.append(
            "Before it was timed, each peer gave the same distances, and the same ids except for ties at the k-th; "
            "all took turns with the same number of threads."
        )
        lines += [f"{name}: {way}" for name, way in sorted(ways)]
    else:
        lines.append("No other engine was measured: the results were not compared.")
    if cut:
        lines.append(
            f"Given fewer queries per call, to bound their time: {', '.join(sorted(cut))} (see --json)."
        )
    if case.ceilings:
        lines += _of_compute(cases)
        lines.append(
            "memory: share of a call in which the codes could be read once; *: the lower of both ceilings."
        )
        if any(case.fractions[case.kernel.ceiling] > 1.05 for case in cases):
            lines.append(
                "Beyond 100 %: a query with k codes at distance 0 is done early, or the machine was not quiet."
            )
    else:
        lines.append(
            "NumPy did the work: Numba is missing or CMAH_NO_NUMBA is set; no ceilings were measured."
        )
    slowest = min(case.speedup for case in cases)
    if case.ceilings and case.threads > 1 and slowest < 0.75 * case.threads:
        lines.append(
            f"Beware: {case.threads} threads were at worst {slowest:.2f} times as fast as one; other processes were "
            "at work, or some threads share a core."
        )
    processor = ", ".join([machine["processor"], *machine["vector_features"]])
    lines += [
        f"{processor}, {case.threads} threads of {machine['cores']} cores; {versions}",
        *([f"faiss built with {machine['faiss_options']}"] if "faiss" in case.peers else []),
        f"data: {', '.join(dict.fromkeys(case.data for case in cases))}, seed {seed}",
    ]
    return "\n".join(fill(text, 110) for text in lines)


def _of_compute(cases: Sequence[Case]) -> list[str]:
    """What the column "compute" means, for each kernel that was used."""
    lines = []
    if any(case.kernel.ceiling == "popcount" for case in cases):
        lines.append(
            "popcount, compute: share of the speed at which the threads xor, count and take the minimum of codes in "
            "the first cache."
        )
    logic = [case for case in cases if case.logic]
    if logic:
        names = ", ".join(dict.fromkeys(case.kernel.short for case in logic))
        groups = ", ".join(dict.fromkeys(str(case.kernel.group) for case in logic))
        best = max(logic, key=lambda case: case.logic["operations_per_second"])
        lines.append(
            f"{names} ({groups} bits looked up at a time), compute: share of the speed at which the threads do the "
            "full adders of a query, on bit planes in registers; a thread does "
            f"{best.logic['operations_per_second'] / 1e9:.2f} x 10^9 logic operations of {best.kernel.vector} bits a "
            f"second, {best.logic['operations_per_cycle']:.1f} a cycle."
        )
    return lines


def record(
    cases: Sequence[Case],
    settings: Settings,
    machine: dict[str, Any],
    notes: Sequence[str],
    cold: dict[str, Any] | None,
) -> dict[str, Any]:
    """Everything, ready for JSON.

    Args:
        cases: what was measured.
        settings: what was asked for.
        machine: as `machine()` gives it.
        notes: remarks for the reader, such as which engines are missing.
        cold: as `measure_cold` gives it, or None.

    Examples:
        >>> written = record([], Settings(threads=2, bits=(16, 64)), {"cores": 2}, ["no faiss"], None)
        >>> list(written), written["settings"]["bits"]
        (['machine', 'settings', 'notes', 'cases', 'cold'], (16, 64))
    """
    query_file = None if settings.query_file is None else str(settings.query_file)
    return {
        "machine": machine,
        "settings": asdict(settings) | {"query_file": query_file},
        "notes": list(notes),
        "cases": [case.to_dict() for case in cases],
        "cold": cold,
    }


def refuse_to_replace(path: str | Path) -> None:
    """Refuse to write a record over a file that is none.

    Raises:
        CmahError: if the file exists and is no record of a benchmark.

    Examples:
        >>> _ = Path("times.json").write_text("{}")
        >>> refuse_to_replace("times.json")
        Traceback (most recent call last):
            ...
        cmah.errors.CmahError: times.json: exists and is not such a file as is written here; ...
    """
    require_replaceable(path, b'"machine"')


def refuse_to_replace_plot(path: str | Path) -> None:
    """Refuse to draw over a file that is no picture.

    Raises:
        CmahError: if there is such a file.

    Examples:
        >>> _ = Path("times.svg").write_text("mine")
        >>> refuse_to_replace_plot("times.svg")
        Traceback (most recent call last):
            ...
        cmah.errors.CmahError: times.svg: exists and is not such a file as is written here; ...
    """
    require_replaceable(path, (b"\x89PNG", b"<svg"))


def plot(cases: Sequence[Case], path: Path) -> None:
    """Draw the time per query against bits, for the most codes, and against n, for the shortest codes.

    Both are of the least k. What has one value only is drawn as a point.

    Args:
        cases: at least one.
        path: the file, .png or .svg.

    Examples:
        >>> from cmah.bench.timing import Timing
        >>> ours = Timing(4e-5, 3e-5, 5e-5, 256, 64)
        >>> plot([Case("random", 64, 1000, 10, 256, 2, 8.0, 1000, ours, {}, {}, 0.0)], Path("times.png"))
        >>> Path("times.png").read_bytes()[1:4]
        b'PNG'
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    least_k = [case for case in cases if case.k == min(case.k for case in cases)]
    n, bits = max(case.n for case in cases), min(case.bits for case in cases)
    panels = (
        ("bits", f"{n:,} codes", [case for case in least_k if case.n == n]),
        ("n", f"{bits} bits", [case for case in least_k if case.bits == bits]),
    )
    for axes, (name, title, chosen) in zip(figure.subplots(1, 2), panels, strict=True):
        ordered = sorted(chosen, key=lambda case: getattr(case, name))
        x = [getattr(case, name) for case in ordered]
        lines = {"cmah": [case.ours.seconds for case in ordered]}
        lines |= {peer: [case.peers[peer].seconds for case in ordered] for peer in cases[0].peers}
        for label, seconds in lines.items():
            axes.plot(x, [1e3 * value for value in seconds], "o-", label=label)
        if ordered[0].ceilings:
            bound = [1e3 * max(case.ceilings.values()) for case in ordered]
            axes.plot(x, bound, "k:", label="the machine's ceiling")
        axes.set(xscale="log", yscale="log", xlabel=name, ylabel="milliseconds per query")
        if name == "bits":
            axes.set_xticks(x, [str(value) for value in x])
            axes.minorticks_off()
        axes.set_title(
            f"{title}, k = {ordered[0].k}, {ordered[0].queries} queries per call, {ordered[0].data}", size=9
        )
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
