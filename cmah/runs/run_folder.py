"""What a run folder holds: config.json, model.safetensors, metrics.jsonl and state/ for resuming.

Everything is written to a temporary file and renamed, and nothing is pickled. Frozen foreign towers are not
copied in: config.json names their files and SHA-256.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cmah.config.schema import Config, stored_config
from cmah.errors import CmahError, RunError
from cmah.files import atomic_path, read_json, require_file, sha256, write_json
from cmah.models.backbones import Frozen
from cmah.models.pretrained.backbone_spec import weights_file

FORMAT, VERSION = "cmah-run", 1


def own_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and buffers without those of frozen towers."""
    foreign = tuple(name + "." for name, module in model.named_modules() if isinstance(module, Frozen))
    return {key: value for key, value in model.state_dict().items() if not key.startswith(foreign or ("\0",))}


def save_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and a dictionary of plain values as one safetensors file, whole or not at all."""
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            # one entry: safetensors writes several in any order, and the same run should give the same bytes
            save_file(plain, temporary, {"cmah": json.dumps(facts)})
        except SafetensorError as error:  # its word for a full disk
            raise OSError(str(error)) from None


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises:
        RunError: if the file is missing or damaged.
    """
    require_file(path, error=RunError)
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            facts = json.loads((file.metadata() or {}).get("cmah", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: not a readable safetensors file ({error})") from None
    if not isinstance(facts, dict):
        raise RunError(f"{path}: its metadata is {type(facts).__name__}, expected a dictionary")
    return tensors, facts


def load_own_state(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load `own_state` back.

    Raises:
        RunError: naming the first tensor that is missing, unexpected or of another shape.
    """
    own = own_state(model)
    for key in [*own, *tensors]:
        if key not in tensors or key not in own or own[key].shape != tensors[key].shape:
            raise RunError(f"{path}: tensor {key!r} does not fit the model that config.json describes")
    model.load_state_dict(tensors, strict=False)


def towers(config: Config) -> dict[str, dict[str, str]]:
    """Path and SHA-256 of each foreign weights file that a configuration names."""
    files = {}
    for side in ("image", "shape"):
        key = f"{side}_weights"
        path = getattr(config.model, key, "")
        if path and side == "image":
            path = weights_file(config.model.image_encoder, path)
        if path:
            if not Path(path).is_file():
                raise RunError(f"{path}: no such weights file (model.{key})")
            files[key] = {"path": str(path), "sha256": sha256(path)}
    return files


def write_config(run: Path, config: Config, dataset: dict[str, str], version: str) -> None:
    """Write config.json: the whole resolved configuration and what it was trained on."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "cmah": version,
        "dataset": dataset,
        "towers": towers(config),
    }
    write_json(run / "config.json", {**header, **config.to_dictionary()})


def read_config(run: Path) -> tuple[Config, dict[str, Any]]:
    """The configuration of a run, and config.json as it stands.

    Raises:
        RunError: if the folder is no run or of a later version.
        ConfigError: if its settings are not known to this version.
    """
    if not run.is_dir():
        raise RunError(f"{run}: no such run folder (make one with cmah train)")
    if not (run / "config.json").is_file():
        raise RunError(f"{run}: has no config.json; it is not a run folder")
    try:
        stored = read_json(run / "config.json")
    except CmahError as error:
        raise RunError(str(error)) from None
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise RunError(f"{run / 'config.json'}: not the configuration of a run (format {FORMAT!r})")
    if stored.get("version") != VERSION:
        raise RunError(f"{run / 'config.json'}: version {stored.get('version')!r}; this cmah reads {VERSION}")
    texts = [stored.get("recipe"), stored.get("preset"), _entry(stored.get("dataset"), "checksum")]
    files = stored.get("towers")
    for file in files.values() if isinstance(files, dict) else [None]:
        texts += [_entry(file, "path"), _entry(file, "sha256")]
    if not all(isinstance(text, str) for text in texts):
        raise RunError(
            f"{run / 'config.json'}: expected text for recipe, preset, dataset and towers, as train wrote"
        )
    return stored_config(stored, str(run / "config.json")), stored


def _entry(table: Any, key: str) -> Any:
    """An entry of what should be a dictionary; None if it is not there."""
    return table.get(key) if isinstance(table, dict) else None


def check_towers(stored: dict[str, Any], config: Config) -> None:
    """Refuse foreign weights that are not those the run was trained with.

    Raises:
        RunError: naming the file.
    """
    now = towers(config)
    for key, file in stored.get("towers", {}).items():
        if now.get(key, {}).get("sha256") != file.get("sha256"):
            raise RunError(
                f"{now.get(key, file)['path']}: not the weights the run was trained with (model.{key})"
            )


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: dict[Tensor, str]) -> dict[str, Tensor]:
    """An optimiser's state as named tensors, "optimizer.<parameter>.<entry>"."""
    return {
        f"optimizer.{names[parameter]}.{entry}": torch.as_tensor(value)
        for parameter, state in optimizer.state.items()
        for entry, value in state.items()
    }


def load_optimizer(
    optimizer: torch.optim.Optimizer, names: dict[Tensor, str], tensors: dict[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave.

    Raises:
        RunError: if an entry does not fit its parameter.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            prefix = f"optimizer.{names[parameter]}."
            entries = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            for entry in ("step", "exp_avg", "exp_avg_sq") if entries else ():
                shape = () if entry == "step" else parameter.shape
                if entry not in entries or entries[entry].shape != shape:
                    raise RunError(f"{prefix}{entry} is missing or does not fit the model")
            if entries:
                optimizer.state[parameter] = {
                    entry: value if entry == "step" else value.to(parameter.device)
                    for entry, value in entries.items()
                }
