"""A Telegram data centre on loopback: for `saveany demo`, tests and benchmarks.

It speaks real MTProto to unmodified clients and is strict where the real service is strict. Start with
`Sandbox`; `samples` is what is in it, `faults` is what can go wrong, `handlers` is what it answers.
"""

from saveany.sandbox.faults import Fault
from saveany.sandbox.samples import Sample, SampleFile
from saveany.sandbox.server import Sandbox

__all__ = ["Fault", "Sample", "SampleFile", "Sandbox"]
