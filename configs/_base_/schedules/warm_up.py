# Adam and a warm-up for short trainings. A config adds how long it trains, and a cosine of that length.
optim_wrapper = dict(optimizer=dict(type='Adam', lr=2e-3))
warm_up = dict(type='LinearLR', begin=0, end=50, start_factor=0.01, by_epoch=False)
