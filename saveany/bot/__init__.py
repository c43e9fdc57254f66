"""The Telegram bot: what a person does without a terminal, on the planner, queue and store of the API."""
