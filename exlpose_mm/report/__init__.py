"""One self-contained HTML page about tests: AP, losses, joints, brightness, failures."""
from .frames import Frames
from .page import Options, ReportError, write_report

__all__ = ['Frames', 'Options', 'ReportError', 'write_report']
