// Where files come from, by the type of the task.
import { t } from "../texts.js";

export const TYPES = {
  tgfiles: () => t("Telegram messages"),
  tphpics: () => t("Pictures of a telegra.ph page"),
  parseditem: () => t("Media of a page (gallery-dl)"),
  ytdlp: () => t("Videos (yt-dlp)"),
  aria2: () => t("Torrents, magnets and files (aria2)"),
  directlinks: () => t("Files at their own addresses"),
  transfer: () => t("Another storage"),
};
