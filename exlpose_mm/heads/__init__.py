"""Pose heads."""
from .cpn import CPNHead, OHKMMSELoss
from .dual_teacher import DualTeacherHead

__all__ = ['CPNHead', 'DualTeacherHead', 'OHKMMSELoss']
