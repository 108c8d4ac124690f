"""exlpose_mm: human pose estimation in the dark, as an MMPose plugin.

Importing the package registers everything in MMPose's registries
(``custom_imports = dict(imports=['exlpose_mm'])`` in a config).
"""

from exlpose_mm.compat import versions

try:
    import exlpose_mm_startup
except ImportError:  # this is a checkout that was not installed
    from .startup import exlpose_mm_startup  # noqa: F401
versions.check_installed()

from exlpose_mm.codecs import AEHeatmap, CPNHeatmap, SoftmaxHeatmap
from exlpose_mm.compat.scopes import share_with_mmdet
from exlpose_mm.datasets.exlpose import ExLPoseDataset, ExLPoseOCNDataset
from exlpose_mm.datasets.people import ExLPosePeopleDataset, RowsDataset
from exlpose_mm.datasets.samplers import SeededBatchSampler
from exlpose_mm.datasets.transforms.bottomup import DarkenPeople, MaskInvalidPeople, PairedRandomAffine
from exlpose_mm.datasets.transforms.crops import CPNCrop
from exlpose_mm.datasets.transforms.darkening import ELLA, GammaDarken, SimulateLowLight
from exlpose_mm.datasets.transforms.enhancement import LowLightEnhance
from exlpose_mm.datasets.transforms.lighting import AddMomentumView, OnLighting, OnStudent, TagLighting
from exlpose_mm.datasets.transforms.loading import LoadLabelledImage, LoadPairedImages
from exlpose_mm.datasets.transforms.packing import PackPairedInputs
from exlpose_mm.datasets.transforms.photometry import AntiAlias, ScaleToMean, ThinPhotons
from exlpose_mm.datasets.transforms.whole_images import OnViews, PackPairedDetInputs
from exlpose_mm.engine import zoo as _zoo  # noqa: F401
from exlpose_mm.engine.hooks.acceleration import ChannelsLastHook, FloatHeadHook, KeepHeapHook
from exlpose_mm.engine.hooks.checkpoint import SafeCheckpointHook
from exlpose_mm.engine.hooks.checkpoint_fit import CheckpointFitHook
from exlpose_mm.engine.hooks.finite_loss import FiniteLossHook
from exlpose_mm.engine.hooks.joints import JointsHook
from exlpose_mm.engine.hooks.log_history import LogHistoryHook
from exlpose_mm.engine.hooks.momentum_teacher import MomentumTeacherHook
from exlpose_mm.engine.hooks.reseed import ReseedHook
from exlpose_mm.engine.hooks.running import LearningHook, OrphansHook, WorkDirHook
from exlpose_mm.engine.hooks.validation import InitialValHook
from exlpose_mm.engine.optim import BFloat16OptimWrapper, GroupedOptimWrapperConstructor
from exlpose_mm.engine.variables import VariablesHook
from exlpose_mm.evaluation.boxes import LightingBoxMetric
from exlpose_mm.evaluation.metric import LightingCocoMetric
from exlpose_mm.lighting import LIGHTINGS, LightingError, LSBN2d, lighting, tap
from exlpose_mm.models.adversarial import DomainAdversarialLoss, GradientReversal
from exlpose_mm.models.denoiser import DenoisedBackbone, UNetDenoiser
from exlpose_mm.models.detector import LightingDetDataPreprocessor, LightingDetector
from exlpose_mm.models.estimator import (
    LightingBottomupPoseEstimator,
    LightingPoseEstimator,
    MultiScaleBottomupPoseEstimator,
)
from exlpose_mm.models.heads.ae import AEHead
from exlpose_mm.models.heads.cpn import CPNHead
from exlpose_mm.models.heads.dekr import MultiScaleDEKRHead
from exlpose_mm.models.heads.dual_teacher import DualTeacherHead
from exlpose_mm.models.losses import FeatureLoss, GramLoss, HeatmapCrossEntropyLoss
from exlpose_mm.models.preprocessor import LightingDataPreprocessor
from exlpose_mm.visualization import LightingVisualizer

share_with_mmdet()

__version__ = '0.4.0'

versions.warn_untested()

__all__ = [
    'AEHead',
    'AEHeatmap',
    'AddMomentumView',
    'AntiAlias',
    'BFloat16OptimWrapper',
    'CPNCrop',
    'CPNHead',
    'CPNHeatmap',
    'ChannelsLastHook',
    'CheckpointFitHook',
    'DarkenPeople',
    'DenoisedBackbone',
    'DomainAdversarialLoss',
    'DualTeacherHead',
    'ELLA',
    'ExLPoseDataset',
    'ExLPoseOCNDataset',
    'ExLPosePeopleDataset',
    'FeatureLoss',
    'FiniteLossHook',
    'FloatHeadHook',
    'GammaDarken',
    'GradientReversal',
    'GramLoss',
    'GroupedOptimWrapperConstructor',
    'HeatmapCrossEntropyLoss',
    'InitialValHook',
    'JointsHook',
    'KeepHeapHook',
    'LIGHTINGS',
    'LSBN2d',
    'LearningHook',
    'LightingBottomupPoseEstimator',
    'LightingBoxMetric',
    'LightingCocoMetric',
    'LightingDataPreprocessor',
    'LightingDetDataPreprocessor',
    'LightingDetector',
    'LightingError',
    'LightingPoseEstimator',
    'LightingVisualizer',
    'LoadLabelledImage',
    'LoadPairedImages',
    'LogHistoryHook',
    'LowLightEnhance',
    'MaskInvalidPeople',
    'MomentumTeacherHook',
    'MultiScaleBottomupPoseEstimator',
    'MultiScaleDEKRHead',
    'OnLighting',
    'OnStudent',
    'OnViews',
    'OrphansHook',
    'PackPairedDetInputs',
    'PackPairedInputs',
    'PairedRandomAffine',
    'ReseedHook',
    'RowsDataset',
    'SafeCheckpointHook',
    'ScaleToMean',
    'SeededBatchSampler',
    'SimulateLowLight',
    'SoftmaxHeatmap',
    'TagLighting',
    'ThinPhotons',
    'UNetDenoiser',
    'VariablesHook',
    'WorkDirHook',
    'lighting',
    'tap',
]
