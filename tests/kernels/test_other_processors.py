"""The kernels as Numba compiles them for 64-bit ARM, on whatever machine this is: read, not executed."""

import json
import re
from types import SimpleNamespace

import pytest
from slow_search import run_alone

from cmah.kernels import bit_planes

llvm = pytest.importorskip("llvmlite.binding")

TRIPLE = "aarch64-unknown-linux-gnu"
LEAST = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+neon"}  # what every such processor has

# Numba asks LLVM for which machine it compiles. Told another one, it goes the whole way for that, from the width of
# the vectors to the loops that are made into vectors, and only calling the result is out of the question.
COMPILE = f"""
import json
import llvmlite.binding as llvm

llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
llvm.targets.get_default_triple = llvm.get_process_triple = lambda: "{TRIPLE}"

import numpy as np
from numba import typeof

import cmah.compiling
from cmah.kernels import bitsliced, hamming, histograms


def read_only(*shape, dtype):
    array = np.zeros(shape, dtype)
    array.flags.writeable = False
    return array


def compiled(kernel, *arguments):
    signature = tuple(typeof(argument) for argument in arguments)
    kernel.compile(signature)
    library = kernel.overloads[signature].library
    return library.get_llvm_str(), library.get_asm_str()


state = np.zeros(1, np.int64), np.zeros((1, 66), np.int64), np.zeros((1024, 3), np.int64), 0
shape = bitsliced.shape_of(64, 4)
result = {{"lanes": len(shape[3])}}
for bits, dtype in ((32, np.uint32), (64, np.uint64)):
    blocks, query = read_only(1, 1, 512, dtype=dtype), read_only(1, 1, dtype=dtype)
    result[f"hamming{{bits}}"] = compiled(hamming.scan, blocks, 0, 512, query, (0,), 10, *state)
result["bitsliced"] = compiled(bitsliced.scan, blocks, 0, query, *shape, 10, *state)
begin = np.zeros(1, np.int64)
planes = np.zeros((1, 512), np.uint64)
result["histograms"] = compiled(histograms.count_codes, planes[:, :1], planes, begin, begin, begin, 64)
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """LLVM's code and the assembly of each kernel, and the lanes that were chosen."""
    llvm.initialize_all_targets()
    try:
        llvm.Target.from_triple(TRIPLE)
    except RuntimeError as error:
        pytest.skip(f"this LLVM does not compile for {TRIPLE}: {error}")
    folder = tmp_path_factory.mktemp("aarch64")
    return json.loads(run_alone(COMPILE, folder, timeout=300, NUMBA_CACHE_DIR=str(folder), **LEAST))


def function(assembly, name):
    """The lines of a function of the kernels."""
    lines = assembly.splitlines()
    first = next(i for i, line in enumerate(lines) if re.match(rf"_ZN4cmah\w*\d{name}B\w*:", line))
    return lines[first : next(i for i in range(first, len(lines)) if lines[i].startswith(".Lfunc_end"))]


def loops(lines):
    """The innermost loops: the lines from a label to the jump back to it, with no other label between."""
    found = []
    begin, label = 0, ""
    for i, line in enumerate(lines):
        if line.startswith(".LBB"):
            begin, label = i, line.split(":")[0]
        elif label and re.search(rf"\t{re.escape(label)}$", line):
            found.append(lines[begin : i + 1])
    return found


def logic(lines):
    """How many operations on bits there are, of vectors of 16 bytes and of words."""
    names = r"\t(and|orr|eor|bic|orn|bsl|bit|bif|mvn|eor3|bcax)\t"
    return [sum(bool(re.match(names + of, line)) for line in lines) for of in (r"v\d+\.16b", r"[xw]\d")]


@pytest.mark.slow
def test_nothing_is_left_that_only_other_processors_have(compiled):
    assert compiled["lanes"] == 2
    for kernel in ("hamming32", "hamming64", "bitsliced", "histograms"):
        code, assembly = compiled[kernel]
        assert f'target triple = "{TRIPLE}"' in code
        assert "llvm.x86" not in code
        assert "\tcnt\t" in assembly


@pytest.mark.slow
def test_bit_planes_are_vectors(compiled):
    assembly = compiled["bitsliced"][1]
    loop = max(loops(function(assembly, "_filter")), key=len)
    vectors, words = logic(loop)
    # 16 groups and a limit of 5 bits: 30 full adders, most of them of two exclusive ors and a selection
    assert vectors >= 80
    assert words <= 1  # whether any bit of the result is 0
    assert sum(len(re.findall(r"\bq\d+", line)) for line in loop if line.startswith("\tld")) >= 2 * 16
    # 32 swaps on each of the 6 levels, in each of which is xor three times
    assert logic(function(assembly, "_bit_planes"))[0] >= 6 * 32 * 3


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["hamming32", "hamming64", "histograms"])
def test_bits_are_counted_in_vectors(compiled, kernel):
    both = r"\t(eor|cnt)\tv\d+\.16b"
    counting = [
        loop
        for loop in loops(compiled[kernel][1].splitlines())
        if {match[1] for line in loop if (match := re.match(both, line))} == {"eor", "cnt"}
    ]
    assert counting
    for loop in counting:
        assert logic(loop)[1] == 0


@pytest.mark.parametrize(
    ("features", "lanes"),
    [("", 2), ("+neon,+sha3", 2), ("+sse2,-avx2,-avx512f", 2), ("+avx2,-avx512f", 4), ("+avx2,+avx512f", 8)],
)
def test_lanes(features, lanes, monkeypatch):
    codegen = SimpleNamespace(magic_tuple=lambda: ("triple", "name", features))
    target = SimpleNamespace(target_context=SimpleNamespace(codegen=lambda: codegen))
    monkeypatch.setattr(bit_planes, "cpu_target", target)
    assert bit_planes.lanes_of_processor.__wrapped__() == lanes
