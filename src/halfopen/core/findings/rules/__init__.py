# isort: off
# The order of the registry: of two findings of one level, the rule registered first comes first.
from halfopen.core.findings.rules import flood as flood
from halfopen.core.findings.rules import path as path
from halfopen.core.findings.rules import scan as scan
from halfopen.core.findings.rules import acked as acked
from halfopen.core.findings.rules import accept as accept
from halfopen.core.findings.rules import before_tcp as before_tcp
from halfopen.core.findings.rules import deferring as deferring
from halfopen.core.findings.rules import queues as queues
from halfopen.core.findings.rules import checks as checks
from halfopen.core.findings.rules import reading as reading
from halfopen.core.findings.rules import settings as settings
from halfopen.core.findings.rules import answered as answered
from halfopen.core.findings.rules import hung_up as hung_up
from halfopen.core.findings.rules import close_wait as close_wait
from halfopen.core.findings.rules import open_ends as open_ends
from halfopen.core.findings.rules import ports as ports
from halfopen.core.findings.rules import memory as memory
from halfopen.core.findings.rules import undecided as undecided
