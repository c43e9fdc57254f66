"""Requests of the API: configuration. `make docs` has written this from openapi.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saveany.client.request import ApiRequest, quoted

if TYPE_CHECKING:
    from saveany.client.models import (
        AccountList,
        ConfigurationChange,
        ConfigurationView,
        LoginAnswer,
        LoginView,
        MessageReply,
        NewLogin,
        NewStorage,
        StorageChange,
        StorageConfigList,
        StorageConfigView,
        StorageTest,
        StorageTypeList,
        Tried,
    )


def add_storage(body: NewStorage) -> ApiRequest[StorageConfigView]:
    """Add a storage.

    Add a storage to the configuration. Before that, a small file is written to it and deleted; if that
    fails, nothing is changed. Workers use it within seconds.
    """
    return ApiRequest("POST", "/api/v1/storages", body=body)


def list_storage_types() -> ApiRequest[StorageTypeList]:
    """Types of storages.

    All types of storages, with their options.
    """
    return ApiRequest("GET", "/api/v1/storage-types")


def test_new_storage(body: NewStorage) -> ApiRequest[StorageTest]:
    """Test options of a storage.

    Write a small file to a storage that is not configured yet, or has other options until now, and delete
    it. Hidden secrets are those of the storage of that name.
    """
    return ApiRequest("POST", "/api/v1/storage-tests", body=body)


def get_storage(name: str) -> ApiRequest[StorageConfigView]:
    """Options of a storage.

    The options of a storage.

    name: Name of the storage.
    """
    return ApiRequest("GET", f"/api/v1/storages/{quoted(name)}")


def change_storage(name: str, body: StorageChange) -> ApiRequest[StorageConfigView]:
    """Change a storage.

    Change options of a storage, which is tried out before. Running tasks end with the present ones.

    name: Name of the storage.
    """
    return ApiRequest("PATCH", f"/api/v1/storages/{quoted(name)}", body=body)


def remove_storage(name: str) -> ApiRequest[MessageReply]:
    """Remove a storage.

    Remove a storage from the configuration. Its files stay where they are; tasks that wait for it fail.

    name: Name of the storage.
    """
    return ApiRequest("DELETE", f"/api/v1/storages/{quoted(name)}")


def list_accounts() -> ApiRequest[AccountList]:
    """Telegram accounts.

    All accounts, and why some cannot be used.
    """
    return ApiRequest("GET", "/api/v1/accounts")


def begin_login(body: NewLogin) -> ApiRequest[LoginView]:
    """Log an account in.

    Begin to log an account in. Read the login every second: it shows a QR code, or asks for the phone
    number, the code and the password. All processes of this machine use the account within seconds.
    """
    return ApiRequest("POST", "/api/v1/logins", body=body)


def get_login(login_id: str) -> ApiRequest[LoginView]:
    """A login.

    The state of a login.

    login_id: Id of the login.
    """
    return ApiRequest("GET", f"/api/v1/logins/{quoted(login_id)}")


def cancel_login(login_id: str) -> ApiRequest[MessageReply]:
    """Cancel a login.

    Give a login up.

    login_id: Id of the login.
    """
    return ApiRequest("DELETE", f"/api/v1/logins/{quoted(login_id)}")


def answer_login(login_id: str, body: LoginAnswer) -> ApiRequest[LoginView]:
    """Answer a login.

    Answer the question of a login.

    login_id: Id of the login.
    """
    return ApiRequest("POST", f"/api/v1/logins/{quoted(login_id)}/answer", body=body)


def log_out(name: str) -> ApiRequest[MessageReply]:
    """Log an account out.

    End the login of an account at Telegram, and delete it here.

    name: Name of the account.
    """
    return ApiRequest("DELETE", f"/api/v1/accounts/{quoted(name)}")


def get_configuration() -> ApiRequest[ConfigurationView]:
    """Settings.

    All settings with what they mean, their values, and where these come from.
    """
    return ApiRequest("GET", "/api/v1/config")


def change_configuration(body: ConfigurationChange) -> ApiRequest[ConfigurationView]:
    """Change settings.

    Change settings in the file, where comments stay. What names a server, a port or a bot is tried out
    before that; if it does not work, or would lock you out, nothing is changed. Users, storages and
    limits apply within seconds, other settings with a restart (`waiting`).
    """
    return ApiRequest("PATCH", "/api/v1/config", body=body)


def check_configuration(body: ConfigurationChange) -> ApiRequest[Tried]:
    """Check settings.

    Do the same without changing anything: validate the settings, and try them out.
    """
    return ApiRequest("POST", "/api/v1/config/check", body=body)


def restart() -> ApiRequest[MessageReply]:
    """Restart SaveAny.

    Restart all processes of this machine, for settings that need that. Running tasks continue after it.
    """
    return ApiRequest("POST", "/api/v1/config/restart")


def list_storage_configs() -> ApiRequest[StorageConfigList]:
    """Storages of the file.

    All storages of the file with their options, also those that are not enabled.
    """
    return ApiRequest("GET", "/api/v1/config/storages")
