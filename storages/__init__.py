"""Where files go. `base.py` is the contract, `registry.py` the list; one module per backend."""
