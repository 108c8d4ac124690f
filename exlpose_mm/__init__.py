"""exlpose_mm: human pose estimation in the dark, as an MMPose plugin.

Importing the package registers everything in MMPose's registries
(``custom_imports = dict(imports=['exlpose_mm'])`` in a config).
"""
from . import versions

try:
    import exlpose_mm_startup  # noqa: F401
except ImportError:  # this is a checkout that was not installed
    from .startup import exlpose_mm_startup  # noqa: F401
versions.check_installed()

from .adversarial import DomainAdversarialLoss, GradientReversal
from .checkpoint_hook import SafeCheckpointHook
from .codecs import CPNHeatmap, SoftmaxHeatmap
from .crops import CPNCrop
from .darkening import ELLA, GammaDarken, SimulateLowLight
from .datasets import ExLPoseDataset, ExLPoseOCNDataset
from .enhancement import LowLightEnhance
from .estimators import LightingDataPreprocessor, LightingPoseEstimator
from .fitting import CheckpointFitHook
from .heads import CPNHead, DualTeacherHead
from .hooks import (ChannelsLastHook, FiniteLossHook, FloatHeadHook, InitialValHook, JointsHook, KeepHeapHook,
                    LogHistoryHook, MomentumTeacherHook)
from .lighting import LIGHTINGS, LightingError, LSBN2d, lighting, tap
from .losses import GramLoss, HeatmapCrossEntropyLoss
from .metrics import LightingCocoMetric
from .photometry import AntiAlias, ScaleToMean, ThinPhotons
from .running import LearningHook, OrphansHook, WorkDirHook
from .seeding import ReseedHook, SeededBatchSampler
from .transforms import (AddMomentumView, LoadLabelledImage, LoadPairedImages, OnLighting, OnStudent,
                         PackPairedInputs, TagLighting)
from .variables import VariablesHook
from .visualization import LightingVisualizer

__version__ = '0.2.0'

versions.warn_untested()

__all__ = [
    'DomainAdversarialLoss', 'GradientReversal', 'LowLightEnhance',
    'LIGHTINGS', 'LSBN2d', 'LightingError', 'lighting', 'tap', 'GramLoss', 'HeatmapCrossEntropyLoss',
    'CPNHeatmap', 'SoftmaxHeatmap', 'CPNHead', 'DualTeacherHead', 'LightingDataPreprocessor',
    'LightingPoseEstimator', 'ExLPoseDataset', 'ExLPoseOCNDataset', 'LightingCocoMetric',
    'LoadLabelledImage', 'LoadPairedImages', 'OnLighting', 'ScaleToMean', 'AntiAlias', 'SimulateLowLight', 'ELLA',
    'GammaDarken', 'TagLighting', 'AddMomentumView', 'OnStudent', 'ThinPhotons',
    'PackPairedInputs', 'CPNCrop', 'InitialValHook', 'MomentumTeacherHook',
    'LightingVisualizer', 'CheckpointFitHook', 'FiniteLossHook', 'KeepHeapHook', 'ReseedHook',
    'SeededBatchSampler', 'SafeCheckpointHook', 'LogHistoryHook', 'ChannelsLastHook', 'VariablesHook', 'FloatHeadHook',
    'JointsHook', 'LearningHook', 'OrphansHook', 'WorkDirHook'
]
