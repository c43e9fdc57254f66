"""The HTTP API: one file per noun, each an `APIRouter` in the table of `app.py`.

app.py       assembles the application         server.py   runs it
auth.py      the bearer token                  limits.py   the maximum size of a body
routes.py    strict bodies and queries         errors.py   every error as JSON
bodies.py    the bodies of requests            models.py   the replies
requests.py  bodies to requests for the service
hub.py       distributes events to the clients of this process
openapi.py   writes docs/reference/openapi.json
"""
