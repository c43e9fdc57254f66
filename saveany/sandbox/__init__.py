"""A Telegram data center on loopback: for `saveany demo`, tests and benchmarks.

It speaks real MTProto with unmodified clients and enforces the rules of the real service. Start with
`Sandbox`; `samples` has its contents, `faults` the failures it can simulate, `handlers` the methods it
implements.
"""

from saveany.sandbox.faults import Fault
from saveany.sandbox.samples import Sample, SampleFile
from saveany.sandbox.server import Sandbox

__all__ = ["Fault", "Sample", "SampleFile", "Sandbox"]
