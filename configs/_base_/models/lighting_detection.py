# What ExLPose's method changes in a detector, whose class a config names as `detector`. A backbone without batch norms
# leaves `lsbn` out.
lighting_detection = dict(type='LightingDetector', data_preprocessor=dict(merge=()), well_lit_teacher=dict())
lsbn = dict(norm_cfg=dict(type='LSBN2d'))
