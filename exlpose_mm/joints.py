"""The 14 joints of ExLPose and CrowdPose."""

from typing import Any

JOINTS = tuple(
    f'{side}_{part}' for part in ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle') for side in ('left', 'right')
) + ('head', 'neck')


LINKS = ((12, 13), (13, 0), (13, 1), (0, 2), (2, 4), (1, 3), (3, 5), (13, 6), (13, 7), (6, 8), (8, 10), (7, 9), (9, 11))


COLORS = dict(left=[0, 255, 0], right=[255, 128, 0], middle=[51, 153, 255])


def _keypoint_info(index: int, name: str) -> dict:
    side, _, part = name.partition('_')
    swap = {'left': f'right_{part}', 'right': f'left_{part}'}.get(side, '')
    body = 'lower' if part in ('hip', 'knee', 'ankle') else 'upper'
    return dict(name=name, id=index, color=COLORS.get(side, COLORS['middle']), type=body, swap=swap)


def _link_info(index: int, link: tuple[int, int]) -> dict:
    start, end = (JOINTS[joint] for joint in link)
    side = end.partition('_')[0]
    return dict(link=(start, end), id=index, color=COLORS.get(side, COLORS['middle']))


METAINFO: dict[str, Any] = dict(
    dataset_name='exlpose',
    paper_info=dict(
        author='Sohyun Lee, Jaesung Rim, Boseung Jeong, Geonu Kim, Byungju Woo, Haechan Lee, Sunghyun Cho, Suha Kwak',
        title='Human Pose Estimation in Extremely Low-Light Conditions',
        container='CVPR',
        year='2023',
        homepage='https://cg.postech.ac.kr/research/ExLPose/',
    ),
    keypoint_info={index: _keypoint_info(index, name) for index, name in enumerate(JOINTS)},
    skeleton_info={index: _link_info(index, link) for index, link in enumerate(LINKS)},
    joint_weights=[1.0] * len(JOINTS),
    sigmas=[0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079],
)
