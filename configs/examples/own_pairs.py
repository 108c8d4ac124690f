# Pairs of one's own, in dark/ and bright/, trained and validated.
_base_ = ['../exlpose/exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py']
from exlpose_mm.datasets.recipes import own_pairs

data_root, train_dataloader, val_dataloader, test_dataloader, val_evaluator, test_evaluator = own_pairs(
    'data/own', train='train.json', val='val.json'
)
