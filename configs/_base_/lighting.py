# Low light is already scaled by the pipeline: 255 is all that is divided out.
low_light_input = dict(type='PoseDataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True)

# What ExLPose's method changes in a stock model, beside the head. A backbone without batch norms
# leaves `norm_cfg` out.
lighting_pairs = dict(type='LightingPoseEstimator', data_preprocessor=dict(merge=()))
lighting_specific = dict(backbone=dict(norm_cfg=dict(type='LSBN2d')), **lighting_pairs)
