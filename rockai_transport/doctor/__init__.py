"""The doctor: checks at the live service what the authors of this package could only assume.

Run ``python -m rockai_transport doctor --model owner/name``, or call `run_doctor`. No other module of
`rockai_transport` imports this one, so other programs do not pay for its import.

The steps of an examination::

    PROBES ─► DoctorSession ─► Operations over RecordingIO ─► Exchange ─► Finding ─► Redactor ─► Report
    a table                    the clients' own, recorded                 its settings apply from then on
"""

from rockai_transport.doctor.checks import CHECKS, PROBES, Finding, SuggestedSetting, Verdict
from rockai_transport.doctor.report import Report
from rockai_transport.doctor.session import Plan, run_doctor

__all__ = ["CHECKS", "PROBES", "Finding", "Plan", "Report", "SuggestedSetting", "Verdict", "run_doctor"]
