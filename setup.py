"""Packaging. Versions are named in requirements.txt only; a user keeps an existing torch 2.1."""
import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (ROOT / 'exlpose_mm/__init__.py').read_text())[1]

setup(
    name='exlpose_mm',
    version=VERSION,
    description='Human pose estimation in extremely low light, as an MMPose plugin',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.9',
    packages=find_packages(include=['exlpose_mm', 'exlpose_mm.*']),
    # mim looks for configs and tools here; the links become copies in a wheel.
    package_data={'exlpose_mm': ['.mim/configs/**/*', '.mim/tools/*', 'report/page.html']},
    install_requires=['mmpose', 'mmcv', 'mmengine', 'mmdet', 'torch', 'pycocotools', 'lmdb', 'jinja2'],
)
