"""Bodies and replies of the routes that configure SaveAny: settings, storages, users, accounts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

from saveany.api.bodies import Strict
from saveany.api.models import Reply, Time
from saveany.config.describe import ValueKind
from saveany.service.accounts import Method, QuestionName, State
from saveany.service.configuration import Source

_WHOSE = "The user whose they are. Default: that of the key, or the first."
_HIDDEN = "Secrets are shown as `********`; sent back, this keeps the present value."


class FieldView(Reply):
    """What a form shows about one value."""

    name: str = Field(description="Name of the key or option.", examples=["ttl_days"])
    kind: ValueKind = Field(description="The kind of value.", examples=["integer"])
    about: str = Field(description="What it means.")
    choices: list[str] = Field(description="The values that it may have; empty if there are many.")
    default: JsonValue = Field(description="Null if it has none, or it depends on other values.")
    example: JsonValue
    is_required: bool
    is_secret: bool
    minimum: float | None
    maximum: float | None


class SettingView(FieldView):
    """One key of the configuration."""

    key: str = Field(description="Its dotted name.", examples=["links.ttl_days"])
    table: str = Field(description="The table that it is in; empty for the top level.", examples=["links"])
    value: JsonValue = Field(description=f"The value that the file and the environment give it. {_HIDDEN}")
    source: Source = Field(description="Where the value comes from; one of the environment stays.")
    variable: str = Field(description="Its variable of the environment.", examples=["SAVEANY_LINKS_TTL_DAYS"])
    needs_restart: bool = Field(description="Whether a change takes effect with a restart only.")
    fields: list[FieldView] = Field(
        description="With the kind `tables`, the fields of each. The value is then a list of objects, which "
        "are told apart by their `name`."
    )


class SettingTable(Reply):
    """One table of the configuration."""

    name: str = Field(examples=["links"])
    about: str


class ConfigurationView(Reply):
    """The configuration."""

    file: str = Field(description="The file; empty without one.", examples=["/srv/saveany/config.toml"])
    tables: list[SettingTable]
    settings: list[SettingView]
    warnings: list[str]
    waiting: list[str] = Field(description="Keys that have changed, and wait for a restart.")
    can_restart: bool = Field(description="Whether `POST /api/v1/config/restart` works.")


class ConfigurationChange(Strict):
    """New values of settings."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"values": {"links.ttl_days": 7}}]})

    values: dict[str, JsonValue] = Field(
        min_length=1,
        max_length=200,
        description="Dotted name of a key -> its value, as in the file; null restores the default.",
    )


class Tried(Reply):
    """A change that is valid."""

    tried: list[str] = Field(description="Keys that were tried out, such as by connecting to a server.")


class StorageTypeView(Reply):
    """A type of storages."""

    type: str = Field(examples=["webdav"])
    about: str = Field(examples=["a WebDAV server"])
    options: list[FieldView]


class StorageTypeList(Reply):
    """All types of storages."""

    types: list[StorageTypeView]


_Options = Annotated[
    dict[str, JsonValue],
    Field(
        max_length=100,
        description=f"Options of this type, as in `[[storages]]`; null is the default. {_HIDDEN}",
        examples=[{"base_path": "/srv/files"}],
    ),
]
_Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f/]+$", examples=["nas"])]


class NewStorage(Strict):
    """A storage."""

    name: _Name
    type: str = Field(max_length=64, examples=["local"])
    options: _Options = Field(default={})


class StorageChange(Strict):
    """Changes of a storage."""

    options: _Options = Field(default={})
    enable: bool | None = Field(default=None, description="Whether it is used.")
    moved: bool = Field(
        default=False,
        description="Confirm that a folder is the storage's from now on although it is not the one that has "
        "its files.",
    )


class StorageConfigView(Reply):
    """The configuration of a storage."""

    name: str = Field(examples=["nas"])
    type: str = Field(examples=["local"])
    enable: bool
    options: dict[str, JsonValue] = Field(description=_HIDDEN, examples=[{"base_path": "/srv/files"}])


class StorageConfigList(Reply):
    """Storages of the configuration."""

    storages: list[StorageConfigView]


class UserFields(Strict):
    """What a user may use. Fields that are left out are not changed; null restores a default."""

    storages: list[str] | None = Field(
        default=None, max_length=1000, description="Storages in the order of preference; empty: all."
    )
    blacklist: bool | None = Field(default=None, description="All storages but those of the list.")
    accounts: list[str] | None = Field(
        default=None, max_length=1000, description="Accounts that may be read for the user; empty: all."
    )
    role: Literal["admin", "user"] | None = Field(
        default=None, description="Null: the first user is an admin, the others are not."
    )


class NewUser(UserFields):
    """A user."""

    user_id: int = Field(ge=1, lt=2**53, description="Telegram id of the user.", examples=[123456789])


class AccountView(Reply):
    """A Telegram account."""

    name: str = Field(examples=["me"])
    is_bot: bool
    is_configured: bool = Field(description="It is in the configuration, where it can be removed.")
    owner: str = Field(description="Display name; empty if it is unknown.", examples=["Ada"])
    user_id: int | None = Field(description="Telegram id of the owner; null if it is unknown.")
    ready: bool
    problem: str = Field(description="Why it cannot be used; empty if it can.")


class AccountList(Reply):
    """Telegram accounts."""

    accounts: list[AccountView]


class NewLogin(Strict):
    """A login."""

    name: str = Field(
        default="me",
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        description="The name of the account in SaveAny. A login of the same name is replaced.",
    )
    method: Method = Field(description="By a QR code, by phone number and code, or a session string.")
    session: str = Field(default="", max_length=4096, description="The session string of Telethon.")


class LoginAnswer(Strict):
    """The answer to the question of a login."""

    answer: str = Field(max_length=1024, description="It is neither stored nor logged.", examples=["12345"])


class LoginView(Reply):
    """A login. While its state is `asks`, it waits for an answer; with `shows_qr`, for a scan."""

    login_id: str
    name: str = Field(examples=["me"])
    method: Method
    state: State
    question: QuestionName | None = Field(description="What it asks.")
    is_wrong: bool = Field(description="Whether the last answer was wrong.")
    sent: str = Field(description="Where Telegram has sent the code.")
    qr_link: str = Field(description="The content of the QR code.")
    qr_png: str = Field(description="The QR code as a data URL.")
    qr_expires_at: Time | None = Field(description="Until then the QR code works; another one follows.")
    owner: str = Field(description="The name of the account that is logged in.")
    user_id: int | None = Field(description="Its Telegram id.")
    problem: str = Field(description="Why the login has failed, or is by QR code now.")


class PreferencesView(Reply):
    """The preferences of a user."""

    user_id: int = Field(examples=[123456789])
    language: str = Field(description="Language of the bot, as a tag; empty: that of the user's app.")
    silent: bool = Field(description="The bot saves without asking.")
    storage: str = Field(description="Default storage; empty: the first that the user may use.")
    folder: str = Field(description="Default folder in it.", examples=["Movies"])
    on_conflict: Literal["", "rename", "overwrite", "skip", "ask"]
    on_duplicate: Literal["", "save", "skip", "link"]
    template: str = Field(description="Template of file names; empty keeps the original names.")
    template_example: str = Field(description="How a file is named with it.")
    shortcuts: list[ShortcutView] = Field(description="Folders that the bot offers.")


class ShortcutView(Reply):
    """A folder that the bot offers."""

    storage: str = Field(examples=["nas"])
    folder: str = Field(examples=["Movies"])


class ShortcutBody(Strict):
    """A folder that the bot offers."""

    storage: str = Field(max_length=255, examples=["nas"])
    folder: str = Field(max_length=4096, examples=["Movies"])


class PreferencesChange(Strict):
    """Changes of preferences. Fields that are left out are not changed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"on_conflict": "skip"}]})

    user_id: int | None = Field(default=None, ge=1, lt=2**53, description=_WHOSE)
    language: Literal["", "en", "zh-Hans"] | None = None
    silent: bool | None = None
    storage: str | None = Field(default=None, max_length=255)
    folder: str | None = Field(default=None, max_length=4096)
    on_conflict: Literal["", "rename", "overwrite", "skip", "ask"] | None = None
    on_duplicate: Literal["", "save", "skip", "link"] | None = None
    template: str | None = Field(default=None, max_length=2000)
    shortcuts: list[ShortcutBody] | None = Field(default=None, max_length=100)


_Rule = Annotated[str, Field(max_length=4000, examples=[r"name=\.mkv$ size>100MB -> nas:Movies/{{ year }}"])]


class RulesView(Reply):
    """The rules of a user. The first one that matches decides where a file goes."""

    user_id: int = Field(examples=[123456789])
    is_on: bool
    rules: list[_Rule] = Field(description="Each as the bot's /rule writes it.")


class NewRules(Strict):
    """All rules of a user, in their order."""

    user_id: int | None = Field(default=None, ge=1, lt=2**53, description=_WHOSE)
    rules: list[_Rule] = Field(max_length=100)
    is_on: bool | None = Field(default=None, description="Null leaves it as it is.")


class RuleTrial(Strict):
    """A file name to try rules on."""

    user_id: int | None = Field(default=None, ge=1, lt=2**53, description=_WHOSE)
    name: str = Field(min_length=1, max_length=1024, examples=["Holiday.mkv"])
    rules: list[_Rule] | None = Field(default=None, max_length=100, description="Default: the stored ones.")


class RuleTrialView(Reply):
    """Where a file would go."""

    rule: str = Field(description="The rule that applies; empty if none does.")
    storage: str
    folder: str


class RuleChatTrial(Strict):
    """A chat on whose files to try rules."""

    user_id: int | None = Field(default=None, ge=1, lt=2**53, description=_WHOSE)
    chat: str = Field(
        min_length=1, max_length=2048, description="As for an archive.", examples=["https://t.me/channel"]
    )
    account: str = Field(
        default="", max_length=64, description="The user account that reads the chat. Default: any that can."
    )
    rules: list[_Rule] | None = Field(default=None, max_length=100, description="Default: the stored ones.")


class TriedFileView(Reply):
    """Where a file of a message would be saved."""

    message: int = Field(examples=[1200])
    name: str = Field(description="With the user's template for names.", examples=["Holiday.mkv"])
    size: int
    rule: str = Field(description="The rule that applies; empty if none does.")
    storage: str
    path: str


class RuleChatTrialView(Reply):
    """Where the files in the newest messages of a chat would be saved, newest first."""

    files: list[TriedFileView]


class RulePreset(Strict):
    """Where files are sorted by their kind."""

    user_id: int | None = Field(default=None, ge=1, lt=2**53, description=_WHOSE)
    storage: str = Field(default="", max_length=255, description="Empty: the chosen storage.")
    folder: str = Field(default="", max_length=4096, examples=["Sorted"])


class RuleLines(Reply):
    """Rules that are not stored yet."""

    rules: list[_Rule]


PreferencesView.model_rebuild()
