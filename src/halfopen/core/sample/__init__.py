from halfopen.core.sample.listeners import LISTENER, QUEUES, ListenerOptions, Process
from halfopen.core.sample.requests import REQUEST
from halfopen.core.sample.sample import Completeness, Sample

__all__ = ["LISTENER", "QUEUES", "REQUEST", "Completeness", "ListenerOptions", "Process", "Sample"]
