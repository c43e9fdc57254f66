"""The catalogue: the history of ended tasks, and the saved files, in SQLite or PostgreSQL.

Redis holds the work in progress. When a task ends or a file is saved, the `Recorder` copies that here, and
later the ended task leaves Redis. The API and the bot open the catalogue (`saveany.catalogue.catalogue`);
workers never do.

This module does not import a database library, because `saveany run` imports it for all processes.
"""

from saveany.catalogue.models import (
    FileFilter,
    FileKind,
    FileOrder,
    FilePage,
    FileStats,
    Folder,
    FolderPage,
    HistoryFilter,
    HistoryPage,
    ListedFile,
    SavedFile,
)

__all__ = [
    "FileFilter",
    "FileKind",
    "FileOrder",
    "FilePage",
    "FileStats",
    "Folder",
    "FolderPage",
    "HistoryFilter",
    "HistoryPage",
    "ListedFile",
    "SavedFile",
]
