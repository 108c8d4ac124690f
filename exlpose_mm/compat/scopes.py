"""One name of a module in the configs of MMPose and of MMDetection.

What is registered here is registered in MMPose's registries. A config of MMDetection has the default scope ``mmdet``,
whose registries do not see their siblings.
"""

import mmdet.registry
import mmpose.registry
from mmengine.registry import Registry


def share_with_mmdet(package: str = 'exlpose_mm') -> None:
    """Register in MMDetection's registries what a package has registered in MMPose's, under the same names."""
    for name, registry in vars(mmpose.registry).items():
        sibling = getattr(mmdet.registry, name, None)
        if isinstance(registry, Registry) and isinstance(sibling, Registry):
            for key, module in registry.module_dict.items():
                if module.__module__.partition('.')[0] == package and key not in sibling.module_dict:
                    sibling.register_module(name=key, module=module)
