"""Every loop of a long-running process continues after an unexpected error."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Code of long-running processes.
PARTS = ("saveany", "workers", "storages")
LEFT_OUT = ("saveany/cli", "saveany/sandbox", "storages/testing")

#: Loops that may end with an error, because they belong to one piece of work whose error it is.
OF_ONE = {
    "answer, file or connection": """
        saveany.api.events._stream saveany.net.proxy._download
        saveany.telegram.target_chats.newest_message
        storages.local.jail.Disk.run storages.local.commits.Commits.run
        saveany.uploads.folder._in_thread saveany.uploads.multipart.first_file
        saveany.service.uploads.UploadService._resume saveany.delivery.limits.DeliveryLimits.open
        saveany.service.archives.ArchiveService.retry saveany.service.inventory.walk
        saveany.catalogue.sqlite_file._settled saveany.dav.tree.Tree.children
        storages.ftp.connections.FtpConnections.close
        storages.ftp.connections.FtpConnections._free_connection
        storages.sftp.pipeline.pipelined storages.rclone.daemon.RcloneDaemon._start""",
    "task or upload": """
        workers.retries.Retries.run workers.lease.LeaseRenewer._renew_and_publish
        workers.limits.TokenBucket.take workers.jobs.Job._save_growing
        workers.sources.aria2.Aria2Source._wait_for_files
        workers.sources.aria2.Aria2Source._wait_until_complete
        workers.sources.aria2_rpc.Aria2Daemon._wait_until_ready
        workers.sources.directlinks.DirectLinksSource._fetch_blocks.work workers.sources.process._read_lines
        workers.sources.stream_recorder.StreamRecorder._record
        workers.sources.call_recording.CallRecordings.files
        workers.sources.call_recording.CallRecordings._retried
        workers.task_files.TaskFiles._save_files workers.task_files.TaskFiles._save_files.help_out
        saveany.telegram.livestream.StreamReader._newest saveany.telegram.livestream.StreamReader._join
        workers.publishing_order.PublishingOrder.wait
        workers.transfer.save workers.conflicts.ConflictPolicy.reserve
        workers.conflicts.ConflictPolicy.publish
        storages.limit.Turns.wait
        saveany.delivery.archive.ZipContent.read saveany.telegram.range_reader.read_range
        saveany.service.chats._patiently
        storages.alist.api.AlistApi._poll_task storages.openload.api.OpenloadApi._poll
        storages.s3.bucket.S3Bucket.parts storages.s3.bucket.S3Bucket.pages storages.s3.upload.S3Upload._send
        storages.s3.upload.S3Upload.copy storages.s3.upload.S3Upload._finish
        storages.telegram.video_upload.VideoUpload._upload_part
        storages.telegram.storage.TelegramStorage._send storages.telegram.upload.TelegramUpload._send
        storages.telegram.upload.VolumeUpload.wait_for_all saveany.storage_set.StorageHandle._probe""",
    "call of the store, which waits for Redis or reads in pieces": """
        saveany.store.claims.Claim.item saveany.store.duplicates.DuplicateQueries.wait_for_turn
        saveany.store.events.Events.follow saveany.store.repair.scan saveany.loops.wait_out_outages
        saveany.catalogue.folders._paths
        saveany.loops.wait_for_store saveany.store.snapshot._announced
        saveany.backup.redis_snapshot._batches saveany.backup.make._paused_recorder
        saveany.backup.make._hold saveany.store.snapshot.download
        saveany.catalogue.inventory.Inventory.copies
        saveany.store.outbox.Outbox.redeliver saveany.store.preferences.PreferencesStore.change
        saveany.store.tasks.Tasks._live_after saveany.service.live.LiveService._history
        saveany.service.tasks.TaskService._wait_until_stopped saveany.storage_set._mark_first_disk""",
    "start or login, with a caller that waits for it": """
        saveany.telegram.login._scanned
        saveany.telegram.session._acquire_lock""",
}
#: Loops that are run again by the named caller.
WITHIN = {
    "the supervisor, which starts the API again": "saveany.api.server.ApiServer.main_loop",
    "repeat, in saveany.catalogue.catalogue": "saveany.catalogue.duplicates.Duplicates.reply_forever",
    "repeat, in workers.main": """
        workers.storage_queries.reply_forever workers.link_queries.reply_to_link_queries
        workers.main.Worker._wait_for_tasks""",
    "until_done, in saveany.bot.app._serve: the bot starts again": """
        saveany.bot.app._wait_for_lock saveany.bot.app._renew_lock""",
    "the response, which it ends": """
        saveany.delivery.delivery.LinkDelivery.until_stopped saveany.dav.reading.FileReader._until_revoked
        saveany.api.direct.DirectSocket.flushed""",
    "repeat, in saveany.api.hub": "saveany.api.hub.Hub._distribute_progress saveany.api.hub.Hub._ping",
    "repeat, in saveany.bot.inbox.Inbox.run": """
        saveany.telegram.bot_client.BotClient.updates saveany.telegram.updates.Feed.updates""",
    "saveany.bot.progress.ProgressUpdater._update, which catches every exception": """
        saveany.bot.progress.ProgressUpdater._edit_chat saveany.bot.progress._EditQueue.next""",
    "nothing: it only passes on what has arrived": "saveany.telegram.client._Telegram._update_loop",
}


def loops() -> Iterator[tuple[str, bool]]:
    """Each endless `while` of a coroutine, and whether it catches every exception."""
    for part in PARTS:
        for file in sorted((ROOT / part).rglob("*.py")):
            place = file.relative_to(ROOT).as_posix()
            if not place.startswith(LEFT_OUT):
                tree = ast.parse(file.read_text())
                yield from _in(tree, place.removesuffix(".py").replace("/", "."))


def _in(node: ast.AST, name: str, *, coroutine: bool = False) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            is_coroutine = isinstance(child, ast.AsyncFunctionDef)
            yield from _in(child, f"{name}.{child.name}", coroutine=is_coroutine)
            continue
        if coroutine and isinstance(child, ast.While) and _is_endless(child):
            yield name, _catches_all(child)
        yield from _in(child, name, coroutine=coroutine)


def _is_endless(loop: ast.While) -> bool:
    """Whether a loop waits for something, and its condition is no comparison."""
    waits = any(isinstance(each, ast.Await | ast.AsyncFor | ast.AsyncWith) for each in ast.walk(loop))
    return waits and not (isinstance(loop.test, ast.Compare | ast.BoolOp | ast.NamedExpr))


def _catches_all(loop: ast.While) -> bool:
    if any(isinstance(each, ast.Expr) and "until_done(" in ast.unparse(each) for each in loop.body):
        return True
    tries = [each for each in loop.body if isinstance(each, ast.Try | ast.TryStar)]
    return any(
        "Exception" in ast.unparse(handler.type or each) for each in tries for handler in each.handlers
    )


def test_each_endless_loop_handles_unexpected_errors() -> None:
    found = dict(loops())
    unprotected = {name for name, catches_all in found.items() if not catches_all}
    known = {name for names in (OF_ONE | WITHIN).values() for name in names.split()}
    assert unprotected - known == set(), "use `repeat` or `until_done` of saveany.loops"
    assert known - unprotected == set(), "this loop does not exist; remove it from the table"
    assert len(found) - len(unprotected) >= 10
