"""The acceptance list of the web UI (DA1-DA12), driven in Chromium, and the tests that prove it.

| | what | tests |
|---|---|---|
| DA1 | from an empty folder to a shared video that plays, within 3 minutes; a link is revoked | `test_first_run`: `..._to_a_shared_video_that_plays` (QR code at 1280 px; phone, code and password at 360 px); `test_web`: `test_from_a_link_to_a_shared_file` |
| DA2 | small first load, one host, no violation of the policy, below a path | `test_web`: `test_the_first_load_is_small`; `conftest.check` after each test; `test_prefix` (nginx, Caddy; every view, and events) |
| DA3 | 50 running tasks, sleep | `test_large_and_long`; `make bench ARGS=page` for 10 minutes |
| DA4 | a folder with very many files | `test_large_and_long`; `make bench ARGS=page` with 100,000 |
| DA5 | without the API | `test_large_and_long`: `test_an_outage_is_shown_and_survived`; `test_web`: `test_without_a_connection_nothing_is_lost` |
| DA6 | axe, keyboard, less motion, forced colours | `test_every_view`: `test_nothing_serious_for_axe`; `test_first_run` (claim and setup); `test_safety` |
| DA7 | hostile names and captions, files that never run | `test_every_view`: `test_hostile_texts_are_text`; `test_safety` |
| DA8 | cookie, end of the stream, CSRF, fixation, the code of the first run | `test_web`, `test_safety`; `test_first_run`: `test_wrong_codes_...` |
| DA9 | share target | `test_web`: `test_a_shared_link_survives_the_login` |
| DA10 | without JavaScript | `test_web`: two tests |
| DA11 | source of each setting, locked ones | `test_settings`; `test_first_run`: `locked` |
| DA12 | languages | `test_every_view`: `test_no_english_in_chinese`; `tests/unit/web/test_texts.py`, `tests/unit/bot/test_texts.py`, `tests/integration/api/test_languages.py`, `tests/integration/delivery/test_pages.py` |
"""  # noqa: E501
