# runtime.py for configs of MMDetection, whose names need no prefix here: hooks that know of joints are left out.
_base_ = ['runtime.py']

default_scope = 'mmdet'

_base_.default_hooks.pop('badcase')
_base_.default_hooks.pop('joints')
_base_.default_hooks.pop('float_head')
default_hooks = dict(visualization=dict(_delete_=True, type='DetVisualizationHook'))

visualizer = dict(
    _delete_=True, type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'
)
