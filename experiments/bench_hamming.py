"""The speed of exact search beside FAISS, as in the table of docs/benchmarks.md.

    python experiments/bench_hamming.py [--threads 2] [--json FILE]
    python experiments/bench_hamming.py --smoke                          (seconds, few codes)

Results are compared first; then both engines search the same batches on the same threads.

Expected: faiss-cpu 1.15.1 (IndexBinaryFlat, built for AVX512_VPOPCNT, the better of heap and counting) takes at least
as many times as long as the column "at least" says, ± a tenth on an idle machine. Where other processes run, threads
may share a core; the lines below the table say so.

Hardware: 2 virtual cores of an Intel Xeon with AVX-512 VPOPCNTDQ.

Time: a few minutes.
"""

import os

# FAISS's threads must not spin while another engine is measured
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from dataclasses import asdict, replace
from pathlib import Path

import click

from cmah.bench import bench_report
from cmah.bench.measuring import Settings, measure
from cmah.bench.peers import installed
from cmah.files import write_json
from cmah.threads import thread_count

EXPECTED: dict[
    tuple[str, int, int, int], dict[int, float | None]
] = {  # (data, queries per call, n, k): {bits: least ratio}; None: no promise
    ("random", 256, 1_000_000, 10): {16: 100, 32: 12, 64: 10, 128: 5.5, 256: 4.5, 512: 3.8, 1024: None},
    ("random", 1024, 1_000_000, 10): {64: 10, 256: 4.5},
    ("random", 256, 1_000_000, 100): {16: None, 32: None, 64: 7},
    ("clustered", 256, 1_000_000, 10): {16: None, 32: None, 64: None, 128: None},
    ("random", 1, 1_000_000, 10): {64: 1},
    ("random", 1, 10_000_000, 10): {64: 1},
}


@click.command(help=__doc__)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of both engines.  [default: one per core]"
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Write all results to this JSON file."
)
@click.option("--smoke", is_flag=True, help="Use 2,000 codes; the ratios then mean nothing.")
def main(threads: int | None, json_path: Path | None, smoke: bool) -> None:
    """Measure and print row after row, then the machine."""
    peers, notes = installed(("faiss",))
    base = Settings(thread_count(threads), peers=tuple(peers))
    if smoke:
        base = replace(base, rounds=2)
    click.echo(bench_report.heading(base.peers) + "  at least".rjust(12) + "data".rjust(12))
    cases = []
    for (data, queries, n, k), ratios in EXPECTED.items():
        size = 2_000 if smoke else n
        settings = replace(base, data=data, queries=queries, n=(size,), k=(k,), bits=tuple(ratios))
        for case, ratio in zip(measure(settings), ratios.values(), strict=True):
            least = "-" if ratio is None or smoke else str(ratio)
            click.echo(bench_report.line(case, base.peers) + least.rjust(12) + data.rjust(12))
            cases.append(case)
    machine = bench_report.machine()
    click.echo("\n" + "\n".join([*notes, bench_report.rules(cases, machine, base.seed)]))
    if json_path:
        write_json(
            json_path, {"machine": machine, "settings": asdict(base), "cases": [c.to_dict() for c in cases]}
        )


if __name__ == "__main__":
    main()
