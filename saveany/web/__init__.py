"""The web UI: ES modules, styles and texts that browsers load as they are, without a build step.

`site` makes them ready to be served; the API serves them. `app.js` is where the browser begins. Each entry of
the menu is one module in `views/`; what several of them use is in `parts/`. `vendor/` has the libraries.
"""
