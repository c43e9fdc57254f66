"""Messages to the bot are saved only for the user who wrote them."""

from __future__ import annotations

import pytest

from saveany.config import Config
from saveany.errors import Forbidden
from saveany.models import TaskSpec
from saveany.planning.requests import TaskRequest, plan_request

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


def planned(config: Config, user_id: int, links: list[str], *, group: int = 0) -> TaskSpec:
    user = config.user(user_id)
    assert user is not None
    return plan_request(config, user, TaskRequest(links=links, type="tgfiles"), task_id="1", group=group)


def test_a_user_may_save_messages_of_their_private_chat(config: Config) -> None:
    spec = planned(config, ANNA, ["TG:openmessage?message_id=5&user_id=11"])
    assert (spec.type, spec.links) == ("tgfiles", (LINK.format("user", ANNA),))


@pytest.mark.parametrize("link", [LINK.format("user", ANNA), LINK.format("chat", GROUP)])
def test_other_users_may_not_save_them(config: Config, link: str) -> None:
    with pytest.raises(Forbidden, match="another user's private chat"):
        planned(config, BERT, ["https://t.me/channel/5", link])


def test_messages_of_the_group_in_which_the_bot_was_asked_may_be_saved(config: Config) -> None:
    link = LINK.format("chat", GROUP)
    assert planned(config, BERT, [link], group=-GROUP).links == (link,)
    with pytest.raises(Forbidden):
        planned(config, BERT, [LINK.format("chat", GROUP + 1)], group=-GROUP)
    with pytest.raises(Forbidden):
        planned(config, BERT, [LINK.format("user", ANNA)], group=-GROUP)
