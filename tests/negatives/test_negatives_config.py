"""The settings of weights on negatives: words, ranges, and which of them go together."""

import pytest

from cmah.config.parsing import as_dictionary, build
from cmah.errors import ConfigError
from cmah.negatives.negatives_config import NegativesConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "i2x"}, r'kind = .*expected "", i2i, i2l2, avg or i2i_all'),
        ({"views": "same"}, "views"),
        ({"variant": "new"}, "variant"),
        ({"diagonal": "two"}, "diagonal"),
        ({"categories": "names"}, "categories"),
        ({"alpha": 1.5}, "from 0 to 1"),
        ({"alpha": -0.5}, "a number from 0"),
        ({"kind": "avg", "categories": "clusters", "clusters": 5}, "needs the names"),
        ({"kind": "i2i", "categories": "clusters"}, "at least 2"),
        ({"variant": "released"}, "needs a kind"),
        ({"kind": "i2i", "variant": "released", "diagonal": "eq6"}, "diagonal = one"),
        ({"kinds": "i2i"}, "nearest known one is kind"),
    ],
)
def test_impossible_settings_are_told(values, message):
    with pytest.raises(ConfigError, match=message):
        build(NegativesConfig, values)


def test_settings_are_plain_values():
    config = NegativesConfig("avg", alpha=0.5)
    assert build(NegativesConfig, as_dictionary(config)) == config


@pytest.mark.parametrize(
    "given",
    [
        {"image_encoder": "timm:x"},
        {"kind": "i2i", "landmarks": "file.json"},
        {"kind": "i2i_all", "landmarks_per_category": 8},
        {"kind": "i2i_all", "clusters": 4},
        {"kind": "i2i", "clusters": 4},
    ],
)
def test_a_setting_without_effect_is_refused(given):
    with pytest.raises(ConfigError, match="has no effect"):
        NegativesConfig(**given)
