"""The doctor: checks at the service itself what the authors of this package could only assume.

``python -m rockai_transport doctor --model owner/name``, or `run_doctor` from Python. No other module of
`rockai_transport` imports this one, so a program that never asks for the doctor does not wait for it.

The way of one examination::

    PROBES ─► Wire ─► Exchange ─► Check.judge ─► Finding ─► Redactor ─► Report
    a table   sends   recorded    pure           the mends are adopted, so that the next probe sees further
"""

from rockai_transport.doctor.examination import Plan, run_doctor
from rockai_transport.doctor.findings import Finding, Mend, Verdict
from rockai_transport.doctor.report import Report
from rockai_transport.doctor.table import CHECKS, PROBES

__all__ = ["CHECKS", "PROBES", "Finding", "Mend", "Plan", "Report", "Verdict", "run_doctor"]
