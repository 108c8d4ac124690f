# Domain-adversarial training (DANN): a discriminator of the lighting in place of LSBN and LUPI.
_base_ = ['exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py']

model = dict(
    backbone=dict(norm_cfg=dict(type='BN')),
    head=dict(
        well_lit_teacher=None,
        # The weight is not tuned: the adversary starts at 5 % of the whole loss.
        adversary=dict(type='DomainAdversarialLoss', in_channels=2048, loss_weight=100.0),
    ),
)
