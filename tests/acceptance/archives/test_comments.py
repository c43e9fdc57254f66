"""Comments on the posts of a channel are archived beside their posts."""

from __future__ import annotations

import pytest

from saveany.sandbox import samples
from saveany.sandbox.world import Chat, StoredMessage
from tests.acceptance.archives.harness import ArchiveHarness
from tests.fixtures.stack import STORAGE
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

GROUP_OFFSET = 1_000_000


def _discussion(harness: ArchiveHarness, channel: Chat, *members: int) -> Chat:
    group = Chat(
        id=channel.id + GROUP_OFFSET,
        title="Discussion",
        broadcast=False,
        members=set(members),
        linked=channel.id,
    )
    channel.linked = group.id
    return harness.world.add_chat(group)


def _forward(harness: ArchiveHarness, channel: Chat, group: Chat, post: int) -> int:
    """The message in the discussion group to which the comments on a post reply."""
    message = StoredMessage(id=0, text="post", forwarded=(channel.id, post))
    return harness.world.send(group, message).id


async def test_case_17_comments_of_a_group_that_admits_nobody_lie_with_their_posts(
    harness: ArchiveHarness,
) -> None:
    channel = harness.channel("Commented")
    group = _discussion(harness, channel)
    assert samples.USER.id not in group.members
    posts = [harness.post(channel, name=f"post{n}.bin") for n in range(3)]
    words = harness.say(channel)
    roots = {post: _forward(harness, channel, group, post) for post in (*posts, words)}
    names: dict[int, list[str]] = {post: [] for post in roots}
    for number in range(130):  # comments on different posts alternate
        post = posts[number % 2] if number % 10 else words
        if number % 5:
            harness.say(group, thread=roots[post])
        else:
            name = f"comment{number}.bin"
            harness.post(group, name=name, thread=roots[post])
            names[post].append(name)
    for _ in range(10):  # an album
        harness.post(group, name="album.bin", thread=roots[posts[0]], album=815)
    archive = await harness.archive(channel, dir_path="commented", comments=True)
    found = await harness.reaches(archive)
    with_files = 3 + sum(map(len, names.values())) + 10
    assert (found["counts"]["saved"], found["unaccounted"]) == (with_files, 0), found
    assert found["counts"]["telegram_total"] == 5 + 140
    files = harness.files("commented")
    assert len(files) == with_files
    for post, of_post in names.items():
        assert {f"{post}/comments/{name}" for name in of_post} <= set(files)
    assert {f"{post}/post{n}.bin" for n, post in enumerate(posts)} <= set(files)
    comments = [each for each in await harness.messages(archive) if each["chat"] == -(10**12) - group.id]
    album = [each["task_id"] for each in comments[-10:]]
    assert len(set(album)) == 1
    # The reference of a comment's file expires like any other.
    victim = comments[0]["message"]
    for file in group.messages[victim].files:
        harness.world.expire(file)
    saved = [each for each in files if each.endswith("/comments/comment0.bin")]
    (harness.stack.storage_dir / "commented" / saved[0]).unlink()
    result = await harness.stack.saveany("archive", "verify", archive, "--repair")
    assert "1 are saved again" in result.out
    await harness.reaches(archive)
    assert saved[0] in harness.files("commented")


async def test_comments_have_a_filter_of_their_own(harness: ArchiveHarness) -> None:
    channel = harness.channel("Filtered comments")
    group = _discussion(harness, channel, samples.USER.id)
    post = harness.post(channel, name="post.bin")
    root = _forward(harness, channel, group, post)
    harness.post(group, name="a.bin", thread=root, size=100)
    harness.post(group, name="b.bin", thread=root, size=10)
    archive = await harness.archive(
        channel, dir_path="filtered", comments=True, comments_filter={"min_size": 50}
    )
    counts = (await harness.reaches(archive))["counts"]
    assert (counts["saved"], counts["filtered"]) == (2, 1)
    assert sorted(harness.files("filtered")) == [f"{post}/comments/a.bin", f"{post}/post.bin"]


async def test_comments_whose_tasks_were_refused_are_saved_later(harness: ArchiveHarness) -> None:
    channel = harness.channel("Refused comments")
    group = _discussion(harness, channel, samples.USER.id)
    root = _forward(harness, channel, group, harness.say(channel))
    for name in ("a.bin", "b.bin"):
        harness.post(group, name=name, thread=root)
    archive = await harness.archive(channel, dir_path="refused", comments=True, paused=True)
    await harness.change_user(storages=[STORAGE], blacklist=True)
    await harness.act(archive, "resume")
    assert "may use no storage" in (await harness.reaches(archive, "blocked"))["problem"]
    await harness.change_user(storages=None, blacklist=None)

    async def all_saved() -> bool:
        await harness.act(archive, "resume")  # checks it at once
        return (await harness.counts(archive)).get("saved") == 2

    await until(all_saved, within=50)


async def test_a_chat_without_comments_is_refused(harness: ArchiveHarness) -> None:
    chat = harness.channel("Silent")
    body = {"chat": f"@{chat.username}", "comments": True}
    reply = await harness.stack.client.post("/api/v1/archives", json=body)
    assert reply.status_code == 400, reply.text
    assert "no comments" in reply.text


async def test_new_comments_on_an_old_post_are_saved_while_the_archive_follows(
    harness: ArchiveHarness,
) -> None:
    channel = harness.channel("Followed comments")
    group = _discussion(harness, channel)
    post = harness.post(channel, name="post.bin")
    root = _forward(harness, channel, group, post)
    archive = await harness.archive(channel, dir_path="talk", comments=True, follow=True)
    await harness.reaches(archive, "following")
    harness.post(group, name="late.bin", thread=root)
    assert harness.stack.api is not None
    await harness.stack.kill(harness.stack.api)  # a new process checks the latest posts at once
    await harness.stack.start_api()
    await harness.stack.ready()
    await until(lambda: f"{post}/comments/late.bin" in harness.files("talk"), within=60)
    assert (await harness.counts(archive))["saved"] == 2
