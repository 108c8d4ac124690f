"""A trained model or detector for others: a config that needs no other file, and its weights in half precision."""

from pathlib import Path

from mmengine.config import Config

from exlpose_mm.apis.deployment import predicting_head
from exlpose_mm.datasets.people import PEOPLE
from exlpose_mm.engine.building import build_model, naming_joints, strip_init_cfg
from exlpose_mm.engine.checkpoints import SAFETENSORS, save_half
from exlpose_mm.engine.fitting import load_fitting
from exlpose_mm.writing import write_file

HEADER = '# Written by tools/publish_model.py: what prediction needs of\n# {}\n# fmt: off\n'


def publish(config: Config, checkpoint: str | Path, path: str | Path) -> tuple[Path, Path]:
    """Write the network that predicts: ``<path>.py`` and ``<path>.safetensors``.

    Both lightings' batch norms are kept; optimiser, teachers, momentum averages and all else that only training
    needs is left out. Numbers are rounded to half precision and predict in single precision, as of any checkpoint.
    A checkpoint with plain batch norms is taken for a config with LSBN: both lightings get them.

    Args:
        config (Config): That the model was trained with.
        checkpoint (str | Path): Of that config.
        path (str | Path): Of both files, without their suffixes. Their folder is made if missing.

    Returns:
        tuple[Path, Path]: The config and the weights.

    Raises:
        CheckpointError: If the checkpoint cannot be read or is of another model, or a value is beyond half precision.
        OSError: If the config cannot be written.
    """
    detects = config.get('default_scope') == 'mmdet'
    inference = detector_config(config) if detects else inference_config(config)
    model = build_model(inference.model, inference.default_scope)
    load_fitting(model, str(checkpoint))
    text, weights = Path(f'{path}.py'), Path(f'{path}{SAFETENSORS}')
    save_half(model.state_dict(), weights, dict(classes=PEOPLE['classes']) if detects else None)
    write_file(text, (HEADER.format(Path(config.filename or 'a config').name) + inference.pretty_text).encode())
    return text, weights


def inference_config(config: Config) -> Config:
    """What MMPose's inference API reads of a config, without base files, data, and what the model starts from.

    The model's head is the one that a ``DualTeacherHead`` wraps. ``MMPoseInferencer`` takes the whole image for a
    person unless it is given a detector. Parts that are neither MMPose's nor this package's need a line
    ``custom_imports`` in it.
    """
    model = _model(config)
    model['head'] = predicting_head(model)
    people = naming_joints(config.train_dataloader.dataset)
    dataset = {key: people[key] for key in ('type', 'metainfo') if key in people}
    return Config(
        dict(
            default_scope='mmpose',
            custom_imports=dict(imports=['exlpose_mm'], allow_failed_imports=False),
            data_mode=config.get('data_mode', 'topdown'),
            dataset_type=people['type'],  # by which MMPoseInferencer would choose a detector, and then fetch it
            model=model,
            train_dataloader=dict(dataset=dataset),  # names the joints
            test_dataloader=dict(dataset=dict(dataset, pipeline=config.test_dataloader.dataset.pipeline)),
            visualizer=config.get('visualizer', dict(type='LightingVisualizer')),
        )
    )


def detector_config(config: Config) -> Config:
    """What MMDetection's inference API reads of a config, as :func:`inference_config`; it detects people alone."""
    model = _model(config)
    model.pop('well_lit_teacher', None)
    people = dict(type='CocoDataset', metainfo=PEOPLE)
    # MMDetection's inferencer looks for a first step of this name.
    pipeline = [dict(type='LoadImageFromFile'), *config.test_dataloader.dataset.pipeline[1:]]
    return Config(
        dict(
            default_scope='mmdet',
            custom_imports=dict(imports=['exlpose_mm'], allow_failed_imports=False),
            model=model,
            test_dataloader=dict(dataset=dict(people, pipeline=pipeline)),
            visualizer=config.visualizer,
        )
    )


def _model(config: Config) -> dict:
    model = config.model.to_dict()
    model.pop('train_cfg', None)
    strip_init_cfg(model)
    return model
