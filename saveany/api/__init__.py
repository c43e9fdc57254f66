"""The HTTP API: one file per noun, each an `APIRouter` in the table of `app.py`.

app.py        puts it together; server.py runs it
auth.py       bearer token          limits.py   size of a body
errors.py     every error as JSON   routes.py   strict bodies and queries
hub.py        events of all tasks, fanned out to the clients of this process
models.py     what goes in and out  openapi.py  writes docs/reference/openapi.json
"""
