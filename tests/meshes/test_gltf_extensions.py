"""Extensions of glTF: applied, without effect, remarked or refused."""

import pytest
from gltf_samples import Gltf, read, size

from cmah.errors import CmahError
from cmah.meshes.gltf_extensions import APPLIED, UNSEEN


def test_required_extensions_that_are_not_applied_refuse_the_file() -> None:
    made = Gltf(extensionsRequired=["KHR_mesh_quantization", "ACME_bent_space", "KHR_materials_transmission"])
    made.show(made.square())
    with pytest.raises(
        CmahError, match=r"needs the extension ACME_bent_space, KHR_materials_transmission, which is not"
    ):
        read(made.glb())
    made.tree["extensionsRequired"] = sorted(APPLIED | UNSEEN)
    assert size(read(made.glb())[0]) == [1, 1, 0]


def test_no_extension_is_both_applied_and_without_effect() -> None:
    assert not APPLIED & UNSEEN


def test_optional_extensions_that_are_not_applied_are_remarked_where_they_are_used() -> None:
    extension = {"extensions": {"ACME_glass": {}, "KHR_materials_ior": {"ior": 1.2}}}
    made = Gltf(extensionsUsed=["ACME_glass", "ACME_only_listed"], materials=[extension])
    made.show(made.square(material=0, extras={"extensions": {"ACME_in_extras": {}}}))
    assert read(made.glb())[1] == ["extension not applied (ACME_glass)"]
    made.tree["meshes"][0]["primitives"][0]["extensions"] = {"ACME_not_listed": {}}
    made.tree["animations"] = [{"extensions": {"ACME_motion": {}}}]
    made.tree["extensions"] = {"ACME_whole": {}, "KHR_lights_punctual": {}}
    assert read(made.glb())[1] == [
        "extension not applied (ACME_glass)",
        "extension not applied (ACME_not_listed)",
        "extension not applied (ACME_whole)",
    ]
