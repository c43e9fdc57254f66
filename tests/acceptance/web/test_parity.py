"""What the bot and the command line do can be done in the web UI of the demo, too."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.web.conftest import RunningDemo, logged_in
from tests.fixtures.browser import Browser, Page, is_downloaded
from tests.fixtures.waiting import until
from tests.integration.api.signing import Signer

pytestmark = pytest.mark.timeout(300)


async def open_view(page: Page, view: str) -> None:
    await page.run("view => { location.hash = '#/' + view }", view)
    await page.wait("!document.querySelector('main .loading')")


async def test_a_chat_is_opened_and_files_are_picked_from_it(
    demo: RunningDemo, browser: Browser, tmp_path: Path
) -> None:
    """From the list of chats of an account, with a filter; the list of its files is saved as a table."""
    async with logged_in(browser, demo, width=360, height=740) as page:
        await page.save_downloads(tmp_path)
        await open_view(page, "chats")
        await page.click("Look into a chat", "a")
        await page.fill("Search chats", "sample chan")
        await page.click("Sample channel", "button")
        await page.wait("document.querySelectorAll('.chat-files input').length > 1")
        await page.click("Filter", "summary")
        await page.click("Pictures", "label")
        await page.click("Apply", "button")
        await page.wait(
            "[...document.querySelectorAll('.chat-files .tag')].every(e => e.innerText === 'Pictures')"
        )
        assert await page.fits()
        await page.click("Export the list", "button")
        await until(lambda: is_downloaded(tmp_path / "export.csv"), within=30)
        assert len((tmp_path / "export.csv").read_text().splitlines()) == 1 + 4
        await page.click("All", "dialog footer button")
        await page.fill("Folder", "picked")
        await page.click("Save 4 files", "button")
        await page.wait("!document.querySelector('dialog[open]')")
    with demo.api() as api:

        async def is_saved() -> bool:
            found = api.get("/api/v1/files").json()["files"]
            return any("picked/" in each["path"] for each in found)

        await until(is_saved, within=60)


async def choose(page: Page, label: str, value: str) -> None:
    """Choose an option of a list."""
    await page.wait(
        """(label, value) => {
          const isIt = (each) => each.labels[0]?.innerText.startsWith(label);
          const list = [...document.querySelectorAll("select")].find(isIt);
          if (![...list?.options ?? []].some((each) => each.value === value)) return false;
          list.value = value;
          return list.dispatchEvent(new Event("change", {bubbles: true}));
        }""",
        label,
        value,
    )


def files_like(api: httpx.Client, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get("/api/v1/files", params={"q": name}).json()["files"]
    return found


def send(api: httpx.Client, demo: RunningDemo, name: str) -> None:
    params = {"name": name, "user_id": demo.facts["user_id"]}
    api.post("/api/v1/files", params=params, content=name.encode()).raise_for_status()


async def upload(api: httpx.Client, demo: RunningDemo, name: str) -> dict[str, Any]:
    """A saved file."""
    send(api, demo, name)
    await until(lambda: files_like(api, name), within=60)
    return files_like(api, name)[0]


async def test_a_file_gets_a_caption_and_a_name_while_the_library_changes(
    demo: RunningDemo, browser: Browser
) -> None:
    """What is previewed stays open while a task ends, and when the search leads to it no more."""
    with demo.api() as api:
        file = await upload(api, demo, "plan one.bin")
        async with logged_in(browser, demo) as page:
            await open_view(page, "library")
            await page.click("plan one.bin", "button.row-name")
            await page.click("Edit caption", "button")
            await page.fill("Caption", "The plan\nof the house")
            await page.click("Save", "button")
            await page.wait("document.querySelector('dialog .caption')?.innerText.includes('of the house')")
            await upload(api, demo, "other.bin")
            await page.click("Rename", "button")
            await page.fill("Name", "a house.bin")
            await page.click("Rename", "form button")
            await page.wait("document.querySelector('dialog h2')?.innerText === 'a house.bin'")
            await page.press("Escape", 27)
            for name in ("a house.bin", "other.bin"):
                await page.wait(
                    "name => document.querySelector('.virtual')?.innerText.includes(name)",
                    name,
                )
            await open_view(page, "library?q=a%20house")
            await page.wait("!document.querySelector('.virtual')?.innerText.includes('other.bin')")
            await page.click("a house.bin", "button.row-name")
            await page.wait("document.querySelector('dialog[open]')")
            await page.click("Rename", "button")
            await page.fill("Name", "garden.bin")
            await page.click("Rename", "form button")
            await page.wait("document.querySelector('dialog h2')?.innerText === 'garden.bin'")
            await page.click("Edit caption", "button")
            await page.fill("Caption", "")
            await page.press("Backspace", 8)
            await page.click("Save", "button")
            await page.wait(
                "document.querySelector('dialog h2') && !document.querySelector('dialog .caption')"
            )
        changed = api.get(f"/api/v1/files/{file['file_id']}").json()
    assert (changed["name"], changed["caption"]) == ("garden.bin", "")


async def test_a_link_gets_a_source_and_a_webhook_and_files_of_a_storage_are_copied(
    demo: RunningDemo, browser: Browser
) -> None:
    with demo.api() as api:
        file = await upload(api, demo, "to copy.bin")
        async with logged_in(browser, demo) as page:
            await open_view(page, "add")
            await page.click("More options", "summary")
            await choose(page, "Source", "directlinks")
            await page.fill("Webhook when it ends (address)", "https://hooks.invalid/web")
            await page.fill("Links, one per line", "https://youtu.be/saveany-tests")
            await page.click("Save", "button")
            await page.wait("location.hash === '#/now'")
            tasks = api.get("/api/v1/tasks").json()["tasks"] + api.get("/api/v1/history").json()["tasks"]
            [task] = [each for each in tasks if each["type"] == "directlinks"]
            api.delete(f"/api/v1/tasks/{task['task_id']}").raise_for_status()
            await open_view(page, "add")
            await choose(page, "Source", "transfer")
            await choose(page, "From storage", file["storage"])
            await page.fill("Files and folders, one per line", file["path"])
            await page.fill("Folder", "copied")
            await page.fill("File name (several files are numbered)", "its copy.bin")
            await page.sees("copied/")
            await page.click("Save", "button")
            await page.wait("location.hash === '#/now'")

        def is_copied() -> bool:
            return any(each["path"] == "copied/its copy.bin" for each in files_like(api, "its copy.bin"))

        def has_webhook() -> bool:
            return "hooks.invalid" in api.get("/api/v1/webhooks/deliveries").text

        await until(is_copied, within=60)
        await until(has_webhook, within=60)


async def test_rules_are_tried_on_a_chat(demo: RunningDemo, browser: Browser) -> None:
    async with logged_in(browser, demo) as page:
        await open_view(page, "rules")
        await page.click("Add rule", "button")
        await page.fill("Rule 1", "type=photo -> :Seen")
        await page.fill("Try the rules on the last 50 messages of a chat", "@channel")
        await page.click("Try on the chat", "button")
        await page.wait("document.querySelector('.tried')?.innerText.includes('Seen/')")
        await page.sees("no rule matches")


async def test_a_list_of_tables_is_edited_in_the_configuration(demo: RunningDemo, browser: Browser) -> None:
    """A key is added; the next one leaves its secret, which is hidden, as it is; then both are removed."""
    async with logged_in(browser, demo) as page:
        await open_view(page, "configuration?q=api.keys")
        for name, scopes in (("backup", "read"), ("second", "tasks")):
            await page.click("Add an entry: api.keys", "button")
            await page.fill("name", name)
            await page.fill("user_id", str(demo.facts["user_id"]))
            await page.fill("scopes", scopes)
            await page.fill("secret", f"{name}-secret-of-the-tests-0123456789")
            await page.click("Add to the list", "button")
            await page.click("Save", ".selection button")
            await page.wait("!document.querySelector('.selection')")
            await page.sees(name)
        with demo.api() as api:
            settings = api.get("/api/v1/config").json()["settings"]
        [keys] = [each["value"] for each in settings if each["key"] == "api.keys"]
        assert [(each["name"], each["scopes"], each["secret"]) for each in keys] == [
            ("backup", ["read"], "********"),
            ("second", ["tasks"], "********"),
        ]
        for name in ("backup", "second"):
            await page.click(f"Remove {name}", "button")
        await page.click("Save", ".selection button")
        await page.wait("!document.querySelector('.selection')")
        await page.sees("There is none")


async def test_a_storage_is_compared_with_the_library(demo: RunningDemo, browser: Browser) -> None:
    """What is there already is listed; after that, all saved files are found."""
    async with logged_in(browser, demo) as page:
        await open_view(page, "storages")
        await page.click("List what is there", "button")
        await page.click("Add to the library", "dialog button")
        await page.wait(r"/known before\.$/.test(document.querySelector('dialog [role=status]')?.innerText)")
        await page.click("Close", "dialog footer button")
        await page.click("Check the files", "button")
        await page.click("Check", "dialog footer button")
        await page.wait(
            r"/checked, 0 .*changed\.$/.test(document.querySelector('dialog [role=status]')?.innerText)"
        )


async def test_the_history_and_the_library_are_filtered(demo: RunningDemo, browser: Browser) -> None:
    with demo.api() as api:
        await upload(api, demo, "filtered.bin")
    async with logged_in(browser, demo) as page:
        # Searched for, because tasks of other tests may fill the first page.
        await open_view(page, "history?q=filtered.bin")
        await page.sees("filtered.bin")
        await page.click("Filter", "summary")
        await choose(page, "Source", "tgfiles")
        await page.wait("!document.querySelector('main .rows')?.innerText.includes('filtered.bin')")
        await choose(page, "Source", "")
        await page.sees("filtered.bin")
        await open_view(page, "history?to=2020-01-31")
        await page.sees("Nothing found")
        await open_view(page, "history?q=filtered.bin&from=2020-01-31")
        await page.sees("filtered.bin")
        await open_view(page, "library?storage=nowhere")
        await page.sees("Nothing found")


async def test_a_key_shows_what_clients_need_that_log_in_or_sign(demo: RunningDemo, browser: Browser) -> None:
    async with logged_in(browser, demo) as page:
        await open_view(page, "keys")
        await page.click("New key", "button")
        await page.fill("What it is for", "player")
        await page.click("add and change tasks", "dialog label")
        await page.click("the APIs of other hosts", "dialog label")
        await page.click("Keep the secret itself, for programs that sign requests with it", "dialog label")
        await page.click("Create", "dialog button")
        await page.sees("Login, for clients of other hosts")
        login = await page.run("document.querySelector('dialog input').value")
        await page.click("Done", "dialog button")
        await page.click("New key", "button")
        await page.fill("What it is for", "nightly job")
        await page.click("Keep the secret itself, for programs that sign requests with it", "dialog label")
        await page.click("Create", "dialog button")
        await page.sees("Id of the key, for signed requests")
        key_id, secret = await page.run(
            "[...document.querySelectorAll('dialog input')].map((each) => each.value)"
        )
    with demo.api() as api:
        keys = {key["key_id"]: key for key in api.get("/api/v1/keys").json()["keys"]}
        assert (keys[login]["scopes"], keys[login]["readable"]) == (["compat"], True)
        assert keys[key_id]["readable"]
        url = str(api.base_url.join("/api/v1/tasks"))
    async with httpx.AsyncClient(trust_env=False) as anonymous:
        reply = await anonymous.get(url, headers=Signer(key_id, secret).headers("GET", url))
    assert reply.status_code == 200, reply.text


async def test_a_backup_is_saved_by_the_browser_and_restored_by_the_command(
    demo: RunningDemo, browser: Browser, tmp_path: Path
) -> None:
    with demo.api() as api:
        await upload(api, demo, "backed up.bin")
    downloads, there = tmp_path / "downloads", tmp_path / "there"
    downloads.mkdir()
    there.mkdir()
    async with logged_in(browser, demo) as page:
        await page.save_downloads(downloads)
        await open_view(page, "status")
        await page.click("Make a backup", "button")
        await page.sees("The backup has")
        await until(lambda: any(map(is_downloaded, downloads.glob("saveany-*.tar"))), within=30)
    [file] = downloads.iterdir()
    config = there / "config.toml"
    config.write_text(
        'data_dir = "data"\n[[storages]]\nname = "local1"\ntype = "local"\nbase_path = "files"\n'
    )
    command = [sys.executable, "-m", "saveany", "--config", str(config), "restore", str(file)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert done.returncode == 0, done
    assert "Restored the backup of" in done.stdout
    with closing(sqlite3.connect(there / "data/catalogue.db")) as catalogue:
        names = [name for (name,) in catalogue.execute("SELECT name FROM files")]
    assert "backed up.bin" in names


async def test_files_of_another_program_are_adopted(
    demo: RunningDemo, browser: Browser, tmp_path: Path
) -> None:
    """First the page shows what would be adopted, which changes nothing."""
    [(storage, folder)] = demo.facts["storages"].items()
    with demo.api() as api:
        chat = {"chat": "@photoclub", "user_id": demo.facts["user_id"], "filter": {"kinds": ["photo"]}}
        photo = api.post("/api/v1/chats/files", json=chat).raise_for_status().json()["files"][0]
        link = {"url": photo["link"], "user_id": demo.facts["user_id"], "dir_path": "/exported"}
        api.post("/api/v1/tasks", json={**link, "filename": "old.jpg"}).raise_for_status()
        await until(lambda: files_like(api, "old.jpg"), within=60)
        (Path(folder) / "exported/unknown.jpg").write_bytes(b"no picture of this chat")
        export = tmp_path / "result.json"
        message = {"id": photo["message"], "file": "old.jpg"}
        export.write_text(json.dumps({"name": "Photo club", "messages": [message]}))
        async with logged_in(browser, demo, width=360, height=740) as page:
            await open_view(page, "chats")
            await page.click("Use files you have", "a")
            await page.fill("Channel or group: a link, @name or id", "@photoclub")
            await page.fill("Folder with the files", "exported")
            await page.choose_file(export)
            await page.click("See what would be adopted", "button")
            await page.sees("2 files")
            await page.sees(f"message {photo['message']}")
            await page.sees("to be compared")
            assert await page.fits()
            paths = "[...document.querySelectorAll('dialog .choices bdi')]"
            assert await page.run(f"{paths}.every(path => path.clientWidth > 150)"), "squeezed beside others"
            assert api.get("/api/v1/archives").json()["archives"] == []
            await page.click("Archive", "dialog footer button")
            await page.wait("!document.querySelector('dialog[open]')")
            await page.sees("Photo club")
        [archive] = api.get("/api/v1/archives").json()["archives"]
        address = f"/api/v1/archives/{archive['id']}"
        assert archive["storage"] in ("", storage)

        def adopted() -> list[dict[str, Any]]:
            page: dict[str, Any] = api.get(f"{address}/messages", params={"limit": 1000}).json()
            return [each for each in page["messages"] if each["file_id"] and not each["task_id"]]

        await until(adopted, within=90)
        assert [each["message"] for each in adopted()] == [photo["message"]]
        api.delete(address).raise_for_status()


async def test_a_list_is_saved_and_its_wrong_lines_are_shown(
    demo: RunningDemo, browser: Browser, tmp_path: Path
) -> None:
    table = tmp_path / "links.csv"
    table.write_text("name,where\na,https://t.me/channel/123\nb,https://t.me/photoclub\nc,t.me/channel/124\n")
    async with logged_in(browser, demo, width=360, height=740) as page:
        await open_view(page, "add")
        await page.fill("Folder", "listed")
        await page.click("A list of links", "summary")
        await page.choose_file(table, ".list-form")
        await page.click("Save the list", "button")
        await page.sees("No column is called link")
        await page.fill("Column with the links, if it is a table", "Where")
        await page.click("Save the list", "button")
        await page.sees("2 links are being saved. 1 was left out.")
        await page.sees("line 3")
        await page.sees("names a chat but no message")
        assert await page.fits()
    with demo.api() as api:

        async def is_saved() -> bool:
            return len([each for each in files_like(api, "") if "listed/" in each["path"]]) == 2

        await until(is_saved, within=60)
