"""The metadata of a README.md: read, and checked as the Hub checks it before it takes a card."""

from __future__ import annotations

import json
import re
from typing import Any

from localpsych_recipes.local_hub.names import names_a_repo

# https://huggingface.co/docs/hub/repositories-licenses
LICENSES = frozenset(
    """apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
    lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl
    openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
    fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma unknown
    other""".split()
)
METADATA_LIMIT = 2**18  # characters; read by a parser in Python, for everybody who asks
_FRONT_MATTER = re.compile(r"\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def problems(card: str) -> tuple[list[str], list[str]]:
    """What is wrong with a card's metadata: errors, for which the Hub refuses it, and warnings."""
    try:
        metadata = read_metadata(card)
    except ValueError as error:
        return [str(error)], []
    if not metadata:
        return [], ["empty or missing yaml metadata in repo card"]
    return _license_errors(metadata) + _id_errors(metadata, "base_model") + _id_errors(metadata, "datasets"), []


def read_metadata(card: str) -> dict[str, Any]:
    """The mapping between the card's two lines of '---', empty if there is none.

    Raises ValueError if it is not YAML, no mapping, or nothing that JSON could hold.
    """
    found = _FRONT_MATTER.match(card)
    metadata = _loaded(found[1]) if found else {}
    if not isinstance(metadata or {}, dict):
        raise ValueError("the metadata must be a mapping of keys to values")
    return metadata or {}


def _loaded(text: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if len(text) > METADATA_LIMIT:
        raise ValueError(f"the metadata may hold {METADATA_LIMIT} characters")
    try:
        # ten lines with aliases can stand for a gigabyte of values
        if any(type(event).__name__ == "AliasEvent" for event in YAML(typ="safe", pure=True).parse(text)):
            raise ValueError("aliases (*name) are not taken")
        metadata = YAML(typ="safe", pure=True).load(text)
        json.dumps(metadata, default=str, allow_nan=False)  # as it is shown to who asks about the repository
        return metadata
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"the metadata is not valid YAML: {getattr(error, 'problem', None) or error}") from None


def _license_errors(metadata: dict[str, Any]) -> list[str]:
    given = _as_list(metadata.get("license"))
    unknown = [name for name in given if not isinstance(name, str) or name not in LICENSES]
    if unknown:
        return [f'"license" must be one of the Hub\'s identifiers, or other: {unknown[0]!r} is not']
    if "other" in given and not metadata.get("license_name"):
        return ['"license: other" needs a "license_name"']
    return []


def _id_errors(metadata: dict[str, Any], key: str) -> list[str]:
    wrong = [entry for entry in _as_list(metadata.get(key)) if not names_a_repo(entry)]
    return [f'"{key}" with value {str(entry)!r} is not valid: use an id from the Hub, never a path' for entry in wrong]


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]
