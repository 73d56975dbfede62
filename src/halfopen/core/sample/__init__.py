from halfopen.core.sample.head import Completeness, Head
from halfopen.core.sample.listeners import LISTENER, PULSE, QUEUES, ListenerOptions, Process
from halfopen.core.sample.requests import REQUEST, Requests
from halfopen.core.sample.sample import Sample

__all__ = [
    "LISTENER",
    "PULSE",
    "QUEUES",
    "REQUEST",
    "Completeness",
    "Head",
    "ListenerOptions",
    "Process",
    "Requests",
    "Sample",
]
