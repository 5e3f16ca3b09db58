"""The licence of a release is read or asked for, never guessed, and all three licences are said."""

from __future__ import annotations

import pytest
from embedded_hub import hub  # noqa: F401  a fixture
from finished_run import OWNER, cards, finished_run, metadata
from huggingface_hub import ModelCard

from localpsych_recipes.errors import UserError
from localpsych_recipes.stages import card


def test_an_unknown_licence_is_asked_for_and_never_guessed(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, pins={"base": {"license": None}})
    with pytest.raises(UserError, match="set base.license"):
        card.run(run)


def test_another_licence_keeps_its_name_and_link_and_says_its_duties(tmp_path, hub) -> None:
    other = {"license": "other", "license_name": "qwen-research", "license_link": "LICENSE"}
    for text in cards(finished_run(tmp_path, OWNER, pins={"base": other})).values():
        found = metadata(text)
        assert (found["license"], found["license_name"]) == ("other", "qwen-research")
        assert found["license_link"] == "https://huggingface.co/alice/base/blob/main/LICENSE"
        assert "never commercially" in text and "apache" not in text
        ModelCard(text).validate()


def test_a_nameless_other_licence_leads_to_the_base(tmp_path, hub) -> None:
    text = cards(finished_run(tmp_path, OWNER, pins={"base": {"license": "other"}}))["merged"]
    assert metadata(text)["license_link"] == "https://huggingface.co/alice/base"
    ModelCard(text).validate()


def test_the_recipes_licence_is_the_releases_and_all_three_are_said(tmp_path) -> None:
    text = cards(finished_run(tmp_path, OWNER, "license=cc-by-sa-4.0"))["adapter"]
    assert metadata(text)["license"] == "cc-by-sa-4.0"
    section = text.split("## Licence")[1]
    assert "**cc-by-sa-4.0**" in section and "apache-2.0" in section and "cc-by-4.0" in section


def test_a_dataset_without_a_licence_is_said_to_have_none(tmp_path) -> None:
    text = cards(finished_run(tmp_path, OWNER, pins={"dataset": {"license": None}}))["adapter"]
    assert "The training data: not stated by its authors" in text
