"""Carries out the plan of an import, and reads what is here before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saveany.config import Config, write
from saveany.errors import ConfigError, SaveAnyError
from saveany.moving_in.configuration import combined, target
from saveany.moving_in.found import ADDRESSES, PORT, FoundLogin
from saveany.moving_in.logins import already_logged_in, bot_login
from saveany.moving_in.plan import Plan, Present
from saveany.moving_in.steps import ConfigStep, LoginStep, PreferencesStep, RulesStep, Step, WatchStep
from saveany.planning.rules import format_rule
from saveany.service.archives import ArchiveRequest, ArchiveService
from saveany.service.preferences import PreferencesService
from saveany.service.principal import OPERATOR
from saveany.service.tasks import TaskService
from saveany.store import Store
from saveany.telegram import login as logins
from saveany.telegram.accounts import Accounts
from saveany.telegram.session import Login, SessionFolder
from saveany.texts import Text

if TYPE_CHECKING:
    from saveany.catalogue.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What became of a step."""

    step: Step
    note: str = ""  # what is known only now
    problem: Text | None = None  # why it was not done; None if it was


async def read_present(config: Config, store: Store | None) -> Present:
    """What this installation has. `store` is None if it was never started."""
    stored = _stored_logins(config)
    known = {login.fingerprint: name for name, login in stored.items()}
    for account in config.telegram.user_accounts:
        try:
            known[Login.from_string(account.session.get_secret_value()).fingerprint] = account.name
        except ConfigError:
            continue  # reported when it is used
    owners = {login.user_id: name for name, login in stored.items() if login.user_id}
    if store is None:
        return Present(logins=known, owners=owners)
    users = await store.preferences.users()
    return Present(
        preferences={user: await store.preferences.get(user) for user in users},
        archives=await store.archives.all(),
        logins=known,
        owners=owners,
    )


def _stored_logins(config: Config) -> dict[str, Login]:
    """The logins of users that are stored on this machine, by the names of their accounts."""
    if not config.data_dir.exists():
        return {}  # a plan makes no folders
    folder = SessionFolder(config.data_dir)
    return {name: login for name in logins.users(config.data_dir) if (login := folder.load(name))}


def write_configuration(plan: Plan) -> Config:
    """Make all changes of the configuration file in one step. Raises `ConfigError`."""
    steps = [each for each in plan.steps if isinstance(each, ConfigStep)]
    return write.update(target(plan.config), combined(steps)) if steps else plan.config


class Importer:
    """Carries out the other steps of a plan, one after the other. One that fails does not stop the others."""

    def __init__(self, config: Config, store: Store, catalogue: Catalogue) -> None:
        self._config = config
        self._store = store
        self._catalogue = catalogue
        self._preferences = PreferencesService(config, store)

    async def run(self, steps: Sequence[Step]) -> list[StepOutcome]:
        """Carry out the steps."""
        outcomes = [*await self._move_logins([each for each in steps if isinstance(each, LoginStep)])]
        for step in steps:
            if isinstance(step, PreferencesStep | RulesStep):
                outcomes.append(await self._outcome(step))
        watches = [each for each in steps if isinstance(each, WatchStep)]
        return [*outcomes, *await self._watch(watches)]

    async def _outcome(self, step: PreferencesStep | RulesStep) -> StepOutcome:
        try:
            user = self._preferences.user(OPERATOR, step.user_id)
            if isinstance(step, PreferencesStep):
                await self._preferences.change(user, step.changed)
            else:
                present = await self._preferences.get(user)
                lines = [format_rule(each) for each in (*present.rules, *step.rules)]
                await self._preferences.set_rules(user, lines, step.is_on)
        except SaveAnyError as error:
            return StepOutcome(step, problem=error.text)
        return StepOutcome(step)

    async def _move_logins(self, steps: Sequence[LoginStep]) -> list[StepOutcome]:
        if not steps:
            return []
        owners = await self._owners()
        outcomes = []
        for step in steps:
            try:
                checked = await logins.check_login(
                    self._config.telegram, step.account, self._login(step.login), proxy=self._config.proxy
                )
            except logins.BotLogin:
                outcomes.append(StepOutcome(step, problem=bot_login()))
                continue
            except SaveAnyError as error:
                outcomes.append(StepOutcome(step, problem=error.text))
                continue
            if name := owners.get(checked.user_id):
                outcomes.append(StepOutcome(step, problem=already_logged_in(name)))
                continue
            logins.keep_login(self._config.data_dir, step.account, checked)
            owners[checked.user_id] = step.account
            outcomes.append(StepOutcome(step, f"{checked.display}, user {checked.user_id}"))
        return outcomes

    async def _owners(self) -> dict[int, str]:
        """The users of Telegram that are logged in here, and the names of their accounts."""
        owners = {
            login.user_id: name for name, login in _stored_logins(self._config).items() if login.user_id
        }
        if self._config.telegram.user_accounts:  # their session strings do not tell
            async with self._accounts() as accounts:
                users = {name: accounts.client(name).user for name in accounts.ready}
                owners |= {user.id: name for name, user in users.items() if user}
        return owners

    def _login(self, found: FoundLogin) -> Login:
        host, port = found.address
        if not self._config.telegram.dc_address or not host:
            host, port = ADDRESSES.get(found.dc_id, ""), PORT
        return Login(found.dc_id, host, port, found.key)

    async def _watch(self, steps: Sequence[WatchStep]) -> list[StepOutcome]:
        if not steps:
            return []
        tasks = TaskService(self._config, self._store, self._catalogue)
        outcomes = []
        async with self._accounts() as accounts:

            async def started() -> Accounts:
                return accounts

            service = ArchiveService(self._config, self._store, self._catalogue, tasks, started)
            for step in steps:
                request = ArchiveRequest(
                    chat=str(step.chat),
                    user_id=step.user_id,
                    start="now",
                    follow=True,
                    filter=step.filter,
                    topics=False,
                    on_duplicate="",
                )
                try:
                    archive = await service.add(OPERATOR, request)
                    outcomes.append(StepOutcome(step, archive.title))
                except SaveAnyError as error:
                    outcomes.append(StepOutcome(step, problem=error.text))
        return outcomes

    @asynccontextmanager
    async def _accounts(self) -> AsyncIterator[Accounts]:
        config = self._config
        accounts = Accounts(config.telegram, config.data_dir, self._store.telegram, proxy=config.proxy)
        try:
            await accounts.start()
            yield accounts
        finally:
            await asyncio.shield(accounts.close())
