"""What somebody has said to the bot is saved for nobody else."""

from __future__ import annotations

import pytest

from saveany.config import Config
from saveany.errors import Forbidden
from saveany.planning.intake import TaskRequest, plan_request

ANNA, BERT, GROUP = 11, 12, 4001
LINK = "tg://openmessage?{}_id={}&message_id=5"


@pytest.fixture
def config() -> Config:
    return Config.model_validate(
        {
            "users": [{"id": ANNA, "storages": ["here"]}, {"id": BERT, "role": "admin"}],
            "storages": [{"name": "here", "type": "local", "base_path": "/data"}],
        }
    )


def test_whose_talk_it_is_may_save_it(config: Config) -> None:
    wish = TaskRequest(links=["TG:openmessage?message_id=5&user_id=11"], user_id=ANNA)
    spec = plan_request(config, wish)
    assert (spec.type, spec.links) == ("tgfiles", (LINK.format("user", ANNA),))


@pytest.mark.parametrize("link", [LINK.format("user", ANNA), LINK.format("chat", GROUP)])
def test_nobody_else_may(config: Config, link: str) -> None:
    with pytest.raises(Forbidden, match="somebody else's talk"):
        plan_request(
            config, TaskRequest(links=["https://t.me/channel/5", link], user_id=BERT, type="tgfiles")
        )


def test_who_asks_in_a_group_may_save_what_was_said_there(config: Config) -> None:
    wish = TaskRequest(links=[LINK.format("chat", GROUP)], user_id=BERT, talk=-GROUP)
    assert plan_request(config, wish).links == (LINK.format("chat", GROUP),)
    with pytest.raises(Forbidden):
        plan_request(config, TaskRequest(links=[LINK.format("chat", GROUP + 1)], user_id=BERT, talk=-GROUP))
    with pytest.raises(Forbidden):
        plan_request(config, TaskRequest(links=[LINK.format("user", ANNA)], user_id=BERT, talk=-GROUP))
