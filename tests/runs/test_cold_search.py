"""A search for one photo imports what its run needs and nothing else: imports are what a person waits for."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

ROOT = Path(__file__).resolve().parents[2]
# What importing torch alone loads is asked of a second process: it differs by version.
NOT_NEEDED = {
    "timm", "torchvision", "open_clip", "transformers", "huggingface_hub", "numba", "llvmlite", "scipy", "sklearn",
    "matplotlib", "pandas", "trimesh", "embreex", "networkx", "openai", "httpx", "jinja2", "bitarray", "faiss",
    "sympy", "torch._dynamo", "torch._inductor", "torch.distributed.fsdp", "torch.distributed.tensor", "torch.onnx",
    "torch.testing", "torch.utils.tensorboard", "cmah.training", "cmah.demo", "cmah.evaluation", "cmah.bench",
    "cmah.meshes.mesh_files", "cmah.meshes.rendering", "cmah.kernels",
}  # fmt: skip


def modules(code: str, folder: Path) -> set[str]:
    """What a fresh process has loaded after `code`."""
    code += "\nimport sys; print('\\n' + ' '.join(sys.modules))"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["photo", "mesh"])
def test_a_search_with_a_run_of_recipe_cmah_loads_no_more_than_it_needs(toy_run, tmp_path, kind):
    from cmah.runs.encoder import Encoder
    from cmah.search import HammingIndex

    random = np.random.default_rng(0)
    codes = Encoder.load(toy_run).encode_points(list(random.standard_normal((4, 50, 3))))
    index = HammingIndex(codes.bits)
    index.add(codes, ids=list("abcd"))
    index.save(tmp_path / "i.cmah")
    PIL.Image.fromarray(random.integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(tmp_path / "photo.jpg")
    (tmp_path / "mesh.obj").write_text(
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n"
    )
    query = {"photo": "photo.jpg", "mesh": "mesh.obj"}[kind]
    code = (
        "from cmah.cli.main import run\n"
        f"try: run(['search', 'i.cmah', '--run', {str(toy_run)!r}, {query!r}])\n"
        "except SystemExit as end: assert not end.code"
    )
    alone = modules("import torch", tmp_path)
    # points are grouped by kernels, and Numba asks for SciPy's version
    needed = {"numba", "llvmlite", "cmah.kernels", "scipy"} if kind == "mesh" else set()
    loaded = modules(code, tmp_path) - alone
    for name in sorted(NOT_NEEDED - needed - alone):
        assert not {module for module in loaded if module == name or module.startswith(name + ".")}, name
