"""The speed of exact search beside FAISS, as in the README's table.

    python experiments/bench_hamming.py [--threads 2] [--json FILE]
    python experiments/bench_hamming.py --smoke                          (seconds, few codes)

How many times as long faiss-cpu 1.15.1 (IndexBinaryFlat, built for AVX512_VPOPCNT, the better of heap and counting)
takes on the same threads stands in the last column, as a least value; it was seen on 2 cores of an AMD EPYC with
AVX-512 VPOPCNTDQ. Results are compared first. Ratios hold within a tenth where nothing else runs; where other
processes do, threads may share a core, which the lines below the table tell. A few minutes.
"""

import os

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # FAISS's threads must not spin while others have their turn

from dataclasses import asdict, replace
from pathlib import Path

import click

from cmah.bench import bench_report
from cmah.bench.measuring import Settings, measure
from cmah.bench.peers import installed
from cmah.files import write_json
from cmah.threads import thread_count

EXPECTED = {  # (data, queries a call, n, k): {bits: least ratio}; None where none is promised
    ("random", 256, 1_000_000, 10): {16: 40, 32: 10, 64: 8, 128: 6, 256: 4, 512: None, 1024: None},
    ("random", 256, 1_000_000, 100): {16: None, 32: None, 64: 4},
    ("clustered", 256, 1_000_000, 10): {16: None, 32: None, 64: None, 128: None},
    ("random", 1, 1_000_000, 10): {64: 1},
    ("random", 1, 10_000_000, 10): {64: 1},
}


@click.command(help=__doc__)
@click.option("--threads", type=click.IntRange(min=1), help="Of both engines.  [default: one a core]")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write everything as JSON.")
@click.option("--smoke", is_flag=True, help="2,000 codes, no ratio to be expected.")
def main(threads: int | None, json_path: Path | None, smoke: bool) -> None:
    """Measure row after row, print, name what was measured on."""
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
    facts = bench_report.machine()
    click.echo("\n" + "\n".join([*notes, bench_report.rules(cases, facts, base.seed)]))
    if json_path:
        write_json(
            json_path, {"machine": facts, "settings": asdict(base), "cases": [c.to_dict() for c in cases]}
        )


if __name__ == "__main__":
    main()
