"""Where the configuration is found, and how its problems are reported."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from saveany.config import Config, compat, load
from saveany.config.values import is_loopback
from saveany.errors import ConfigError
from storages import registry

TYPES = ", ".join(registry.types())
LOCAL = '[[storages]]\nname = "local1"\ntype = "local"\nbase_path = "files"\n'


def write(folder: Path, text: str) -> Path:
    file = folder / "config.toml"
    file.write_text(textwrap.dedent(text))
    return file


def problems(folder: Path, text: str, env: dict[str, str] | None = None) -> list[str]:
    file = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load(file, env or {})
    return [line.replace(str(file), "config.toml") for line in caught.value.message.splitlines()]


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no configuration in /etc."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "saveany.config.files.DEFAULT_FILES", (Path("config.toml"), tmp_path / "etc/config.toml")
    )
    return tmp_path


class TestSearch:
    def test_without_any_file_the_defaults_apply(self, empty_folder: Path) -> None:
        config = load(env={})
        assert config.file is None
        assert (config.workers, config.api.port, config.api.host) == (3, 8080, "127.0.0.1")
        assert config.data_dir == empty_folder / "data"
        assert config.warnings == ()

    def test_the_option_precedes_the_variable_the_working_directory_and_etc(self, empty_folder: Path) -> None:
        (empty_folder / "etc").mkdir()
        for number, name in enumerate(["etc/config.toml", "config.toml", "variable.toml", "named.toml"], 10):
            (empty_folder / name).write_text(f"workers = {number}")
        variable = {"SAVEANY_CONFIG": "variable.toml"}
        assert load(Path("named.toml"), variable).workers == 13
        assert load(env=variable).workers == 12
        assert load(env={"SAVEANY_CONFIG": ""}).workers == 11
        (empty_folder / "config.toml").unlink()
        assert load(env={}).workers == 10

    @pytest.mark.parametrize("env", [{}, {"SAVEANY_CONFIG": "nope.toml"}])
    def test_a_file_of_the_option_must_exist(self, empty_folder: Path, env: dict[str, str]) -> None:
        with pytest.raises(ConfigError, match=r"there is no file nope\.toml; `saveany init`"):
            load(None if env else Path("nope.toml"), env)

    def test_an_unreadable_file_is_a_config_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"):
            load(tmp_path, {})
        file = tmp_path / "config.toml"
        file.write_bytes(b"lang = '\xff'")
        with pytest.raises(ConfigError, match="not UTF-8 text"):
            load(file, {})

    def test_a_byte_order_mark_and_windows_line_ends_are_accepted(self, tmp_path: Path) -> None:
        file = tmp_path / "config.toml"
        file.write_bytes(b"\xef\xbb\xbfworkers = 7\r\nretry = 2\r\n")
        assert (load(file, {}).workers, load(file, {}).retry) == (7, 2)

    def test_relative_paths_start_at_the_folder_of_the_file(
        self, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (empty_folder / "sub").mkdir()
        write(
            empty_folder / "sub",
            'data_dir = "d"\n' + LOCAL + LOCAL.replace("local1", "b").replace("files", "/f"),
        )
        config = load(Path("sub/config.toml"), {})
        monkeypatch.chdir("/")
        assert config.data_dir == empty_folder / "sub/d"
        paths = [storage.model_dump()["base_path"] for storage in config.storages]
        assert paths == [empty_folder / "sub/files", Path("/f")]

    def test_a_tilde_is_expanded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/me")
        assert load(write(tmp_path, 'data_dir = "~/saveany"'), {}).data_dir == Path("/home/me/saveany")


# (text, the problems in order)
WRONG = [
    ("workers = ", ["config.toml:1: this is not TOML: a value is missing or not valid; text needs quotes"]),
    (
        "a = 1\n\nb = [",
        ["config.toml:3: this is not TOML: a value is missing or not valid; text needs quotes"],
    ),
    ("\nworkers = 1\nworkers = 2", ["config.toml:3: this is not TOML: this key is set twice"]),
    ('workers = "3"', ["config.toml:1: workers: must be a whole number"]),
    ("workers = 2.5", ["config.toml:1: workers: must be a whole number"]),
    ("workers = true", ["config.toml:1: workers: must be a whole number"]),
    ("workers = 0", ["config.toml:1: workers: must be at least 1"]),
    ("data_dir = 5", ["config.toml:1: data_dir: must be text in quotes"]),
    ("wrokers = 3", ["config.toml:1: wrokers: there is no such key; did you mean workers?"]),
    ("# c\nxyzzy = 3", ["config.toml:2: xyzzy: there is no such key"]),
    ("[api]\nprot = 1", ["config.toml:2: api.prot: there is no such key; did you mean port?"]),
    ("port = 1", ["config.toml:1: port: there is no such key; it belongs in [api]"]),
    (
        "[api]\nworkers = 1",
        ["config.toml:2: api.workers: there is no such key; it belongs above the first [table]"],
    ),
    ("[apu]\nport = 1", ["config.toml:1: apu: there is no such key; did you mean api?"]),
    ("api = 3", ["config.toml:1: api: must be a table"]),
    ("[api]\nenable = 1", ["config.toml:2: api.enable: must be true or false"]),
    ("[api]\ntoken = 1", ["config.toml:2: api.token: must be text in quotes"]),
    ("[api]\nport = 65536", ["config.toml:2: api.port: must be at most 65535"]),
    (
        "[api]\nwebhook_events = 'completed'",
        ['config.toml:2: api.webhook_events: must be a list, as in ["a", "b"]'],
    ),
    (
        "[api]\nwebhook_events = [\n 'completed',\n 'x',\n]",
        [
            "config.toml:4: api.webhook_events[1]: must be 'completed', 'failed', 'canceled', 'running', "
            "'file_uploaded', 'archive_complete', 'archive_problem', 'live_started', 'live_ended' or "
            "'recording_finished'"
        ],
    ),
    (
        "api.webhook_url = 'ftp://x'",
        ["config.toml:1: api.webhook_url: must be a URL that starts with http:// or https://"],
    ),
    (
        "api.webhook_secret = 'whsec_?'",
        [
            "config.toml:1: api.webhook_secret: must be whsec_ and 24 to 64 bytes in base64; leave it empty, "
            "and SaveAny generates one"
        ],
    ),
    (
        "[redis]\nurl = 'localhost'",
        ['config.toml:2: redis.url: must be "embedded" or start with redis://, rediss:// or unix://'],
    ),
    (
        "net = {allow = ['10.0.0.1/8']}",
        ["config.toml:1: net.allow[0]: must be a network, as in 192.168.1.0/24"],
    ),
    ("telegram.dc_address = 'host'", ['config.toml:1: telegram.dc_address: must be "host:port"']),
    ("[worker]\ndrain_seconds = inf", ["config.toml:2: worker.drain_seconds: must be a finite number"]),
    (
        "[users]\nid = 1",
        ["config.toml:1: users: must be a list of tables: [[users]] in the file, or JSON in a variable"],
    ),
    (
        "[[users]]\nid = 1\nstorages = 'a'",
        ['config.toml:3: users[0].storages: must be a list, as in ["a", "b"]'],
    ),
    ("[[users]]\nstorages = []", ["config.toml:1: users[0].id: is missing"]),
    (
        "[[users]]\nid = 1\n[[users]]\nid = 1",
        ["config.toml:4: users[1].id: 1 is used twice; change one of them"],
    ),
    (
        "[[telegram.accounts]]\nname = 'a'\nsession = 's'\n[[telegram.accounts]]\nname = 'a'\nsession = 't'",
        ["config.toml:5: telegram.accounts[1].name: a is used twice; change one of them"],
    ),
    ("storages = ['x']", ["config.toml:1: storages[0]: must be a table"]),
    ("[[storages]]\nname = 'a'\ntype = 'local'", ["config.toml:1: storages[0].base_path: is missing"]),
    (
        "[[storages]]\nname = 'a'\nhost = 'b'",
        [f"config.toml:1: storages[0].type: is missing; known types: {TYPES}"],
    ),
    ("[[storages]]\nname = 'a'\ntype = [1]", ["config.toml:3: storages[0].type: must be text in quotes"]),
    (
        "[[storages]]\nname = 'a'\ntype = 'locale'",
        ["config.toml:3: storages[0].type: there is no storage type 'locale'; did you mean local?"],
    ),
    (
        LOCAL + "base_pth = 'x'",
        ["config.toml:5: storages[0].base_pth: there is no such key; did you mean base_path?"],
    ),
    (LOCAL + LOCAL, ["config.toml:6: storages[1].name: local1 is used twice; change one of them"]),
    (
        "retry = 'x'\n[log]\nlevel = 'loud'\n[api]\nprot = 1",
        [
            "config.toml:1: retry: must be a whole number",
            "config.toml:3: log.level: must be 'debug', 'info', 'warning', 'error' or 'critical'",
            "config.toml:5: api.prot: there is no such key; did you mean port?",
        ],
    ),
]


class TestProblems:
    @pytest.mark.parametrize(("text", "expected"), WRONG)
    def test_each_problem_has_its_line(self, tmp_path: Path, text: str, expected: list[str]) -> None:
        found = problems(tmp_path, text)
        assert [line.removesuffix(".") for line in found] == expected

    def test_a_missing_key_file_is_reported(self, tmp_path: Path) -> None:
        [line] = problems(tmp_path, "telegram.dc_public_key = 'no.pem'")
        assert line == (
            f"config.toml:1: telegram.dc_public_key: cannot read the key file {tmp_path}/no.pem: "
            "No such file or directory"
        )

    def test_problems_do_not_quote_secrets(self, tmp_path: Path) -> None:
        text = "[telegram]\ntoken = ['hunter2']\nsessions = 'hunter2'\n[api]\nwebhook_secret = 'hunter2'"
        assert "hunter2" not in "\n".join(problems(tmp_path, text))

    def test_repr_does_not_show_secrets(self, tmp_path: Path) -> None:
        text = """
            proxy = "http://me:hunter2@p:1"
            [telegram]
            token = "hunter2"
            app_hash = "hunter2"
            sessions = ["hunter2"]
            proxy.url = "socks5://me:hunter2@p:1"
            accounts = [{ name = "a", session = "hunter2" }]
            [api]
            token = "hunter2"
            [redis]
            url = "redis://:hunter2@r"
        """
        config = load(write(tmp_path, text), {})
        assert config.redis.url == "redis://:hunter2@r"
        assert "hunter2" not in repr(config) + str(config)


class TestApiHost:
    @pytest.mark.parametrize(
        ("text", "host"),
        [
            ("", "127.0.0.1"),
            ("token = 't'", "0.0.0.0"),
            ("token = 't'\nhost = '127.0.0.1'", "127.0.0.1"),
            ("token = 't'\nhost = '10.0.0.1'", "10.0.0.1"),
            ("host = 'localhost'", "localhost"),
            ("host = '::1'", "::1"),
            ("host = '0.0.0.0'\nenable = false", "0.0.0.0"),
        ],
    )
    def test_the_default_host_depends_on_the_token(self, tmp_path: Path, text: str, host: str) -> None:
        assert load(write(tmp_path, "[api]\n" + text), {}).api.host == host

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com", ""])
    def test_a_public_address_without_a_token_is_refused(self, tmp_path: Path, host: str) -> None:
        [line] = problems(tmp_path, f"[api]\nport = 80\nhost = '{host}'")
        assert line.startswith("config.toml:3: api.host: would open the API to other machines without auth")
        assert load(write(tmp_path, f"[api]\nhost = '{host}'"), {"SAVEANY_API_TOKEN": "t"}).api.host == host

    def test_loopback_addresses_are_recognized(self) -> None:
        assert is_loopback("127.8.8.8")
        assert not is_loopback("localhost.example.com")


class TestUsers:
    CONFIG = Config.model_validate(
        {
            "users": [
                {"id": 1},
                {"id": 2, "storages": ["c", "gone", "a"]},
                {"id": 3, "storages": ["b"], "blacklist": True},
                {"id": 4, "blacklist": True},
            ],
            "storages": [
                {"name": name, "type": "local", "base_path": "/x", "enable": name != "off"}
                for name in ("a", "b", "off", "c")
            ],
        }
    )

    @pytest.mark.parametrize(
        ("id_", "names"), [(1, ["a", "b", "c"]), (2, ["c", "a"]), (3, ["a", "c"]), (4, ["a", "b", "c"])]
    )
    def test_users_may_use_the_storages_of_their_table(self, id_: int, names: list[str]) -> None:
        user = self.CONFIG.user(id_)
        assert user
        assert self.CONFIG.allowed_storages(user) == names

    def test_users_are_found_by_id(self) -> None:
        assert self.CONFIG.user(5) is None
        assert self.CONFIG.storage("off") is None
        storage = self.CONFIG.storage("b")
        assert storage
        assert storage.name == "b"

    def test_an_unknown_storage_name_is_a_warning(self, tmp_path: Path) -> None:
        file = write(tmp_path, LOCAL + "[[users]]\nid = 1\nstorages = ['local1', 'locl1']")
        assert load(file, {}).warnings == (f"{file}:7: there is no storage 'locl1'; did you mean local1?",)


class TestTelegram:
    def test_accounts_and_sessions_are_merged_into_one_list(self) -> None:
        telegram = Config.model_validate(
            {"telegram": {"sessions": ["s", "t"], "accounts": [{"name": "me", "session": "u"}]}}
        ).telegram
        accounts = [(one.name, one.session.get_secret_value()) for one in telegram.user_accounts]
        assert accounts == [("me", "u"), ("session1", "s"), ("session2", "t")]

    def test_a_public_key_is_given_as_text_or_file(self, tmp_path: Path) -> None:
        pem = "-----BEGIN RSA PUBLIC KEY-----\nMIIB\n-----END RSA PUBLIC KEY-----\n"
        (tmp_path / "key.pem").write_text(pem)
        by_path = load(write(tmp_path, "telegram.dc_public_key = 'key.pem'"), {})
        itself = load(write(tmp_path, f"telegram.dc_public_key = '''{pem}'''"), {})
        assert by_path.telegram.dc_public_key == itself.telegram.dc_public_key == pem


class TestSaveAnyBot:
    FILE = Path(__file__).with_name("saveany_bot.toml")

    def test_a_file_of_saveany_bot_loads_with_warnings(self) -> None:
        config = load(self.FILE, {})
        assert (config.workers, config.retry, config.log.level) == (4, 3, "warning")
        assert [storage.name for storage in config.storages] == [
            "本机1",
            *("MyAlist", "MyWebdav", "MyS3", "MyMinio", "MyRclone", "MyTelegram"),
        ]
        assert config.allowed_storages(config.users[0]) == ["本机1"]
        assert config.telegram.app_id == 1025907
        assert config.proxy == "socks5://127.0.0.1:7890"

    def test_each_key_without_effect_gets_one_warning_with_its_line(self) -> None:
        warnings = load(self.FILE, {}).warnings
        lines = self.FILE.read_text().splitlines()
        for name in compat.IGNORED:
            [warning] = [text for text in warnings if f": {name} " in text]
            number = int(warning.removeprefix(f"{self.FILE}:").split(":")[0])
            assert name.split(".")[-1] in lines[number - 1]
        assert len(warnings) == len(compat.IGNORED)


@pytest.mark.parametrize("key", ["proxy", "telegram.proxy.url"])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("tg://proxy?server=x&port=443&secret=hunter2", "is an MTProto proxy"),
        ("https://t.me/proxy?server=x&port=443&secret=hunter2", "is an MTProto proxy"),
        ("mtproto://hunter2@x:443", "is an MTProto proxy"),
        ("socks5://me:hunter2@x", "must look like socks5://"),
    ],
)
def test_an_unusable_proxy_is_reported_with_its_line(tmp_path: Path, key: str, url: str, said: str) -> None:
    file = write(tmp_path, f"telegram.proxy.enable = true\n{key} = '{url}'\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert caught.value.message.startswith(f"{file}:2: {key}: {said}")
    assert "hunter2" not in caught.value.message


def test_an_unused_proxy_is_not_checked(tmp_path: Path) -> None:
    assert not load(write(tmp_path, "telegram.proxy.url = 'mtproto://x'"), {}).telegram.proxy.enable


class TestKeys:
    USERS = "[[users]]\nid = 7\n"
    KEY = '[[api.keys]]\nname = "{}"\nuser_id = {}\nsecret = "{}"\n'
    SECRET = "twenty characters or more"

    def test_a_key_has_scopes_by_default(self, tmp_path: Path) -> None:
        text = self.KEY.format("nas", 7, self.SECRET) + self.USERS
        [key] = load(write(tmp_path, text), {}).api.keys
        assert (key.name, key.user_id, key.scopes) == ("nas", 7, ("tasks", "files", "links"))
        assert self.SECRET not in repr(key)

    @pytest.mark.parametrize(
        ("keys", "problem"),
        [
            (KEY.format("nas", 8, SECRET), "must have user 8, as whom the key 'nas' acts"),
            (KEY.format("nas", 7, "short"), "must have 20 to 255 characters"),
            (KEY.format("", 7, SECRET), "must not be empty"),
            (KEY.format("nas", 7, SECRET) + 'scopes = ["all"]', "must be 'tasks', 'files'"),
            (KEY.format("nas", 7, SECRET) + "scopes = []", "must have at least 1 entry"),
            (KEY.format("a", 7, SECRET) + KEY.format("a", 7, "x" * 20), "a is used twice"),
            (KEY.format("a", 7, SECRET) + KEY.format("b", 7, SECRET), "two keys have the same secret"),
        ],
    )
    def test_a_wrong_key_is_refused(self, tmp_path: Path, keys: str, problem: str) -> None:
        found = "\n".join(problems(tmp_path, f"{keys}\n{self.USERS}"))
        assert problem in found
        assert self.SECRET not in found

    def test_a_key_needs_its_user_to_be_listed(self, tmp_path: Path) -> None:
        assert "must have user 7" in problems(tmp_path, self.KEY.format("nas", 7, self.SECRET))[0]
