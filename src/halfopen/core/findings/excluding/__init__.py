"""The facts that exclude each cause, a file a family as the rules have. Importing this package fills the registry."""

from __future__ import annotations

from halfopen.core.findings.excluding import before_tcp as before_tcp
from halfopen.core.findings.excluding import closing as closing
from halfopen.core.findings.excluding import flow as flow
from halfopen.core.findings.excluding import memory as memory
from halfopen.core.findings.excluding import queueing as queueing
from halfopen.core.findings.excluding import values as values
